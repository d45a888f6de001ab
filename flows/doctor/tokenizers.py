"""Tokenizers and chat templates, tried on a real conversation: one BOS, and no clock in it."""

import datetime
from collections.abc import Iterator, Sequence

from annotation.annotators.base import RewardModel
from contracts.chat import Message
from contracts.errors import OnPolicyError, first_line
from contracts.models.model import ModelConfig, local_folder
from flows.doctor.finding import Finding
from flows.pipeline.checks.check import annotators_of
from flows.pipeline.config import RunConfig
from generation.engines.adapter import resolve

_CONVERSATION: list[Message] = [
    {"role": "user", "content": "Name two fruits."},
    {"role": "assistant", "content": "Apple and pear."},
    {"role": "user", "content": "And a third?"},
]
# The default of Llama-3.1's template, and a day with another day of the month, month and year.
_DAYS = datetime.date(2024, 7, 26), datetime.date(2031, 12, 5)


def tokenizers(config: RunConfig) -> Iterator[Finding]:
    """The policy's, and each reward model's that reads conversations."""
    models: dict[str, ModelConfig] = {"policy": config.policy}
    for key, annotator in annotators_of(config).items():
        if isinstance(annotator, RewardModel):
            models[key] = annotator
    for key, model in models.items():
        reference = resolve(config.pinned(model.reference)).tokenizer
        if local_folder(reference) is None:
            yield Finding("note", key, f"{reference} is not on this machine: its tokenizer was not "
                          "tried", "the run's first stage downloads and checks it")  # fmt: skip
        else:
            yield _tried(key, reference, model, config.date)


def _tried(key: str, reference: str, model: ModelConfig, date: datetime.date | None) -> Finding:
    from contracts.chat import ChatFormat
    from contracts.models.model import load_tokenizer

    try:
        tokenizer = load_tokenizer(reference)
        ids, *others = [
            ChatFormat(tokenizer, model.bos, day).prompt_ids(_CONVERSATION)
            for day in (model.date or date or _DAYS[0], *_DAYS)
        ]
        bos = ChatFormat(tokenizer, model.bos, _DAYS[0]).bos_id
    except (OnPolicyError, ValueError) as error:
        way_out = "mend the tokenizer or its chat template, or set `bos` under the model"
        return Finding("stop", key, f"{reference}: {first_line(error)}", way_out)
    return Finding("ok", key, f"{reference}: {_bos(ids, bos)}; {_clock(others, date)}")


def _bos(ids: Sequence[int], bos: int | None) -> str:
    if bos is None:
        return "its tokenizer has no BOS, and none is given"
    return f"{ids.count(bos)} BOS (id {bos}) in {len(ids)} tokens"


def _clock(on_two_days: Sequence[Sequence[int]], date: datetime.date | None) -> str:
    first, second = on_two_days
    if first == second:
        return "the same tokens on any day"
    return f"its template reads the clock: told {date or 'the day of the first start'} all along"
