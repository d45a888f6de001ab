"""How many rows each step will have, and how many tokens they hold: known, or at most."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from annotation import demonstrations, pairs
from annotation.config import ScoreConfig
from flows.pipeline.planning.planned_step import PlannedStep
from generation import sample
from generation.config import PromptsConfig, PromptSource, SampleConfig, SelectConfig
from generation.sources.mixture import shares
from training import format as tokens
from training import reference, replay, train
from training.config import FormatConfig

_LINES = (".jsonl",)


@dataclass(frozen=True)
class Lengths:
    """Tokens of a prompt and of an answer, on average."""

    prompt: int
    answer: int | None
    """None: as many as `max_tokens` allows."""


class Rows:
    """Rows of a run's steps, in their order; None where nothing is known before."""

    def __init__(self, lengths: Lengths) -> None:
        self._lengths = lengths
        self._rows: dict[str, int | None] = {}
        self._held_out = 0
        self._answers: dict[str, int] = {}
        self._longest_prompt: int | None = None

    def add(self, step: PlannedStep) -> tuple[int | None, int | None]:
        """Rows and tokens of the next step; those of its manifest, if it is done."""
        rows = manifest.rows if (manifest := step.done) else self._planned(step)
        self._rows[str(step.out)] = rows
        each = self._tokens(step)
        return rows, rows * each if rows is not None and each else None

    def _planned(self, step: PlannedStep) -> int | None:
        if isinstance(step.config, PromptsConfig):
            self._held_out = step.config.test_size
            return _mixed(step.config)
        read = {name: self._rows.get(value) for name, value in step.reads.items()}
        if isinstance(step.config, SelectConfig):
            return self._selected(step.config, read["prompts"])
        if isinstance(step.config, SampleConfig):
            return _times(read["prompts"], step.config.samples)
        if isinstance(step.config, ScoreConfig):
            return _times(read["responses"], len(step.config.annotators))
        return next((read[name] for name in _OF.get(step.stage.name, ()) if name in read), None)

    def _selected(self, config: SelectConfig, there: int | None) -> int | None:
        if config.splits == ["test"]:
            return self._held_out
        if there is None:
            return config.count
        left = max(0, there - self._held_out - config.start)
        return min(left, config.count) if config.count else left

    def _tokens(self, step: PlannedStep) -> int | None:
        """Of one row, on average."""
        if isinstance(step.config, SampleConfig):
            most = step.config.max_tokens
            answer = min(most, self._lengths.answer or most)
            self._answers[str(step.out)] = answer
            return answer
        answer = self.answer_of(step)
        if isinstance(step.config, ScoreConfig):
            return self._lengths.prompt + answer
        if step.stage in _OF_PAIRS:
            return self.prompt_of(step) + 2 * answer
        return None

    def prompt_of(self, step: PlannedStep) -> int:
        """Tokens of a prompt; from the format on, as many as it leaves."""
        whole = self._lengths.prompt
        if isinstance(step.config, FormatConfig):
            self._longest_prompt = step.config.max_prompt_length
        return min(whole, self._longest_prompt or whole) if step.stage in _OF_PAIRS else whole

    def answer_of(self, step: PlannedStep) -> int:
        """Tokens of an answer, as the sampling that the step goes back to is assumed to draw."""
        if str(step.out) in self._answers:  # a sampling's own, whatever its policy was trained on
            return self._answers[str(step.out)]
        for value in step.reads.values():
            if value in self._answers:
                answer = self._answers[value]
                if isinstance(step.config, FormatConfig):
                    answer = min(answer, step.config.max_length - self.prompt_of(step))
                self._answers[str(step.out)] = answer
                return answer
        return self._lengths.answer or max(self._answers.values(), default=0)


_OF_PAIRS = (tokens.STAGE, replay.STAGE, reference.STAGE, train.STAGE)
_OF: Mapping[str, tuple[str, ...]] = {
    pairs.STAGE.name: ("prompts",), demonstrations.STAGE.name: ("prompts",),
    tokens.STAGE.name: ("pairs",), replay.STAGE.name: ("tokens",),
    reference.STAGE.name: ("tokens",), train.STAGE.name: ("tokens",),
}  # fmt: skip
SAMPLING = sample.STAGE


def _times(rows: int | None, factor: int) -> int | None:
    return None if rows is None else rows * factor


def _mixed(config: PromptsConfig) -> int | None:
    """Prompts of all sources, as `generation.sources.mixture` takes them; at most, as duplicates
    are told only when they are read."""
    sizes = [_lines(source) for source in config.mixture]
    if any(size is None for size in sizes):
        return config.limit
    there = [size for size in sizes if size is not None]
    if weights := [source.weight for source in config.mixture if source.weight]:
        return sum(shares(there, weights, config.limit))
    return min(sum(there), config.limit or sum(there))


def _lines(source: PromptSource) -> int | None:
    """Of a local file of lines, up to its limit; of another kind of source the limit alone."""
    path = Path(source.path)
    if path.suffix not in _LINES or not path.is_file():
        return source.limit
    lines = _count(path)
    return min(lines, source.limit or lines)


def _count(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for line in file if line.strip())


def mean_answer(folders: list[Path]) -> int | None:
    """Tokens of an answer that earlier samplings drew, on average."""
    drawn = rows = 0
    for folder in folders:
        told = json.loads((folder / "_manifest.json").read_text())
        drawn, rows = drawn + (told["facts"].get("tokens") or 0), rows + told["rows"]
    return -(-drawn // rows) if rows else None
