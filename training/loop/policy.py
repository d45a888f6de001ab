"""Loading the policy to train, and writing it so that engines load it as it is."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from contracts.errors import OnPolicyError, UserError, first_line
from contracts.models.architecture import FAMILIES
from contracts.models.loading import refuse_unsavable
from contracts.models.model import load_tokenizer, split_reference
from contracts.models.weights import refuse_other_weights
from training.adapters.lora import own_names
from training.config import TrainResources
from training.packed import flex
from training.packed.attention_choice import attention_of
from training.packed.packing import Pair

log = logging.getLogger(__name__)


def load_policy(
    reference: str,
    resources: TrainResources,
    dtype: torch.dtype,
    quantization: Any = None,
    empty: bool = False,
) -> Any:
    """The policy, ready to train: dropout off, activations recomputed where wanted.

    Args:
        quantization: how transformers is to quantise its linear layers (training.adapters.qlora).
        empty: on the meta device, without its weights, for an engine that has them elsewhere.

    Raises:
        UserError: there is no such model, or its family is not one that is known here.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    path, revision = split_reference(reference)
    looked_at = refuse_other_weights(reference)
    try:
        config = AutoConfig.from_pretrained(path, revision=revision, trust_remote_code=False)
        _refuse_unknown(reference, config)
        settings: dict[str, Any] = {
            "dtype": dtype, "trust_remote_code": False,
            "attn_implementation": attention_of(resources, config),
        }  # fmt: skip
        if empty:
            with torch.device("meta"):
                policy = AutoModelForCausalLM.from_config(config, **settings)
        else:
            policy = AutoModelForCausalLM.from_pretrained(
                path, revision=revision, config=config, use_safetensors=True,
                quantization_config=quantization, **settings,
            )  # fmt: skip
    except (OSError, ValueError) as error:
        raise UserError(f"{reference}: cannot be loaded as a policy: {first_line(error)}") from None
    if not looked_at:  # it has just been downloaded
        refuse_other_weights(reference)
    refuse_unsavable(reference, policy.config, policy.generation_config)
    if policy.lm_head.bias is not None:
        raise UserError(f"{reference}: an output head with a bias is not supported")
    _switch_dropout_off(policy)
    _make_rotary_exact(policy)
    if _recomputes(resources):
        # As in the recipe (section 2). torch's reentrant kind gives no gradient where no input asks
        # for one, as behind the frozen embeddings under LoRA.
        policy.gradient_checkpointing_enable({"use_reentrant": False})
    return policy.train()


def row_multiple(device: torch.device) -> int:
    """What the length of a batch's rows is a multiple of."""
    return flex.BLOCK if device.type == "cuda" else 1


def refuse_too_long(pairs: Sequence[Pair], config: Any) -> None:
    """Refuse pairs that do not fit the model's context.

    Raises:
        UserError: names the longest pair.
    """
    longest = max(pairs, key=_positions)
    if _positions(longest) > config.max_position_embeddings:
        raise UserError(
            f"pair {longest.pair_id}: {_positions(longest)} tokens do not fit the model's "
            f"context of {config.max_position_embeddings}; set format.max_length to at most that"
        )


def write_policy(
    policy: Any, weights: dict[str, torch.Tensor], reference: str, dtype: torch.dtype, out: Path
) -> None:
    """Write weights (safetensors), configs, tokenizer and chat template into `out`.

    Args:
        weights: names as in `policy`; a tied head may be among them and is left out.
    """
    # ZeRO-2 gathers a tied head beside the embedding (seen with DeepSpeed 0.19.8); written, it
    # would be a second copy, 1.8 GB for Gemma-2-9B.
    if policy.config.tie_word_embeddings:
        weights = {name: value for name, value in weights.items() if name != "lm_head.weight"}
    missing = own_names(policy) - weights.keys()
    if missing:
        raise OnPolicyError(f"{out}: no weights for {min(missing)}")
    if policy.dtype != dtype:
        policy.to(dtype)  # the float32 masters of a run without ZeRO
    state = {name: value.to("cpu", dtype) for name, value in weights.items()}
    policy.config.use_cache = True
    policy.save_pretrained(out, state_dict=state, max_shard_size="5GB")
    refuse_other_weights(str(out))
    load_tokenizer(reference).save_pretrained(out)
    for path in out.glob("*.safetensors"):
        path.chmod(0o644)  # written through a private temporary file; other users serve it


def _refuse_unknown(reference: str, config: Any) -> None:
    # PairScorer takes their forward apart; a family that also scales its logits would be trained
    # wrongly without an error.
    if config.model_type not in FAMILIES:
        raise UserError(
            f"{reference}: model type {config.model_type!r} is not supported; "
            f"it is one of {', '.join(FAMILIES)}"
        )


def _switch_dropout_off(policy: Any) -> None:
    for module in policy.modules():
        if hasattr(module, "attention_dropout"):
            module.attention_dropout = 0.0
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0


def _make_rotary_exact(policy: Any) -> None:
    """RoPE's frequencies in float32: where ZeRO-3 splits a bfloat16 model as it loads, it makes
    every float tensor in bfloat16, which turns a query at position 2,000 by half a radian."""
    for name, module in list(policy.named_modules()):
        if hasattr(module, "original_inv_freq"):
            made = type(module)(module.config).to(module.inv_freq.device)
            policy.set_submodule(name, made)


def _recomputes(resources: TrainResources) -> bool:
    setting = resources.gradient_checkpointing
    return torch.cuda.is_available() if setting is None else setting


def _positions(pair: Pair) -> int:
    return len(pair.prompt) + max(len(pair.chosen), len(pair.rejected))
