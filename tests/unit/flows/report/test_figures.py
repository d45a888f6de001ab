"""Plots: the same run gives the same picture, and nothing in it is code."""

import io

import matplotlib.pyplot as plt
import numpy as np

from flows.report.figures import _bins, by_round, curves, histogram, to_png, to_svg


def test_the_same_data_give_the_same_svg() -> None:
    values = {"armorm": np.linspace(0, 1, 50)}
    assert to_svg(histogram(values, "reward")) == to_svg(histogram(values, "reward"))


def test_a_name_from_a_config_cannot_become_markup() -> None:
    svg = to_svg(histogram({"<script>alert(1)</script>": np.array([1.0, 2.0])}, "reward"))
    assert svg.startswith("<svg") and "<script" not in svg


def test_a_plot_on_a_page_has_no_ground_of_its_own_and_a_picture_has() -> None:
    steps = np.array([1.0, 2.0])
    assert "#ffffff" not in to_svg(curves({"loss": (steps, steps)}))
    picture = plt.imread(io.BytesIO(to_png(curves({"loss": (steps, steps)}))))
    assert picture[0, 0].tolist() == [1, 1, 1, 1]


def test_an_empty_series_still_draws() -> None:
    assert to_svg(histogram({"none": np.array([])}, "reward")).startswith("<svg")


def test_whole_numbers_lie_in_bins_of_whole_numbers() -> None:
    """As many in each: else some bars are twice as high as their neighbours."""
    few, many = np.arange(3, 9), np.arange(0, 1000)
    assert _bins(few).tolist() == [2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 8.5]
    widths = np.diff(_bins(many))
    assert set(widths.tolist()) == {25.0} and len(widths) == 40
    assert _bins(many)[0] <= 0 and _bins(many)[-1] >= 999


def test_every_kind_of_plot_renders_as_png() -> None:
    steps = np.arange(3)
    for figure in (curves({"loss": (steps, steps * 0.5)}), by_round({"empty": []})):
        assert to_png(figure).startswith(b"\x89PNG")
