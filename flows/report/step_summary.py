"""A finished step as the report's table of stages shows it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from annotation import score
from annotation.pairs import PairsFacts
from contracts.steps.facts import read_facts
from contracts.steps.manifest import Manifest, read_manifest
from contracts.steps.step import read_step
from flows.pipeline.planning.step_order import place
from generation import sample
from generation.sample import SampleFacts
from training import train


@dataclass(frozen=True)
class StepSummary:
    """One finished step."""

    folder: Path
    path: str
    """Of the folder, from the run's."""
    manifest: Manifest

    @property
    def drops(self) -> str:
        """`12 duplicate, 1 empty`, or nothing."""
        return ", ".join(f"{count:,} {reason}" for reason, count in self.manifest.dropped.items())

    @property
    def rows_per_second(self) -> float | None:
        """Rows a second over the step's whole time, loading included; None where a part of that
        time is not known."""
        return self._per_second(self.manifest.rows)

    @property
    def tokens_per_second(self) -> float | None:
        """Answers' tokens a second that the step sampled, scored or trained on, over that time."""
        tokens = _answer_tokens(self.folder, self.manifest)
        return None if tokens is None else self._per_second(tokens)

    @property
    def busy(self) -> str:
        """Share of its time in which the GPUs computed, in percent; nothing where another run has
        made it."""
        if self.manifest.taken_from:
            return ""
        share = self.manifest.busy
        return "not measured" if share is None else f"{100 * share:.0f}"

    def _per_second(self, amount: float) -> float | None:
        made = self.manifest
        is_whole = made.seconds > 0 and not made.taken_from and not made.resumed
        return amount / made.seconds if is_whole else None


def step_summaries(run: Path) -> list[StepSummary]:
    """Every finished step of a run, in the pipeline's order."""
    paths = sorted((path.parent for path in run.rglob("_manifest.json")), key=place)
    manifests = ((path, read_manifest(path)) for path in paths)
    return [
        StepSummary(path, path.relative_to(run).as_posix(), manifest)
        for path, manifest in manifests
        if manifest
    ]


def drop_rows(steps: list[StepSummary]) -> Iterator[tuple[StepSummary, str, int, float]]:
    """Step, reason, rows that it left out for that, and their share of all that it kept or left
    out."""
    for step in steps:
        dropped = step.manifest.dropped
        for reason, count in dropped.items():
            yield step, reason, count, count / (step.manifest.rows + sum(dropped.values()))


def _answer_tokens(folder: Path, manifest: Manifest) -> float | None:
    if manifest.stage == sample.STAGE.name:
        facts = read_facts(folder, SampleFacts)
        return facts.tokens if facts else None
    if manifest.stage == score.STAGE.name:
        scored = read_facts(folder.parent / "responses", SampleFacts)
        return scored.tokens if scored else None
    if manifest.stage == train.STAGE.name:
        return _trained_tokens(folder, manifest)
    return None


def _trained_tokens(folder: Path, manifest: Manifest) -> float | None:
    """By the round's own pairs' mean lengths, also of those of a replay."""
    if (paired := read_facts(folder.parent / "pairs", PairsFacts)) is None:
        return None
    a_pair = paired.chosen_tokens_mean + paired.rejected_tokens_mean
    return manifest.rows * a_pair * read_step(folder / "_step.json")["config"]["epochs"]
