"""What the report shows of a round's evaluation, read from its tables and manifests."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from contracts.steps.facts import read_facts
from contracts.steps.manifest import read_manifest
from contracts.tables.parts import read_table
from evaluation.answers import AnswersFacts, BenchmarkAnswers
from evaluation.judged import ALL, JudgedBenchmark, WinRatesFacts
from evaluation.judging.parts import by_length
from evaluation.win_rates.estimate import FEWEST, Estimate, Resampling
from evaluation.win_rates.published import Beside, beside_published
from evaluation.win_rates.rewards import reward_win_rates
from flows.report.published_models import measured

_SHOWN = 3
_RESAMPLING = Resampling()


@dataclass(frozen=True)
class Example:
    """A held-out prompt with both policies' first answers."""

    prompt: str
    start: str
    after: str
    start_score: float
    after_score: float


@dataclass(frozen=True)
class EvaluationData:
    """One round's evaluation, beside the start's and the one that it is compared with."""

    folder: Path
    before: Path
    start: Path
    annotator: str | None
    """Whose rewards are shown by part and by example."""

    @cached_property
    def benchmarks(self) -> dict[str, tuple[BenchmarkAnswers | None, BenchmarkAnswers]]:
        """What each benchmark was answered, before and now."""
        old = read_facts(self.before / "answers", AnswersFacts)
        new = read_facts(self.folder / "answers", AnswersFacts)
        before = old.benchmarks if old else {}
        after = new.benchmarks if new else {}
        return {name: (before.get(name), one) for name, one in after.items()}

    @cached_property
    def judged(self) -> Sequence[JudgedBenchmark]:
        """Each judge's figures of each benchmark."""
        return _judged(self.folder)

    @cached_property
    def judged_confidence(self) -> str:
        """Coverage of the judged figures' intervals, e.g. `95 %`."""
        facts = read_facts(self.folder / "win_rates", WinRatesFacts)
        return f"{100 * facts.confidence:g} %" if facts else ""

    @cached_property
    def before_judged(self) -> Mapping[tuple[str, str], JudgedBenchmark]:
        """Each judge's figures of the policy before, by judge and benchmark."""
        return {(one.judge, one.benchmark): one for one in _judged(self.before)}

    @cached_property
    def judged_parts(self) -> list[dict[str, Any]]:
        """Rows of WIN_RATES by turn, category and length."""
        if read_manifest(self.folder / "win_rates") is None:
            return []
        rows = read_table(self.folder / "win_rates")
        return rows.filter(pc.field("part") != ALL).to_pylist()

    @cached_property
    def published(self) -> list[Beside]:
        """Figures of the start and of this policy beside the published ones of the same models."""
        figures = [*measured(self.start), *measured(self.folder)]
        return [line for line in beside_published(figures) if line.published]

    @cached_property
    def reward_parts(self) -> list[tuple[str, int, Estimate]]:
        """Win rate over the start by the annotator, by source and by length of the answer."""
        if not self._tables:
            return []
        scores, lengths, sources = self._tables["after"], self._lengths, self._sources
        named: dict[str, list[str]] = {}
        for prompt in lengths:
            named.setdefault(sources.get(prompt, ""), []).append(prompt)
        parts: list[tuple[str, Sequence[str]]]
        parts = [
            (f"from {name}", members) for name, members in sorted(named.items()) if len(named) > 1
        ]
        parts += by_length(lengths, "tokens")
        parts_of = []
        for part, prompts in parts:
            if len(prompts) >= FEWEST:
                new, old = (_of(side, prompts) for side in (scores, self._tables["start"]))
                rates = reward_win_rates(new, old, _RESAMPLING)
                parts_of += [(part, rate.n, rate.win_rate) for rate in rates.values()]
        return parts_of

    @cached_property
    def examples(self) -> dict[str, list[Example]]:
        """The largest wins over the start, and the largest losses, by the annotator."""
        if not self._tables:
            return {}
        start, after = (_first(self._tables[side]) for side in ("start", "after"))
        both = [prompt for prompt in after if prompt in start]
        ranked = sorted(both, key=lambda prompt: after[prompt] - start[prompt])
        lost = [prompt for prompt in ranked[:_SHOWN] if after[prompt] < start[prompt]]
        won = [prompt for prompt in ranked[::-1][:_SHOWN] if after[prompt] > start[prompt]]
        texts = [_texts(folder, [*won, *lost]) for folder in (self.start, self.folder)]
        asked = self._asked([*won, *lost])

        def shown(prompts: Sequence[str]) -> list[Example]:
            return [
                Example(asked[key], texts[0][key], texts[1][key], start[key], after[key])
                for key in prompts
            ]

        return {"largest wins": shown(won), "largest losses": shown(lost)}

    @cached_property
    def objectives(self) -> list[tuple[str, str, float, float]]:
        """Annotator, objective, and its mean over held-out answers of the start and now."""
        if read_manifest(self.start / "scores") is None:
            return []
        folders = (self.start, self.folder)
        sides = [_objectives(folder / "scores", self._held_out) for folder in folders]
        return [
            (annotator, name, float(old), float(new))
            for annotator, new_means in sides[1].items()
            if annotator in sides[0]
            for name, old, new in zip(
                _names(len(new_means)), sides[0][annotator], new_means, strict=True
            )
        ]

    @cached_property
    def _held_out(self) -> pa.Array:
        prompts = read_table(self.start.parent / "prompts", ["prompt_id", "split"])
        return prompts.filter(pc.field("split") == "test")["prompt_id"].combine_chunks()

    @cached_property
    def _tables(self) -> dict[str, pa.Table]:
        """SCORES of the annotator for the held-out prompts; empty where there are not all."""
        folders = {"start": self.start, "after": self.folder}
        there = [read_manifest(folder / "scores") is not None for folder in folders.values()]
        if not self.annotator or not all(there):
            return {}
        columns = ["prompt_id", "response_id", "annotator", "score"]
        read = {name: read_table(folder / "scores", columns) for name, folder in folders.items()}
        is_own = pc.field("annotator") == self.annotator
        return {name: _of(table.filter(is_own), self._held_out) for name, table in read.items()}

    @cached_property
    def _lengths(self) -> dict[str, int]:
        """Mean tokens of the answers now, by held-out prompt that has a score of both policies."""
        scored = set.intersection(*(set(_first(table)) for table in self._tables.values()))
        table = _of(read_table(self.folder / "responses", ["prompt_id", "n_tokens"]), list(scored))
        means = table.group_by("prompt_id").aggregate([("n_tokens", "mean")])
        columns = (means["prompt_id"].to_pylist(), means["n_tokens_mean"].to_pylist())
        return {prompt: round(mean) for prompt, mean in zip(*columns, strict=True)}

    @cached_property
    def _sources(self) -> dict[str, str]:
        table = read_table(self.start.parent / "prompts", ["prompt_id", "source"])
        return dict(zip(table["prompt_id"].to_pylist(), table["source"].to_pylist(), strict=True))

    def _asked(self, prompts: Sequence[str]) -> dict[str, str]:
        table = _of(read_table(self.start.parent / "prompts", ["prompt_id", "messages"]), prompts)
        return {row["prompt_id"]: row["messages"][-1]["content"] for row in table.to_pylist()}


