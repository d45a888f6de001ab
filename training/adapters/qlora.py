"""QLoRA (arXiv 2305.14314): the frozen linear layers in 4 bits while adapters train.

When training ends, the adapter is merged into the weights as they were before: rounding to 4 bits
moves a weight far more than preference training does, and would add up over rounds. The log-probs
in the metrics are those of the 4-bit policy.
"""

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from contracts.errors import UserError
from contracts.models.loading import load_model
from training.config import TrainConfig

if TYPE_CHECKING:
    import torch


def refuse_unquantizable(config: TrainConfig) -> None:
    """Refuse to quantise where nothing is installed that can.

    Raises:
        UserError: says what to install.
    """
    if config.lora and config.lora.quantize and not find_spec("bitsandbytes"):
        raise UserError(
            "training.lora.quantize needs bitsandbytes, which is not installed here: take the "
            "version in requirements/gpu.txt, or leave quantize out"
        )


def settings_of(config: TrainConfig, bfloat16: bool) -> Any:
    """How transformers is to quantise; none where it is not to."""
    if not config.lora or not config.lora.quantize:
        return None
    import torch
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        # The settings of QLoRA's paper: NF4, and the scales quantised too.
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16 if bfloat16 else torch.float32,
    )  # fmt: skip


def unquantized(
    reference: str, dtype: "torch.dtype", weights: "dict[str, torch.Tensor]"
) -> "tuple[Any, dict[str, torch.Tensor]]":
    """The policy in `dtype` as it was before it was quantised, and its weights beside the
    adapter's out of `weights`."""
    from transformers import AutoModelForCausalLM

    policy = load_model(
        AutoModelForCausalLM, reference, "a policy", dtype=dtype, trust_remote_code=False
    )
    adapter = {name: value.cpu() for name, value in weights.items() if "lora_" in name}
    return policy, {**policy.state_dict(), **adapter}
