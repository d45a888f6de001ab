"""The plots of a round. Matplotlib is imported here and nowhere else."""

import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import matplotlib

matplotlib.use("Agg")
matplotlib.rcParams["svg.hashsalt"] = "onpolicy"
# Text as text: half the time and size of outlines, and a browser's search finds it.
matplotlib.rcParams["svg.fonttype"] = "none"
matplotlib.rcParams["font.family"] = "sans-serif"

import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402
import pyarrow as pa  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.ticker import MaxNLocator  # noqa: E402

from flows.report.run_data import RoundData  # noqa: E402
from training.lr_range.stage import LrRangeFacts  # noqa: E402

_SIZE = (6.4, 3.2)
_BINS = 40
_TICKS = 5
_STYLES = ("-", "--", ":", "-.")
# The layout by hand: matplotlib's own takes three times as long as the plot.
_MARGINS = {"left": 0.13, "right": 0.98, "top": 0.96, "bottom": 0.16, "hspace": 0.12}
_CARD_CURVES = (
    ("Loss", ("loss",)),
    ("Rewards of chosen and rejected", ("rewards/chosen", "rewards/rejected")),
    ("Reward margin in training", ("rewards/margins",)),
)
_CURVES = (
    *_CARD_CURVES,
    ("Share of pairs with the chosen reward above", ("rewards/accuracies",)),
    ("Log-probs of chosen and rejected, nats a token", ("logps/chosen", "logps/rejected")),
    ("Norm of the gradient", ("grad_norm",)),
    ("Learning rate", ("learning_rate",)),
)


def round_figures(data: RoundData) -> Iterator[tuple[str, Figure]]:
    """Every plot of a round with its title; each figure is closed once it was written."""
    for name, values in data.rewards.items():
        yield f"Rewards of the sampled responses ({name})", histogram({name: values}, "reward")
    yield "Margins of the pairs", histogram({"chosen - rejected": data.margins}, "margin")
    yield "Lengths of the responses", histogram(data.lengths, "tokens")
    for title, names in _CURVES:
        series = {name: data.metrics[name] for name in names if name in data.metrics}
        if series:
            yield title, curves(series)


def histogram(series: Mapping[str, np.ndarray], unit: str) -> Figure:
    """Overlaid distributions on common bins; whole numbers in bins of whole numbers."""
    figure, axes = _axes()
    arrays = {name: np.asarray(array) for name, array in series.items()}
    bins = _bins(np.concatenate([*arrays.values()]))
    for name, array in arrays.items():
        counts, edges = np.histogram(array, bins)
        axes.stairs(counts, edges, fill=True, alpha=0.55, label=f"{name} (n={len(array):,})")
    axes.set(xlabel=unit, ylabel="count")
    # Here and below not at the best place, which takes as long to find as the plot to draw.
    axes.legend(loc="upper right")
    return figure


