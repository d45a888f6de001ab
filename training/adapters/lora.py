"""LoRA: small matrices beside frozen weights, merged into them when training ends.

A round's policy is then whole weights as ever, which the next round samples; the adapter lies
beside them, in `adapter/`, as peft loads it over the policy that the training started from.
"""

import json
import logging
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from contracts.models.model import split_reference
from training.config import LoraConfig

log = logging.getLogger(__name__)

_ADAPTER = "default"
_WRAPPED = ".base_layer."
FOLDER = "adapter"


def add_adapters(policy: Any, config: LoraConfig, seed: int, dtype: torch.dtype) -> None:
    """Put trainable matrices of `dtype` beside the policy's linear layers and freeze all else."""
    from peft import inject_adapter_in_model

    torch.manual_seed(seed)  # the down matrices start at random, on every process alike
    inject_adapter_in_model(_peft(config), policy)
    for parameter in policy.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(dtype)  # peft makes them in the layer's own dtype
    parameters = list(policy.parameters())
    trained = sum(_size(p) for p in parameters if p.requires_grad)
    log.info("LoRA: %d of %d parameters are trained", trained, sum(map(_size, parameters)))


def merge(weights: dict[str, torch.Tensor], config: LoraConfig) -> dict[str, torch.Tensor]:
    """Whole weights under their own names: W + alpha / rank * B A, summed in float32.

    Args:
        weights: names to tensors of a policy with adapters, its own weights under their names
            before or after the adapters were put beside them.
    """
    merged = {}
    for name, weight in weights.items():
        if "lora_" in name:
            continue
        bare = name.replace(_WRAPPED, ".")
        up, down = (_matrix(weights, bare.removesuffix(".weight"), side) for side in "BA")
        if up is not None and down is not None:
            change = up.float() @ down.float() * (config.alpha / config.rank)
            weight = (weight.float() + change).to(weight.dtype)
        merged[bare] = weight
    return merged


def _matrix(weights: dict[str, torch.Tensor], layer: str, side: str) -> torch.Tensor | None:
    return weights.get(f"{layer}.lora_{side}.{_ADAPTER}.weight")


def own_names(policy: Any) -> set[str]:
    """Names of a policy's parameters, as if it had no adapters."""
    names = (name for name, _ in policy.named_parameters() if "lora_" not in name)
    return {name.replace(_WRAPPED, ".") for name in names}


def write_adapter(
    weights: dict[str, torch.Tensor], config: LoraConfig, reference: str, out: Path
) -> None:
    """Write the adapter as peft's own files."""
    folder = out / FOLDER
    folder.mkdir(exist_ok=True)
    adapter = {
        f"base_model.model.{name.replace(f'.{_ADAPTER}.', '.')}": weight.cpu().contiguous()
        for name, weight in weights.items()
        if "lora_" in name
    }
    save_file(adapter, folder / "adapter_model.safetensors", {"format": "pt"})
    base, revision = split_reference(reference)
    named = {"base_model_name_or_path": base, "revision": revision}
    settings = _peft(config).to_dict() | named
    text = json.dumps(settings, indent=1, sort_keys=True, default=sorted)
    (folder / "adapter_config.json").write_text(text)


def _peft(config: LoraConfig) -> Any:
    import peft

    return peft.LoraConfig(
        r=config.rank, lora_alpha=config.alpha, target_modules=sorted(config.targets),
        lora_dropout=0.0, bias="none", task_type="CAUSAL_LM",
    )  # fmt: skip


def _size(parameter: Any) -> int:
    # A parameter that ZeRO-3 has split is empty; ds_numel is its own size.
    return int(getattr(parameter, "ds_numel", parameter.numel()))
