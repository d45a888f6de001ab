"""Stage: the prompts of a run, without duplicates, with some of them held out."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
from pydantic import Field

from contracts.errors import UserError
from contracts.steps.facts import Facts
from contracts.steps.inputs import Data, Inputs
from contracts.steps.manifest import Result
from contracts.steps.step import Stage
from contracts.tables.parts import write_part
from contracts.tables.schemas import PROMPTS
from generation.config import PromptsConfig, PromptSource
from generation.sources.columns import read_column
from generation.sources.conversation import (
    Conversation,
    prompt_id,
    question_id,
    to_messages,
    unusable,
)
from generation.sources.decontaminate import Benchmarks
from generation.sources.mixture import PromptRow, mix
from generation.sources.near_duplicates import NearDuplicates
from generation.sources.removal_report import Removed, write_removed
from runtime.stage_process import main

_ROWS_PER_PART = 10_000

Check = Callable[[PromptRow], Removed | None]


def rank(seed: int, identifier: str) -> bytes:
    """A prompt's place in a random order that depends on the seed and its own id alone."""
    return hashlib.sha256(f"{seed}:{identifier}".encode()).digest()


class _Different:
    """Lets each different prompt through once, with its id; counts the others."""

    def __init__(self, dropped: Counter[str]) -> None:
        self._seen: set[str] = set()
        self._dropped = dropped

    def rows(self, prompts: Iterable[Conversation], source: str) -> Iterator[PromptRow]:
        """The rows of a source's prompts that no source held before."""
        for messages in prompts:
            if reason := unusable(messages):
                self._dropped[reason] += 1
            # An id is a hash of the content, so equal ids are equal prompts, from whatever source.
            elif (identifier := prompt_id(messages)) in self._seen:
                self._dropped["duplicate_prompt"] += 1
            else:
                self._seen.add(identifier)
                yield {"prompt_id": identifier, "messages": messages, "source": source}


class PromptsInputs(Inputs):
    """The files and datasets that the config names, maybe with the commits that a run fixed."""

    sources: list[Data]
    """In the mixture's order."""
    decontaminate: list[Data] = Field([])


class PromptsFacts(Facts):
    """Prompts by split."""

    train: int = 0
    test: int = 0


def inputs_of(config: PromptsConfig, pinned: Callable[[str], str] = str) -> PromptsInputs:
    """What a config's prompts are read from; `pinned` gives a name with its commit."""
    return PromptsInputs(
        sources=[pinned(source.reference) for source in config.mixture],
        decontaminate=[pinned(path) for path in config.decontaminate],
    )


def run(config: PromptsConfig, inputs: PromptsInputs, out: Path) -> Result:
    """Write PROMPTS: held-out and training prompts in source order.

    The prompts that near-duplicates and decontamination removed are listed in a table beside the
    parts.

    Raises:
        UserError: the inputs are not those of the config, a source cannot be read, or no prompt
            is left to train on.
    """
    _refuse_others(config, inputs)
    dropped: Counter[str] = Counter()
    removed: list[Removed] = []
    different = _Different(dropped)
    checks = _checks(config, inputs)
    sources = [
        _sift(different.rows(_read(source, reference), source.path), checks, removed)
        for source, reference in zip(config.mixture, inputs.sources, strict=True)
    ]
    prompts = mix(config, sources)
    dropped.update(row.reason for row in removed)
    _hold_out(prompts, config, dropped)
    _write(prompts, out)
    if checks:
        write_removed(out, removed)
    splits = Counter(row["split"] for row in prompts)
    return Result(len(prompts), dict(dropped), PromptsFacts(**splits))


def count(config: PromptsConfig, most: int) -> int:
    """Different prompts of the config's sources, counted no further than `most`; those that
    near-duplicates and decontamination will take out are among them.

    Raises:
        UserError: a source cannot be read.
    """
    different = _Different(Counter())
    sources = [
        different.rows(_read(source, source.reference), source.path) for source in config.mixture
    ]
    first = config.model_copy(update={"limit": min(most, config.limit or most)})
    return len(mix(first, sources))


def _refuse_others(config: PromptsConfig, inputs: PromptsInputs) -> None:
    """The config says how each of the inputs is read, so they go together one by one."""
    for name, count in (
        ("sources", len(config.mixture)),
        ("decontaminate", len(config.decontaminate)),
    ):
        if len(given := getattr(inputs, name)) != count:
            raise UserError(
                f"generation.prompts: the config names {count} {name}, the input `{name}` has "
                f"{len(given)}; give one for each"
            )


def _read(source: PromptSource, reference: str) -> Iterator[Conversation]:
    for origin, value in read_column(reference, [source.column], source.hub_split):
        messages = to_messages(origin, value)
        if messages and source.system and messages[0]["role"] != "system":
            messages = [{"role": "system", "content": source.system}, *messages]
        yield messages


def _checks(config: PromptsConfig, inputs: PromptsInputs) -> list[Check]:
    """Reasons to take a prompt out; the last one remembers the prompts that pass them all."""
    checks: list[Check] = []
    if config.decontaminate:
        benchmarks = Benchmarks(config.decontaminate_ngram, config.decontaminate_overlap)
        for reference in inputs.decontaminate:
            benchmarks.read(reference)
        checks.append(benchmarks.check)
    if config.near_duplicates:
        checks.append(NearDuplicates(config.near_duplicates).check)
    return checks


def _sift(
    rows: Iterable[PromptRow], checks: Sequence[Check], removed: list[Removed]
) -> Iterator[PromptRow]:
    for row in rows:
        if removal := next((removal for check in checks if (removal := check(row))), None):
            removed.append(removal)
        else:
            yield row


def _hold_out(prompts: list[PromptRow], config: PromptsConfig, dropped: Counter[str]) -> None:
    """Give each prompt its split; one question under two system messages stays in one."""
    questions = [question_id(row["messages"]) for row in prompts]
    # The lowest hashes: a prompt that comes later moves few others in or out.
    held_out = set(sorted(questions, key=lambda i: rank(config.seed, i))[: config.test_size])
    if held_out.issuperset(questions):
        raise UserError(
            f"{', '.join(source.path for source in config.mixture)}: {len(prompts)} usable "
            f"prompts, of which test_size holds out {config.test_size}: none is left to train on "
            f"(left out: {dict(dropped) or 'none'})"
        )
    for row, question in zip(prompts, questions, strict=True):
        row["split"] = "test" if question in held_out else "train"


def _write(rows: Sequence[PromptRow], out: Path) -> None:
    for index, first in enumerate(range(0, len(rows), _ROWS_PER_PART)):
        part = pa.Table.from_pylist(rows[first : first + _ROWS_PER_PART], schema=PROMPTS)
        write_part(out, index, part, PROMPTS)


STAGE = Stage(
    name="generation.prompts", version=3, config=PromptsConfig, inputs=PromptsInputs,
    output=PROMPTS, facts=PromptsFacts, run=run,
)  # fmt: skip

if __name__ == "__main__":
    main(STAGE)
