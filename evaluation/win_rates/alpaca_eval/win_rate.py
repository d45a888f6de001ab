"""AlpacaEval 2: raw and length-controlled win rate of one file of judgements."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from contracts.errors import UserError
from evaluation.win_rates.alpaca_eval.annotations import Annotations, read_annotations
from evaluation.win_rates.alpaca_eval.difficulty import judged, read_difficulty, read_gamed
from evaluation.win_rates.alpaca_eval.instructions import Instructions
from evaluation.win_rates.alpaca_eval.length_control import (
    FEWEST,
    Gamed,
    Judged,
    LengthControlled,
    LengthControlledRate,
    length_controlled,
    not_told,
)
from evaluation.win_rates.estimate import Estimate, Resampling, mean, times
from evaluation.win_rates.figures import Figures, counted, line
from evaluation.win_rates.published import published_of

JUDGE = "weighted_alpaca_eval_gpt4_turbo"
BASELINE = "gpt4_1106_preview"
BASELINE_SHA256 = "fed266b61e6b0c9f837983431b2ef30c4e2d2229029cbe42c88779c9547c9edf"
"""`texts_sha256` of its answers, as the leaderboard's judgements hold them."""
_MOST_HARD = 0.05
"""Files of the leaderboard's judge hold 0.6 % at most; hard labels alone moved 70.5 to 72.0."""


@dataclass(frozen=True)
class AlpacaEval(Figures):
    """Win rates in per cent against the baseline, and what forbids to set them beside others."""

    model: str
    baseline: str
    annotators: list[str]
    n: int
    """Prompts judged."""
    asked: int
    """Prompts of the benchmark."""
    win_rate: Estimate
    standard_error: float | None
    """As the leaderboard has it, of the mean; None of one prompt."""
    lc_win_rate: Estimate | None
    """None without difficulties, or where the prompts do not tell it."""
    not_length_controlled: str | None
    """Why there is none although the difficulties are there."""
    lc_standard_error: float | None
    """As the leaderboard has it: of the predictions alone, about 2.5 times too small."""
    regularised: bool | None
    """Whether the gamed baselines held the length-controlled fit."""
    average_length: int
    """Characters, as the leaderboard counts them."""
    hard_labels: float
    """Share of judgements without a probability."""
    not_comparable: list[str]
    """Why the published figures do not stand beside these; empty where they do."""

    def lines(self, sure: str) -> Iterator[str]:
        """Both win rates, and what forbids to compare them."""
        judges = ", ".join(self.annotators) or "nobody named"
        prompts = f"{counted(self.n, self.asked)} prompts"
        yield f"{self.model} against {self.baseline}: {prompts}, judged by {judges}"
        yield line("win rate", self.win_rate, " %", sure, self.standard_error)
        if self.lc_win_rate:
            note = ", too small: of the predictions alone"
            rate, error = self.lc_win_rate, self.lc_standard_error
            yield line("length-controlled", rate, " %", sure, error, note)
            if not self.regularised:
                yield "  fitted without the gamed baselines (--gamed) of the leaderboard's fit"
        else:
            reason = self.not_length_controlled
            why = f": {reason}" if reason else " without --difficulty or --gamed"
            yield f"  length-controlled  not known{why}"
        yield f"  average length     {self.average_length} characters"
        yield from _published(self.model)
        for reason in self.not_comparable:
            yield f"  not comparable with the leaderboard: {reason}"


def _published(model: str) -> Iterator[str]:
    known = published_of(model, "alpaca_eval")
    if known:
        names = {"win_rate": "win rate", "lc_win_rate": "length-controlled"}
        told = ", ".join(
            f"{name} {known[key].value:.2f} %" for key, name in names.items() if key in known
        )
        yield f"  published          {told} ({known['win_rate'].source})"


