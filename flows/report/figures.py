"""The plots of a round. Matplotlib is imported here and nowhere else."""

import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import matplotlib

matplotlib.use("Agg")
matplotlib.rcParams["svg.hashsalt"] = "onpolicy"

import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402
import pyarrow as pa  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.ticker import MaxNLocator  # noqa: E402

from evaluation.compare import Gains  # noqa: E402
from flows.report.run_data import RoundData  # noqa: E402
from training.lr_range.stage import LrRangeFacts  # noqa: E402

_SIZE = (6.4, 3.2)
_BINS = 40
_CURVES = (
    ("Loss", ("loss",)),
    ("Rewards of chosen and rejected", ("rewards/chosen", "rewards/rejected")),
    ("Reward margin in training", ("rewards/margins",)),
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
    yield "Held-out reward by policy", before_after(data.gains)


def histogram(series: Mapping[str, np.ndarray], unit: str) -> Figure:
    """Overlaid distributions on common bins."""
    figure, axes = plt.subplots(figsize=_SIZE, layout="constrained")
    values = np.concatenate([np.asarray(array, float) for array in series.values()])
    bins = np.histogram_bin_edges(values, bins=_BINS) if len(values) else _BINS
    for name, array in series.items():
        axes.hist(array, bins=bins, alpha=0.55, label=f"{name} (n={len(array):,})")
    axes.set(xlabel=unit, ylabel="count")
    axes.legend()
    return figure


def curves(series: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Figure:
    """Metrics over optimizer steps."""
    figure, axes = plt.subplots(figsize=_SIZE, layout="constrained")
    for name, (steps, values) in series.items():
        axes.plot(steps, values, label=name)
    axes.set(xlabel="optimizer step")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend()
    return figure


def before_after(gains: Mapping[str, Gains]) -> Figure:
    """Mean held-out reward of the start, before and after the round, an axis an annotator."""
    figure, row = plt.subplots(
        1, max(len(gains), 1), figsize=_SIZE, layout="constrained", squeeze=False
    )
    for axes, (name, gain) in zip(row[0], gains.items(), strict=False):
        over = gain.over_start
        axes.plot(("start", "before", "after"), (gain.start, gain.before, gain.after), "o-")
        axes.set_ylabel("mean reward")
        title = f"{name}: {over.mean:+.4f} [{over.low:+.4f}, {over.high:+.4f}]"
        lowest = f", at the lowest score seen {over.at_lowest:+.4f}"
        unsure = "" if over.at_lowest == over.low else lowest
        axes.set(title=title + unsure)
        axes.title.set_fontsize(9)
    return figure


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
    shown = [(title, [name for name in names if name in metrics]) for title, names in _CURVES]
    shown = [(title, names) for title, names in shown if names]
    figure, row = plt.subplots(
        1, len(shown), figsize=(4 * len(shown), 3.2), layout="constrained", squeeze=False
    )
    for axes, (title, names) in zip(row[0], shown, strict=True):
        for name in names:
            axes.plot(*metrics[name], label=name)
        axes.set(title=title, xlabel="optimizer step")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(fontsize=8)
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
    figure.savefig(buffer, format=kind, dpi=110, metadata=metadata)
    plt.close(figure)
    return buffer.getvalue()