def _judged(folder: Path) -> Sequence[JudgedBenchmark]:
    facts = read_facts(folder / "win_rates", WinRatesFacts)
    return facts.judged if facts else ()


def _of(table: pa.Table, prompts: Any) -> pa.Table:
    return table.filter(pc.is_in(table["prompt_id"], value_set=pa.array(prompts, pa.string())))


def _first(scores: pa.Table) -> dict[str, float]:
    """The score of each prompt's first answer, where it has one."""
    return {
        row["prompt_id"]: row["score"]
        for row in scores.to_pylist()
        if row["response_id"].endswith("-0") and row["score"] is not None
    }


def _texts(folder: Path, prompts: Sequence[str]) -> dict[str, str]:
    table = _of(read_table(folder / "responses", ["prompt_id", "sample", "text"]), prompts)
    return {row["prompt_id"]: row["text"] for row in table.to_pylist() if not row["sample"]}


def _objectives(scores: Path, prompts: pa.Array) -> dict[str, np.ndarray]:
    """By annotator that has objectives, their means, [objectives]."""
    table = _of(read_table(scores, ["prompt_id", "annotator", "objectives"]), prompts)
    table = table.filter(pc.is_valid(table["objectives"]))
    return {
        name: np.array(list(_rows(table, name))).mean(0)
        for name in pc.unique(table["annotator"]).to_pylist()
    }


def _rows(table: pa.Table, annotator: str) -> Iterator[list[float]]:
    yield from table.filter(pc.field("annotator") == annotator)["objectives"].to_pylist()


def _names(count: int) -> Sequence[str]:
    from annotation.scorers.heads import objective_names

    return objective_names(count)
