"""Stage: what judges say of a round's answers, as figures with intervals.

Each judge's of each benchmark: the mean, by turn, category and length, length-controlled or at
equal style where the files for it are there, and what it gained over the round before.
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
from pydantic import Field

from contracts.steps.facts import Facts, read_facts
from contracts.steps.inputs import Data, Inputs
from contracts.steps.manifest import Result
from contracts.steps.step import Stage
from contracts.tables.parts import read_table, write_part
from contracts.tables.schemas import ANSWERS, JUDGEMENTS, QUESTIONS, WIN_RATES
from evaluation.config import WinRatesConfig
from evaluation.judge import JudgingFacts
from evaluation.judging.files import PinnedFile
from evaluation.judging.parts import Judged, judged_questions, parts
from evaluation.judging.referees.benchmarks import REFEREES
from evaluation.win_rates.agreement import Agreement
from evaluation.win_rates.alpaca_eval.annotations import average_length
from evaluation.win_rates.controlled import Controlled, Materials
from evaluation.win_rates.estimate import Estimate, Resampling
from evaluation.win_rates.prompt_scores import (
    GainBounds,
    PromptScores,
    gain_bounds,
    prompt_scores,
)
from runtime.stage_process import main

ALL = "all"
_COLUMNS = ["question_id", "turn", "order", "repeat", "score", "weight"]


class WinRatesInputs(Inputs):
    """A policy's judged answers; every mapping is by `judge/benchmark`."""

    questions: Annotated[Path, QUESTIONS]
    answers: Annotated[Path, ANSWERS]
    judgements: dict[str, Annotated[Path, JUDGEMENTS]]
    before: dict[str, Annotated[Path, JUDGEMENTS]] = Field({})
    """Of the policy of the round before."""
    files: dict[str, Data] = Field({})
    """By `benchmark/role`: what a figure is controlled by."""


class JudgedBenchmark(Facts):
    """One judge's figures of one benchmark."""

    judge: str
    """Its name in the config."""
    model: str
    benchmark: str
    generator: str
    baseline: str | None
    n: int
    """Prompts with all their judgements."""
    asked: int
    """Prompts that were asked."""
    unscored: dict[str, int]
    """Reason to number of judgements without a score; a game's second one is not counted."""
    average_length: int
    """Characters of an answer, as AlpacaEval's leaderboard counts them; 0 where none is judged."""
    figures: dict[str, Estimate]
    """Over all prompts: `win_rate`, `lc_win_rate`, `style_controlled` in per cent, or `score`."""
    gains: dict[str, Estimate]
    """Of the figures, over the round before, on the games that both have."""
    compared: int = 0
    """Prompts that the gains are over."""
    gain_bounds: GainBounds | None = None
    """Of the plain figure's gain, where either policy's judgements are not all there."""
    missing: dict[str, str]
    """Figures that the prompts don't tell, each with why."""
    noise: Agreement | None
    """The same games judged twice: the judge's noise floor."""
    between_orders: Agreement | None
    not_comparable: list[str]
    """Why the published figures do not belong in one column with these."""

    @property
    def chosen(self) -> str:
        """The figure that a verdict reads: length-controlled where it is known."""
        return "lc_win_rate" if "lc_win_rate" in self.gains else REFEREES[self.benchmark].figure

    @property
    def left_out(self) -> str:
        """What the figures are without, in words; empty where every judgement has a score."""
        if not self.unscored:
            return ""
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in self.unscored.items())
        over = f"; over {self.n:,} of {self.asked:,} prompts" if self.n < self.asked else ""
        return f"judgements without a score: {reasons}{over}"


class WinRatesFacts(Facts):
    """What the judges found, in the judges' order."""

    judged: list[JudgedBenchmark]
    confidence: float
    """Coverage of every interval."""


def run(config: WinRatesConfig, inputs: WinRatesInputs, out: Path) -> Result:
    """Write WIN_RATES.

    Raises:
        UserError: a file that a figure is controlled by does not belong to the questions.
    """
    resampling = Resampling(config.resamples, config.confidence, config.seed)
    rows: list[dict[str, Any]] = []
    judged: list[JudgedBenchmark] = []
    for name, folder in inputs.judgements.items():
        judge, _, benchmark = name.partition("/")
        questions = judged_questions(benchmark, inputs.questions, inputs.answers)
        scores = _scores(folder, benchmark)
        found = _described(judge, folder, scores, questions)
        if not len(scores):
            judged.append(found)
            continue
        materials = _materials(config, inputs, benchmark, folder, questions)
        before = inputs.before.get(name)
        older = _scores(before, benchmark) if before else None
        controlled = REFEREES[benchmark].controlled(materials, before, resampling)
        bounds = _bounds(folder, before, benchmark, resampling)
        found = _measured(found, scores, older, controlled, resampling)
        found = found.model_copy(update={"gain_bounds": bounds})
        judged.append(found)
        rows += _rows(found, folder, scores, older, questions, resampling)
    write_part(out, 0, pa.Table.from_pylist(rows, schema=WIN_RATES), WIN_RATES)
    return Result(len(rows), facts=WinRatesFacts(judged=judged, confidence=config.confidence))