def alpaca_eval_win_rate(
    path: Path,
    instructions: Instructions,
    resampling: Resampling,
    gamed: Path | None = None,
    difficulty: Path | None = None,
) -> AlpacaEval:
    """Win rates of a file in AlpacaEval's format; length-controlled where a difficulty is given.

    Raises:
        UserError: a file cannot be read, or files do not belong together; names file and row.
    """
    annotations = read_annotations(path, instructions)
    files = AlpacaEvalFiles(gamed, difficulty)
    controlled, reason = _controlled(annotations, instructions, resampling, files)
    return AlpacaEval(
        annotations.model,
        annotations.baseline,
        list(annotations.annotators),
        n=len(annotations.index),
        asked=annotations.asked,
        win_rate=times(100, mean(annotations.preference, resampling)),
        standard_error=_standard_error(annotations),
        lc_win_rate=controlled.estimate if controlled else None,
        not_length_controlled=reason,
        lc_standard_error=controlled.published_standard_error if controlled else None,
        regularised=controlled.regularised if controlled else None,
        average_length=annotations.average_length,
        hard_labels=annotations.hard_labels,
        not_comparable=not_comparable(annotations),
    )


def not_comparable(annotations: Annotations) -> list[str]:
    """Why these judgements do not stand in one column with the leaderboard's."""
    reasons = []
    if (n := len(annotations.index)) < annotations.asked:
        reasons.append(f"{n} of {annotations.asked} prompts")
    if annotations.hard_labels > _MOST_HARD:
        reasons.append(f"{annotations.hard_labels:.0%} hard labels in place of probabilities")
    if list(annotations.annotators) != [JUDGE]:
        reasons.append(
            f"judged by {', '.join(annotations.annotators) or 'nobody named'}, not {JUDGE}"
        )
    if annotations.baseline != BASELINE:
        reasons.append(f"against {annotations.baseline}, not {BASELINE}")
    elif n == annotations.asked and annotations.baseline_sha256 != BASELINE_SHA256:
        reasons.append(f"against other answers than {BASELINE}'s")
    return reasons


@dataclass(frozen=True)
class AlpacaEvalFiles:
    """What the length-controlled fit needs beside judgements."""

    gamed: Path | None = None
    difficulty: Path | None = None

    @property
    def any(self) -> bool:
        """Whether there are difficulties."""
        return bool(self.gamed or self.difficulty)


def length_controlled_rate(
    annotations: Annotations, instructions: Instructions, files: AlpacaEvalFiles
) -> LengthControlledRate | str:
    """The fit over these judgements, or why they tell none.

    Raises:
        UserError: files do not belong together; names file and row.
    """
    fitted = _fitted(annotations, instructions, files)
    return not_told(*fitted) or LengthControlledRate(*fitted)


def _fitted(
    annotations: Annotations, instructions: Instructions, files: AlpacaEvalFiles
) -> tuple[Judged, Gamed | None]:
    """What the fit is made of."""
    source = files.difficulty or files.gamed
    assert source is not None
    rows = judged(annotations, read_difficulty(source, instructions), source)
    held = read_gamed(files.gamed, annotations, instructions) if files.gamed else None
    return rows, held


def _controlled(
    annotations: Annotations,
    instructions: Instructions,
    resampling: Resampling,
    files: AlpacaEvalFiles,
) -> tuple[LengthControlled | None, str | None]:
    """The figure, or why there is none although there are difficulties."""
    if not files.any:
        return None, None
    if len(annotations.index) < FEWEST:
        raise UserError(
            f"{len(annotations.index)} judgements: a length-controlled win rate needs at least "
            f"{FEWEST}; leave --difficulty and --gamed out for the raw one"
        )
    fitted = _fitted(annotations, instructions, files)
    if reason := not_told(*fitted):
        return None, reason
    return length_controlled(*fitted, resampling), None


def _standard_error(annotations: Annotations) -> float | None:
    preference = annotations.preference
    if len(preference) < 2:
        return None
    return 100 * float(preference.std(ddof=1)) / len(preference) ** 0.5
