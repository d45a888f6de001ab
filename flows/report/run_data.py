"""What the report and the UI show of a run, read from its tables and manifests."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from annotation.pairs import PairsFacts
from annotation.score import ScoreFacts
from annotation.scoring.precision_check import Agreement
from contracts.steps.facts import read_facts
from contracts.steps.manifest import Manifest, read_manifest
from contracts.steps.step import read_step
from contracts.tables.parts import part_paths, read_part, read_table
from evaluation.compare import CompareFacts, Gains, Shares
from evaluation.verdict import VerdictFacts
from flows.pipeline.folder.rounds import round_folders
from flows.pipeline.planning.lineage import decision_of
from flows.pipeline.planning.step_order import place
from flows.report.evaluation_data import EvaluationData
from generation.sample import SampleFacts
from training.format import FormatFacts
from training.monitor.collapse import repetition_sign


@dataclass(frozen=True)
class RoundData:
    """One finished round."""

    folder: Path

    @property
    def name(self) -> str:
        """`round 1`, as a reader says it."""
        return self.folder.name.replace("-", " ")

    @property
    def number(self) -> int:
        """The round's number; 1 is the first."""
        return int(self.folder.name.removeprefix("round-"))

    @cached_property
    def manifests(self) -> list[Manifest]:
        """Manifests of the round's finished steps, in no order."""
        found = map(read_manifest, (path.parent for path in self.folder.rglob("_manifest.json")))
        return [manifest for manifest in found if manifest]

    @property
    def tables(self) -> list[str]:
        """Folders of its finished steps, from its own, in the pipeline's order."""
        folders = (path.parent for path in self.folder.rglob("_manifest.json"))
        return [path.relative_to(self.folder).as_posix() for path in sorted(folders, key=place)]

    @property
    def rewarded_by(self) -> list[str]:
        """Annotators of the held-out answers: the one that made the pairs, then one that did
        not."""
        if self.verdict:
            return [name for name in (self.verdict.trained_by, self.verdict.second) if name]
        return [*self.gains]

    @property
    def before(self) -> Path:
        """The folder of the round that it is compared with: the one before, unless a gate went
        further back."""
        compared = read_step(self.folder / "evaluation" / "comparison" / "_step.json")
        # By its name: the run may have been copied since.
        return self.folder.parent / Path(compared["inputs"]["before_scores"]).parts[-3]

    @cached_property
    def rewards(self) -> dict[str, np.ndarray]:
        """Annotator to the scores of the round's responses; unscored ones left out."""
        return _by_annotator(read_table(self.folder / "scores", ["annotator", "score"]))

    @cached_property
    def margins(self) -> np.ndarray:
        """Reward margins of the round's pairs."""
        return read_table(self.folder / "pairs", ["margin"])["margin"].to_numpy()

    @cached_property
    def pairing(self) -> PairsFacts | None:
        """What annotation.pairs tells of the round's pairs."""
        return read_facts(self.folder / "pairs", PairsFacts)

    @cached_property
    def lengths(self) -> dict[str, np.ndarray]:
        """Tokens of the sampled, the chosen and the rejected responses."""
        tokens = read_table(self.folder / "tokens", ["chosen_ids", "rejected_ids"])
        sampled = read_table(self.folder / "responses", ["n_tokens"])
        return {
            "sampled": sampled["n_tokens"].to_numpy(),
            "chosen": pc.list_value_length(tokens["chosen_ids"]).to_numpy(),
            "rejected": pc.list_value_length(tokens["rejected_ids"]).to_numpy(),
        }

    @cached_property
    def metrics(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Metric name to (optimizer steps, values)."""
        table = read_part(self.folder / "policy" / "metrics.parquet")
        return {
            name: (rows["step"].to_numpy(), rows["value"].to_numpy())
            for name in pc.unique(table["name"]).to_pylist()
            if (rows := table.filter(pc.field("name") == name)).num_rows
        }

    @cached_property
    def gains(self) -> dict[str, Gains]:
        """Annotator to mean rewards and gains on the held-out prompts, where there are any."""
        return {name: gain for name, gain in self.unread.items() if isinstance(gain, Gains)}

    @cached_property
    def unread(self) -> Mapping[str, Shares]:
        """Annotator to the shares of held-out answers `unscored` and `cut`, by policy."""
        facts = read_facts(self.folder / "evaluation" / "comparison", CompareFacts)
        return facts.gains if facts else {}

    @cached_property
    def verdict(self) -> VerdictFacts | None:
        """Better, same or worse, and why; None of a round that is without one."""
        return read_facts(self.folder / "evaluation" / "verdict", VerdictFacts)

    @cached_property
    def evaluation(self) -> EvaluationData:
        """Benchmarks, win rates and examples, beside the start and the round before."""
        verdict = self.verdict
        return EvaluationData(
            folder=self.folder / "evaluation",
            before=self.before / "evaluation",
            start=self._start / "evaluation",
            annotator=(verdict.second or verdict.trained_by) if verdict else None,
        )

    @property
    def _start(self) -> Path:
        return self.folder.parent / "round-0"

    @property
    def verdict_line(self) -> str:
        """`worse than the policy it began from: length`; empty without a verdict."""
        if not self.verdict:
            return ""
        told = [reason for reason in self.verdict.reasons if reason.effect == "worse"]
        why = f": {', '.join(_spoken(reason.measure) for reason in told)}" if told else ""
        sides = {"better": "better than", "same": "the same as", "worse": "worse than"}
        return f"{sides[self.verdict.outcome]} the policy it began from{why}"

    @property
    def gate_line(self) -> str:
        """`stop, by rule (the gate's rule for `worse`), 2026-01-01T00:00:00+00:00`; empty without a
        gate."""
        decision = decision_of(self.folder)
        if decision is None:
            return ""
        why = f" ({decision.why})" if decision.why else ""
        return f"{decision.action}, by {decision.by}{why}, {decision.at}"

    @property
    def reasons(self) -> list[tuple[str, str, str]]:
        """Measure, effect and figure, of each measure that something is known of."""
        reasons = self.verdict.reasons if self.verdict else []
        return [
            (self._measure(one.measure), one.effect, one.says)
            for one in reasons
            if one.effect != "missing"
        ]

    @property
    def missing(self) -> list[str]:
        """Measures that nothing is known of."""
        reasons = self.verdict.reasons if self.verdict else []
        return [_spoken(reason.measure) for reason in reasons if reason.effect == "missing"]

    def _measure(self, name: str) -> str:
        """Its name, with the annotator whose figure it is."""
        assert self.verdict is not None
        by = {
            "training_reward": f" by {self.verdict.trained_by}, which made the pairs",
            "second_reward": f" by {self.verdict.second}, which did not",
            "win_rate": f" by {self.verdict.second or self.verdict.trained_by}",
        }
        return _spoken(name) + by.get(name, "")

    @cached_property
    def agreements(self) -> dict[str, Agreement]:
        """Annotator to how its scores agree with float32's, for those that ran in less."""
        facts = read_facts(self.folder / "scores", ScoreFacts)
        annotators = facts.annotators if facts else {}
        return {name: own.agreement for name, own in annotators.items() if own.agreement}

    @cached_property
    def formatting(self) -> FormatFacts | None:
        """What training.format tells of the round's tokens."""
        return read_facts(self.folder / "tokens", FormatFacts)

    @cached_property
    def repetition(self) -> dict[str, float]:
        """Repeated 4-grams in the held-out answers `before` and `after` the round, if counted."""
        shares = {}
        for name, folder in (("before", self.before), ("after", self.folder)):
            facts = read_facts(folder / "evaluation" / "responses", SampleFacts)
            if facts and facts.repetition is not None:
                shares[name] = facts.repetition
        return shares

    @property
    def signs(self) -> list[str]:
        """What the sampled answers say of a collapse, with the knob to turn."""
        if len(self.repetition) < 2:
            return []
        return [sign for sign in [repetition_sign(**self.repetition)] if sign]


def trained_rounds(folder: Path) -> list[RoundData]:
    """The rounds of a run that have a policy, in order; not all of them need be evaluated."""
    rounds = [RoundData(path) for _, path in round_folders(folder)]
    return [data for data in rounds if (data.folder / "policy" / "metrics.parquet").exists()]


def finished_rounds(folder: Path) -> list[RoundData]:
    """The rounds of a run that were trained and compared, in order."""
    return [
        data
        for data in trained_rounds(folder)
        if read_manifest(data.folder / "evaluation" / "comparison")
    ]


def sample_pairs(folder: Path, count: int) -> list[dict[str, Any]]:
    """`count` pairs of the first part, spread evenly from the widest to the narrowest margin."""
    paths = part_paths(folder)
    table: pa.Table = read_part(paths[0]) if paths else pa.table({"margin": []})
    table = table.sort_by([("margin", "descending")])
    if table.num_rows > count:
        table = table.take(np.linspace(0, table.num_rows - 1, count).round().astype(int))
    return table.to_pylist()


_NAMES = {
    "gsm8k": "GSM8K", "mmlu": "MMLU", "ifeval": "IFEval", "alpaca_eval": "AlpacaEval by a judge",
    "arena_hard": "Arena-Hard by a judge", "mt_bench": "MT-Bench by a judge",
}  # fmt: skip


def _spoken(measure: str) -> str:
    """`training_reward` as a reader says it."""
    return _NAMES.get(measure, measure.replace("_", " "))


def _by_annotator(scores: pa.Table) -> dict[str, np.ndarray]:
    scores = scores.filter(pc.is_valid(scores["score"]))
    return {
        name: scores.filter(pc.field("annotator") == name)["score"].to_numpy()
        for name in sorted(pc.unique(scores["annotator"]).to_pylist())
    }


def metric_rows(policy: Path, count: int) -> list[dict[str, float]]:
    """A training's metrics at `count` of its steps, spread evenly, a row a step; four digits."""
    steps: dict[int, dict[str, float]] = {}
    for row in read_part(policy / "metrics.parquet").to_pylist():
        steps.setdefault(row["step"], {"step": row["step"]})[row["name"]] = float(
            f"{row['value']:.4g}"
        )
    numbers = sorted(steps)
    shown = {round(place) for place in np.linspace(0, len(numbers) - 1, count)}
    return [steps[numbers[place]] for place in sorted(shown)]
