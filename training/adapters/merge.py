"""Merging a LoRA adapter into its base: `python -m training.adapters.merge ADAPTER OUT [BASE]`."""

import json
import logging
import sys
from pathlib import Path
from typing import Any

from contracts.errors import UserError, first_line
from contracts.models.adapters import WEIGHTS, refuse_other_adapter
from contracts.models.loading import load_adapter, load_model, refuse_unsavable
from contracts.models.model import load_tokenizer
from contracts.models.weights import refuse_other_weights
from contracts.steps.disk_space import refuse_too_full
from contracts.steps.new_folder import filled
from runtime.stage_process import configure_logging, exit_code_of

log = logging.getLogger(__name__)


def merge(adapter: Path, out: Path, base: str | None = None) -> Path:
    """Write `base` with the adapter summed into its weights to the new folder `out`, which loads
    like any model: safetensors in the base's dtype, tokenizer, template, generation config.

    Args:
        adapter: folder with an adapter_config.json and its safetensors, as peft writes them.
        base: model folder or `hub id[@revision]`; unless given, the one that the adapter names.

    Raises:
        UserError: no LoRA adapter is there, it does not fit the base, or `out` holds something.
    """
    settings = _settings(adapter)
    reference = base or _named_base(adapter, settings)
    with filled(out) as unfinished:
        model = _merged(adapter, reference)
        model.config.use_cache = True
        refuse_too_full(out, model.get_memory_footprint(), "the merged weights", "")
        _save(model, adapter, reference, unfinished)
    log.info("%s: %s with %s merged in", out, reference, adapter)
    return out


def _save(model: Any, adapter: Path, reference: str, out: Path) -> None:
    model.save_pretrained(out, max_shard_size="5GB")
    own_tokenizer = (adapter / "tokenizer_config.json").exists()
    load_tokenizer(str(adapter) if own_tokenizer else reference).save_pretrained(out)
    for path in out.glob("*.safetensors"):
        path.chmod(0o644)  # written through a private temporary file; other users serve it


def _settings(adapter: Path) -> dict[str, Any]:
    """The adapter's config.

    Raises:
        UserError: it is not a LoRA adapter with safetensors.
    """
    path = adapter / "adapter_config.json"
    try:
        settings: dict[str, Any] = json.loads(path.read_text())
        kind = settings["peft_type"]
    except (OSError, ValueError, TypeError, KeyError):
        raise UserError(f"{adapter}: no adapter_config.json that peft wrote lies there") from None
    if kind != "LORA":
        raise UserError(f"{adapter}: is a {kind} adapter; only LoRA can be merged")
    if not (adapter / WEIGHTS).exists():
        raise UserError(f"{adapter}: holds no {WEIGHTS}; other formats are not read")
    return settings


def _named_base(adapter: Path, settings: dict[str, Any]) -> str:
    name, revision = settings.get("base_model_name_or_path"), settings.get("revision")
    if not name:
        raise UserError(f"{adapter}: names no base; give the model that it was trained on")
    return f"{name}@{revision}" if revision and not Path(name).exists() else str(name)


def _merged(adapter: Path, reference: str) -> Any:
    """The base model, its own dtype, with the adapter summed in (peft knows every LoRA variant).

    Summed in float32 and cast once: peft casts the change first, which rounds a weight twice.
    """
    from transformers import AutoModelForCausalLM

    refuse_other_weights(reference)
    refuse_other_adapter(adapter, reference)
    what = "the adapter's base"
    model = load_model(AutoModelForCausalLM, reference, what, dtype="auto", trust_remote_code=False)
    refuse_unsavable(reference, model.config, model.generation_config)
    dtype = model.dtype
    try:
        adapted = load_adapter(model.float(), str(adapter), reference)
        return adapted.merge_and_unload(safe_merge=True).to(dtype)
    except ValueError as error:
        raise UserError(f"{adapter}: cannot be merged: {first_line(error)}") from None


def _main(arguments: list[str]) -> None:
    if len(arguments) not in (2, 3):
        raise UserError("usage: python -m training.adapters.merge ADAPTER OUT [BASE]")
    merge(Path(arguments[0]), Path(arguments[1]), *arguments[2:])


if __name__ == "__main__":
    configure_logging()
    sys.exit(exit_code_of(lambda: _main(sys.argv[1:])))
