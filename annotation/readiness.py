"""What can be known of annotators before the first response is sampled."""

import os
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import Any

from annotation.config import (
    Annotator,
    ArmoRMConfig,
    FunctionConfig,
    JudgeConfig,
    PairwiseConfig,
    RewardModel,
    ScoreConfig,
)
from annotation.scorers.functions import import_function
from annotation.scorers.heads import (
    PAIRRM_MARKERS,
    PAIRRM_TOKENS,
    objective_names,
    refuse_headless,
    refuse_other_markers,
)
from annotation.workers.pool import placement_for
from contracts.checks import Check, refuse_absent
from contracts.errors import UserError
from contracts.models.model import load_tokenizer, local_folder
from contracts.models.weights import read_config
from runtime.device import has_cuda


def checks(config: ScoreConfig, annotators: Mapping[str, Annotator]) -> Iterator[Check]:
    """Of files, headers and the environment alone; nothing is imported.

    Args:
        annotators: by their keys, those of the evaluation too.
    """
    device = config.resources.device
    yield Check("annotation.resources.workers", lambda: placement_for(config))
    yield Check("annotation.resources.device", lambda: refuse_without_gpu(device))
    for key, annotator in annotators.items():
        yield from _checks(key, annotator)


def _checks(key: str, annotator: Annotator) -> Iterator[Check]:
    if isinstance(annotator, JudgeConfig):
        yield Check(f"{key}.api_key_env", lambda: refuse_without_key(annotator))
    if not isinstance(annotator, RewardModel):
        return
    model = annotator.reference
    yield Check(f"{key}.path", lambda: refuse_absent(model))
    yield Check(f"{key}.path", lambda: refuse_headless(annotator.kind, model))
    if isinstance(annotator, ArmoRMConfig):
        yield Check(f"{key}.weights", lambda: refuse_unknown_objectives(annotator))
        yield Check(f"{key}.engine", lambda: refuse_unfit_for_vllm(annotator))


def refuse_without_gpu(device: str) -> None:
    """
    Raises:
        UserError: a GPU is asked for where there is none.
    """
    if device.startswith("cuda") and not has_cuda():
        raise UserError(f"{device!r}, but torch sees no CUDA device here; leave it at `auto`")


def refuse_without_key(judge: JudgeConfig) -> None:
    """
    Raises:
        UserError: the environment does not hold the judge's key.
    """
    if judge.api_key_env is not None and not os.environ.get(judge.api_key_env):
        raise UserError(
            f"annotator {judge.name!r}: set the environment variable {judge.api_key_env} to the "
            "endpoint's key, or `api_key_env: null` where it needs none"
        )


def refuse_unknown_objectives(annotator: ArmoRMConfig) -> None:
    """
    Raises:
        UserError: a weight is for no objective of the model.
    """
    if annotator.weights and (folder := local_folder(annotator.reference)):
        names = objective_names(read_config(folder).get("num_objectives", 19))
        if unknown := sorted(set(annotator.weights) - set(names)):
            raise UserError(f"no objective is named {unknown[0]!r}; they are {', '.join(names)}")


def refuse_unfit_for_vllm(annotator: ArmoRMConfig) -> None:
    """
    Raises:
        UserError: vLLM is asked for and is not installed, or takes no conversation that long.
    """
    if annotator.engine != "vllm":
        return
    if not find_spec("vllm"):
        raise UserError("vLLM is not installed: install requirements/cpu.txt or gpu.txt, or set "
                        "`engine: native`")  # fmt: skip
    folder = local_folder(annotator.reference)
    positions = read_config(folder).get("max_position_embeddings") if folder else None
    if positions and annotator.max_length > positions:
        raise UserError(f"max_length is {annotator.max_length}, and vLLM takes no more than the "
                        f"model's {positions} positions; lower it")  # fmt: skip


def look_inside(annotator: Annotator) -> None:
    """Import what an annotator names, and try its tokenizer and template. Seconds, for imports.

    Nothing is known of a model that is on the hub alone.

    Raises:
        UserError: says what is amiss.
    """
    if isinstance(annotator, FunctionConfig):
        import_function(annotator)
    elif isinstance(annotator, RewardModel) and (folder := local_folder(annotator.reference)):
        settings = read_config(folder)
        _refuse_tokenizer(annotator, settings.get("text_config") or settings)


def _refuse_tokenizer(annotator: RewardModel, settings: Mapping[str, Any]) -> None:
    from annotation.scorers.padding import pad_id_of
    from contracts.chat import ChatFormat

    tokenizer = load_tokenizer(annotator.reference)
    if isinstance(annotator, PairwiseConfig):
        ids = tuple(tokenizer.convert_tokens_to_ids(list(PAIRRM_TOKENS)))
        refuse_other_markers(annotator.reference, ids, tuple(map(settings.get, PAIRRM_MARKERS)))
        return
    chat = ChatFormat(tokenizer, annotator.bos, annotator.date)
    pad, vocabulary = settings.get("pad_token_id"), settings.get("vocab_size")
    pad_id_of(annotator, chat, pad, vocabulary)