def _bins(values: np.ndarray) -> np.ndarray:
    """Edges of at most 40 bins, all of one width."""
    if not len(values):
        return np.linspace(0, 1, _BINS + 1)
    if not np.issubdtype(values.dtype, np.integer):
        return np.histogram_bin_edges(values, bins=_BINS)
    low, high = int(values.min()), int(values.max())
    width = -(-(high - low + 1) // _BINS)
    return np.arange(low, high + width + 1, width) - 0.5


def curves(series: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Figure:
    """Metrics over optimizer steps."""
    figure, axes = _axes()
    for name, (steps, values) in series.items():
        axes.plot(steps, values, label=name)
    axes.set(xlabel="optimizer step")
    axes.xaxis.set_major_locator(MaxNLocator(_TICKS, integer=True))
    if len(series) > 1:  # else the title says it
        axes.legend(loc="upper left")
    return figure


def by_round(runs: Mapping[str, Sequence[RoundData]]) -> Figure:
    """Held-out reward above and lengths below, over the rounds of one run or of several."""
    figure, (rewards, lengths) = plt.subplots(2, 1, figsize=(6.4, 4.8), sharex=True)
    figure.subplots_adjust(**_MARGINS | {"bottom": 0.11})
    for place, (run, rounds) in enumerate(runs.items()):
        name = f"{run}: " if len(runs) > 1 else ""
        style = {"linestyle": _STYLES[place % len(_STYLES)], "marker": "o", "markersize": 4}
        for label, (numbers, values) in _rewards_by_round(rounds).items():
            rewards.plot(numbers, values, label=name + label, **style)
        for label, (numbers, values) in _lengths_by_round(rounds).items():
            lengths.plot(numbers, values, label=name + label, **style)
    rewards.set(ylabel="held-out reward")
    lengths.set(ylabel="tokens", xlabel="round (0: the start)")
    lengths.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in (rewards, lengths):
        if axes.lines:
            axes.legend(fontsize=8)
    return figure


_Series = dict[str, tuple[list[int], list[float]]]


def _rewards_by_round(rounds: Sequence[RoundData]) -> _Series:
    """By annotator; the start's stands first."""
    series: _Series = {}
    for data in rounds:
        for name, gain in data.gains.items():
            numbers, values = series.setdefault(name, ([0], [gain.start]))
            numbers.append(data.number)
            values.append(gain.after)
    return series


def _lengths_by_round(rounds: Sequence[RoundData]) -> _Series:
    """Mean tokens of held-out answers, and of the round's pairs."""
    series: _Series = {}

    def add(name: str, number: int, value: float) -> None:
        numbers, values = series.setdefault(name, ([], []))
        numbers.append(number)
        values.append(value)

    for data in rounds:
        if data.verdict:
            if "held-out answers" not in series:
                add("held-out answers", 0, data.verdict.lengths.before)
            add("held-out answers", data.number, data.verdict.lengths.after)
        if data.pairing:
            add("chosen", data.number, data.pairing.chosen_tokens_mean)
            add("rejected", data.number, data.pairing.rejected_tokens_mean)
    return series


def _axes() -> tuple[Figure, Axes]:
    figure, axes = plt.subplots(figsize=_SIZE)
    figure.subplots_adjust(**_MARGINS)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(_TICKS))
    _place_labels(axes)
    return figure, axes


def _place_labels(axes: Axes) -> None:
    """By hand as well: to find room for them, matplotlib lays out all ticks again, a fifth of the
    time of a plot."""
    axes.xaxis.set_label_coords(0.5, -0.11)
    axes.yaxis.set_label_coords(-0.1, 0.5)


def intervals(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Gains over the start with their intervals, a row a point and annotator."""
    figure, axes = plt.subplots(figsize=(_SIZE[0], 0.9 + 0.32 * len(rows)), layout="constrained")
    for place, row in enumerate(rows):
        error = [[row["mean"] - row["low"]], [row["high"] - row["mean"]]]
        axes.errorbar(row["mean"], place, xerr=error, fmt="o", color="#4878a8", capsize=3)
    axes.axvline(0, color="#999", linewidth=0.8)
    labels = [f"{row['point']} ({row['annotator']})" for row in rows]
    axes.set_yticks(range(len(rows)), labels)
    axes.invert_yaxis()
    axes.set_xlabel("gain in held-out reward over the start")
    return figure


def training_curves(metrics: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Figure:
    """Loss, rewards and margin of a training run side by side."""
    shown = [(title, [name for name in names if name in metrics]) for title, names in _CARD_CURVES]
    shown = [(title, names) for title, names in shown if names]
    figure, row = plt.subplots(1, len(shown), figsize=(4 * len(shown), 3.2), squeeze=False)
    figure.subplots_adjust(left=0.05, right=0.99, top=0.9, bottom=0.16, wspace=0.2)
    for axes, (title, names) in zip(row[0], shown, strict=True):
        for name in names:
            axes.plot(*metrics[name], label=name)
        axes.set(title=title, xlabel="optimizer step")
        axes.xaxis.set_major_locator(MaxNLocator(_TICKS, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(_TICKS))
        _place_labels(axes)
        axes.legend(fontsize=8, loc="upper left")
    return figure


def learning_rates(table: pa.Table, facts: LrRangeFacts) -> Figure:
    """Loss over the rates of a range test, with the rates that it found."""
    figure, axes = plt.subplots(figsize=_SIZE, layout="constrained")
    rates = table["learning_rate"].to_numpy()
    axes.plot(rates, table["loss"].to_numpy(), color="#b8c8d8", label="loss of a step")
    axes.plot(rates, table["smoothed"].to_numpy(), color="#4878a8", label="smoothed")
    for name, rate, style in (
        ("steepest", facts.steepest, ":"),
        ("lowest", facts.lowest, "--"),
        ("suggestion", facts.suggestion, "-"),
    ):
        if rate:
            label = f"{name} {rate:.1e}"
            axes.axvline(rate, color="#c05020", linestyle=style, linewidth=1, label=label)
    axes.set(xscale="log", xlabel="learning rate", ylabel="loss")
    axes.legend(fontsize=8)
    return figure


def to_svg(figure: Figure) -> str:
    """The figure as an SVG element for a web page, and closed."""
    text = _render(figure, "svg").decode()
    return text[text.index("<svg") :]


def to_png(figure: Figure) -> bytes:
    """The figure as PNG bytes, and closed."""
    return _render(figure, "png")


def _render(figure: Figure, kind: str) -> bytes:
    buffer = io.BytesIO()
    # Without a date the same run gives the same report, byte for byte.
    metadata = {"Date": None} if kind == "svg" else {}
    # A page shows through; a card's picture is seen on its own.
    is_clear = kind == "svg"
    figure.savefig(buffer, format=kind, dpi=110, metadata=metadata, transparent=is_clear)
    plt.close(figure)
    return buffer.getvalue()
