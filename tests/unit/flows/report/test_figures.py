"""Plots: the same run gives the same picture, and nothing in it is code."""

import numpy as np

from evaluation.bootstrap import Gain
from evaluation.compare import Gains
from flows.report.figures import before_after, curves, histogram, to_png, to_svg

OVER = Gain(0.2, 0.1, 0.3, 0.95, 9, at_lowest=-0.1, at_highest=0.4)
GAIN = Gains(start=0.4, before=0.5, after=0.6, over_start=OVER, over_before=OVER,
             unscored={}, cut={})  # fmt: skip


def test_the_same_data_give_the_same_svg() -> None:
    values = {"armorm": np.linspace(0, 1, 50)}
    assert to_svg(histogram(values, "reward")) == to_svg(histogram(values, "reward"))


def test_a_name_from_a_config_cannot_become_markup() -> None:
    svg = to_svg(histogram({"<script>alert(1)</script>": np.array([1.0, 2.0])}, "reward"))
    assert svg.startswith("<svg") and "<script" not in svg


def test_an_empty_series_still_draws() -> None:
    assert to_svg(histogram({"none": np.array([])}, "reward")).startswith("<svg")


def test_every_kind_of_plot_renders_as_png() -> None:
    steps = np.arange(3)
    for figure in (curves({"loss": (steps, steps * 0.5)}), before_after({"armorm": GAIN})):
        assert to_png(figure).startswith(b"\x89PNG")
