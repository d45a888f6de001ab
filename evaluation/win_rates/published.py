"""Published figures, each with its source, and a table of one's own beside them."""

from collections.abc import Sequence
from dataclasses import dataclass

from evaluation.win_rates.estimate import Estimate

_BOARD = "AlpacaEval's leaderboard, weighted_alpaca_eval_gpt4_turbo"
_SIMPO = "princeton-nlp/SimPO, README"


@dataclass(frozen=True)
class Published:
    """A figure of a released model."""

    model: str
    metric: str
    """`alpaca_eval.lc_win_rate` and the like: benchmark and figure, per cent."""
    value: float
    judge: str
    source: str


@dataclass(frozen=True)
class Measured:
    """A figure of one's own: of a model trained here, or of released outputs judged anew."""

    model: str
    metric: str
    estimate: Estimate
    judge: str
    not_comparable: Sequence[str] = ()
    """Why it stands beside no published figure, beyond its judge: fewer prompts, hard labels."""
    confidence: float = 0.95
    """Coverage of the estimate's interval."""
    left_out: str = ""
    """Judgements that it is without, in words."""


@dataclass(frozen=True)
class Beside:
    """A line of the table."""

    measured: Measured
    published: Published | None
    difference: float | None
    """Own less published; None where the two may not be compared."""
    within: bool | None
    """Whether the published figure lies in one's own interval."""
    not_comparable: list[str]


def _figures(model: str, source: str, judge: str, **values: float) -> tuple[Published, ...]:
    return tuple(
        Published(model, metric.replace("__", "."), value, judge, source)
        for metric, value in values.items()
    )


_TURBO = "gpt-4-1106-preview"
_NONE = "none"  # scored by rule

PUBLISHED: tuple[Published, ...] = (
    *_figures("gemma-2-9b-it", _SIMPO, _TURBO, alpaca_eval__lc_win_rate=51.1,
              alpaca_eval__win_rate=38.1, alpaca_eval__average_length=1571,
              arena_hard__win_rate=40.8),
    *_figures("gemma-2-9b-it", _SIMPO, _NONE, gsm8k__accuracy=87.4, mmlu__accuracy=72.7),
    *_figures("gemma-2-9b-it-DPO", _SIMPO, _TURBO, alpaca_eval__lc_win_rate=67.8,
              alpaca_eval__win_rate=65.4, alpaca_eval__average_length=2016,
              arena_hard__win_rate=58.9),
    *_figures("gemma-2-9b-it-DPO", _SIMPO, _NONE, gsm8k__accuracy=88.5, mmlu__accuracy=72.2),
    *_figures("gemma-2-9b-it-SimPO", _BOARD, _TURBO, alpaca_eval__lc_win_rate=72.3508446939842,
              alpaca_eval__win_rate=65.86422561532919, alpaca_eval__average_length=1833),
    *_figures("gemma-2-9b-it-SimPO", _SIMPO, _TURBO, arena_hard__win_rate=59.1),
    *_figures("gemma-2-9b-it-SimPO", _SIMPO, _NONE, gsm8k__accuracy=88.0, mmlu__accuracy=72.2),
    *_figures("Llama-3-Instruct-8B-SimPO-v0.2", _SIMPO, _TURBO, alpaca_eval__lc_win_rate=53.7,
              alpaca_eval__win_rate=47.5, arena_hard__win_rate=36.5),
)  # fmt: skip
"""The runs that our configs repeat, and what they began from."""


def published_of(model: str, benchmark: str) -> dict[str, Published]:
    """The published figures of a model by their names, without the benchmark's."""
    return {
        one.metric.partition(".")[2]: one
        for one in PUBLISHED
        if one.model == model and one.metric.partition(".")[0] == benchmark
    }


def beside_published(
    measured: Sequence[Measured], published: Sequence[Published] = PUBLISHED
) -> list[Beside]:
    """Each figure of one's own beside the published one of the same model and metric.

    Figures of another judge stand in the table without a difference: another judge moves all
    scores, so the released outputs judged anew are what compares.
    """
    known = {(figure.model, figure.metric): figure for figure in published}
    return [_line(one, known.get((one.model, one.metric))) for one in measured]


def _line(measured: Measured, published: Published | None) -> Beside:
    reasons = list(measured.not_comparable)
    if published and published.judge != measured.judge:
        reasons.append(f"judged by {measured.judge}, not {published.judge}")
    if published is None or reasons:
        return Beside(measured, published, None, None, reasons)
    estimate = measured.estimate
    within = estimate.low <= published.value <= estimate.high
    return Beside(measured, published, estimate.value - published.value, within, reasons)
