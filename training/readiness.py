"""What can be known of training before the first response is sampled."""

import json
import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from contracts.checks import Check
from contracts.errors import UserError, first_line
from contracts.models.architecture import FAMILIES
from contracts.models.model import local_folder
from contracts.models.weights import read_config
from runtime.device import visible_gpus
from training.adapters.qlora import refuse_unquantizable
from training.config import TrainConfig

# All else in a generation_config.json may be what transformers reads and will not write.
_HARMLESS = {"_from_model_config", "bos_token_id", "eos_token_id", "pad_token_id",
             "decoder_start_token_id", "transformers_version"}  # fmt: skip
# Settings of generation that old configs hold, which transformers will not write there.
_MISPLACED = {"do_sample", "temperature", "top_p", "top_k", "min_p", "typical_p", "num_beams",
              "repetition_penalty", "length_penalty", "max_length", "min_length",
              "max_new_tokens", "early_stopping", "num_return_sequences"}  # fmt: skip


def checks(config: TrainConfig, model: str) -> Iterator[Check]:
    """Checks of files, headers and what is installed; nothing heavy is imported."""
    for tracker in config.trackers:
        yield Check("training.trackers", tracker.refuse_unready)
    yield Check("training.lora.quantize", lambda: refuse_unquantizable(config))
    yield Check("training.resources.strategy", lambda: refuse_not_installed(config))
    if not config.resources.cluster:  # that is looked at as a whole
        yield Check("training.resources.processes", lambda: refuse_too_few_gpus(config))
    yield Check("policy.path", lambda: refuse_untrainable(model), of=model)
    yield Check("training.resources.attention", lambda: refuse_attention(config, model), of=model)


def refuse_not_installed(config: TrainConfig) -> None:
    """Refuse a strategy or an attention whose package is not installed.

    Raises:
        UserError: what the strategy or the attention needs is not there.
    """
    needed = {"zero3": "deepspeed", "zero2": "deepspeed"}.get(config.resources.strategy)
    if needed and not find_spec(needed):
        raise UserError(f"{config.resources.strategy} needs {needed}, which is not installed; "
                        "set `fsdp` or `none`")  # fmt: skip


def refuse_too_few_gpus(config: TrainConfig) -> None:
    """Refuse more processes than GPUs, or without GPUs than cores.

    Raises:
        UserError: two processes would have to share a GPU; without GPUs, a core.
    """
    gpus, processes = len(visible_gpus()), config.resources.processes
    # Two share one core well enough for the demo.
    if not gpus and processes > max(2, cores := len(os.sched_getaffinity(0))):
        raise UserError(f"{processes} processes need a core each, there is no GPU, and {cores} "
                        "core(s) can be used; ask for fewer")  # fmt: skip
    if 0 < gpus < processes:
        raise UserError(f"{processes} processes need a GPU each, and {gpus} can be seen; ask for "
                        "fewer")  # fmt: skip


def refuse_untrainable(model: str) -> None:
    """Refuse an adapter, and models of families that are not trained here.

    Raises:
        UserError: the policy is an adapter, or of a family that is not trained here.
    """
    folder = local_folder(model)
    if Path(model, "adapter_config.json").is_file() and not Path(model, "config.json").is_file():
        raise UserError(f"{model}: is an adapter, which can be sampled but not trained on; make a "
                        f"model of it first: onpolicy merge {model} NEW_FOLDER")  # fmt: skip
    family = read_config(folder).get("model_type") if folder else FAMILIES[0]
    if family not in FAMILIES:
        raise UserError(f"{model}: model type {family!r} is not supported; it is one of "
                        f"{', '.join(FAMILIES)}")  # fmt: skip


def refuse_attention(config: TrainConfig, model: str) -> None:
    """Refuse an attention that is not installed or that the model rules out.

    Raises:
        UserError: the attention asked for is not installed, or cannot do what the model needs.
    """
    attention, folder = config.resources.attention, local_folder(model)
    if attention == "flash" and not find_spec("flash_attn"):
        raise UserError("flash-attn is not installed; use auto")
    if attention == "sdpa" and folder and read_config(folder).get("attn_logit_softcapping"):
        raise UserError("this model soft-caps its attention scores, which sdpa cannot; use "
                        "segments or eager")  # fmt: skip


def look_inside(model: str) -> None:
    """Whether the policy's configs can be saved again. Seconds, for imports, and only where its
    files hold what might not.

    Raises:
        UserError: says what is amiss.
    """
    folder = local_folder(model)
    if folder is None or not _suspicious(folder):
        return
    from transformers import AutoConfig, GenerationConfig

    from contracts.models.loading import refuse_unsavable

    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        parts = [config, GenerationConfig.from_pretrained(folder)]
    except OSError:  # no generation_config.json: transformers makes it of the other one
        parts = [config]
    except (ValueError, TypeError) as error:
        raise UserError(f"{folder}: generation_config.json: {first_line(error)}") from None
    refuse_unsavable(str(folder), *parts)


def _suspicious(folder: Path) -> bool:
    config: dict[str, Any] = read_config(folder)
    path = folder / "generation_config.json"
    try:
        generation = json.loads(path.read_text()) if path.is_file() else {}
        return bool(generation.keys() - _HARMLESS or config.keys() & _MISPLACED)
    except (ValueError, AttributeError) as error:
        raise UserError(f"{path}: is damaged: {error}; copy or download it anew") from None