def _materials(
    config: WinRatesConfig, inputs: WinRatesInputs, benchmark: str, folder: Path,
    questions: Mapping[str, Judged],
) -> Materials:  # fmt: skip
    files = {
        name.partition("/")[2]: config.files.get(name, PinnedFile()).locate(reference)
        for name, reference in inputs.files.items()
        if name.partition("/")[0] == benchmark
    }
    instructions = [question.instruction for question in questions.values()]
    return Materials(folder, inputs.answers / benchmark, files, instructions)


def _facts(folder: Path) -> JudgingFacts:
    facts = read_facts(folder, JudgingFacts)
    assert facts is not None  # an input is finished
    return facts


def _scores(folder: Path, benchmark: str, turn: int | None = None) -> PromptScores:
    rows = [row for row in _games(folder, benchmark) if turn in (None, row["turn"])]
    return prompt_scores(rows, REFEREES[benchmark].has_baseline)


def _games(folder: Path, benchmark: str) -> list[dict[str, Any]]:
    """Of one judge, each game once."""
    referee = REFEREES[benchmark]
    return [
        row | {"points": None if row["score"] is None else referee.points(row["score"])}
        for row in read_table(folder, _COLUMNS).to_pylist()
        if not row["repeat"]
    ]


def _bounds(
    folder: Path, before: Path | None, benchmark: str, resampling: Resampling
) -> GainBounds | None:
    if before is None:
        return None
    referee = REFEREES[benchmark]
    after, older = (_games(one, benchmark) for one in (folder, before))
    return gain_bounds(after, older, referee.points_range, referee.most_weight, resampling)


def _unscored(folder: Path) -> dict[str, int]:
    rows = read_table(folder, ["repeat", "score", "error"]).to_pylist()
    first = [row for row in rows if not row["repeat"] and row["score"] is None]
    return dict(sorted(Counter(row["error"].partition(":")[0] for row in first).items()))


def _described(
    judge: str, folder: Path, scores: PromptScores, questions: Mapping[str, Judged]
) -> JudgedBenchmark:
    """All but the figures, which are missing."""
    facts = _facts(folder)
    standing = facts.standing
    answers = [questions[key].answer for key in scores.keys]
    return JudgedBenchmark(
        judge=judge,
        model=standing.judge,
        benchmark=standing.benchmark,
        generator=facts.generator,
        baseline=facts.baseline,
        n=len(scores),
        asked=len(questions),
        unscored=_unscored(folder),
        average_length=average_length(answers) if answers else 0,
        figures={},
        gains={},
        missing={REFEREES[standing.benchmark].figure: "no judgement has a score"},
        noise=facts.noise,
        between_orders=facts.between_orders,
        not_comparable=facts.not_comparable,
    )


def _measured(
    judged: JudgedBenchmark, scores: PromptScores, older: PromptScores | None,
    controlled: Controlled, resampling: Resampling,
) -> JudgedBenchmark:  # fmt: skip
    figure = REFEREES[judged.benchmark].figure
    gain = scores.gain(older, resampling) if older else None
    compared = len(scores.shared(older)[0]) if older else 0
    return judged.model_copy(
        update={
            "figures": {figure: scores.estimate(resampling), **controlled.figures},
            "gains": {**({figure: gain} if gain else {}), **controlled.gains},
            "compared": compared,
            "missing": dict(controlled.missing),
        }
    )


def _rows(
    judged: JudgedBenchmark, folder: Path, scores: PromptScores, older: PromptScores | None,
    questions: Mapping[str, Judged], resampling: Resampling,
) -> list[dict[str, Any]]:  # fmt: skip
    fixed = {"judge": judged.judge, "benchmark": judged.benchmark, "asked": judged.asked}

    def row(figure: str, part: str, estimate: Estimate, n: int) -> dict[str, Any]:
        return {**fixed, "figure": figure, "part": part, "n": n, **vars(estimate)}

    figure = REFEREES[judged.benchmark].figure
    rows = [row(name, ALL, estimate, judged.n) for name, estimate in judged.figures.items()]
    gains = judged.gains.items()
    rows += [row(f"{name}_gain", ALL, gain, judged.compared) for name, gain in gains]
    turns = sorted(set(read_table(folder, ["turn"])["turn"].to_pylist()))
    for turn in turns if len(turns) > 1 else ():
        of_turn = _scores(folder, judged.benchmark, turn)
        if len(of_turn):
            rows.append(row(figure, f"turn {turn}", of_turn.estimate(resampling), len(of_turn)))
    for part, keys in parts(questions, scores.keys):
        of_part = scores.only(keys)
        rows.append(row(figure, part, of_part.estimate(resampling), len(of_part)))
    return rows


STAGE = Stage(
    name="evaluation.judged", version=4, config=WinRatesConfig, inputs=WinRatesInputs,
    output=WIN_RATES, facts=WinRatesFacts, run=run,
)  # fmt: skip

if __name__ == "__main__":
    main(STAGE)
