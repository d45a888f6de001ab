"""Own figures beside published ones: compared where judge and prompts are the same."""

from pathlib import Path

import pytest

from evaluation.win_rates.estimate import Estimate
from evaluation.win_rates.published import PUBLISHED, Measured, beside_published
from evaluation.win_rates.records import read_csv

JUDGE = "gpt-4-1106-preview"
OWN = Estimate(71.0, 68.0, 74.0)
METRIC = "alpaca_eval.lc_win_rate"


def test_a_figure_of_the_same_judge_is_compared() -> None:
    (line,) = beside_published([Measured("gemma-2-9b-it-SimPO", METRIC, OWN, JUDGE)])
    assert line.published and line.published.source.startswith("AlpacaEval's leaderboard")
    assert line.difference == pytest.approx(71 - 72.3508446939842)
    assert line.within


def test_another_judge_or_fewer_prompts_are_shown_and_not_compared() -> None:
    few = Measured("gemma-2-9b-it", METRIC, OWN, "gpt-4.1", not_comparable=["80 of 805 prompts"])
    (line,) = beside_published([few])
    assert line.published and line.difference is line.within is None
    assert line.not_comparable == ["80 of 805 prompts", f"judged by gpt-4.1, not {JUDGE}"]


def test_a_model_without_a_published_figure_stands_alone() -> None:
    (line,) = beside_published([Measured("mine", METRIC, OWN, JUDGE)])
    assert line.published is None
    assert not line.not_comparable


def test_no_figure_is_there_twice() -> None:
    assert len({(figure.model, figure.metric) for figure in PUBLISHED}) == len(PUBLISHED)


def test_what_is_said_to_be_the_leaderboards_is(shared_data: Path) -> None:
    board = shared_data / "alpaca_eval" / "weighted_alpaca_eval_gpt4_turbo_leaderboard.csv"
    rows = {row[""]: row for row in read_csv(board)}
    columns = {METRIC: "length_controlled_winrate", "alpaca_eval.win_rate": "win_rate"}
    columns["alpaca_eval.average_length"] = "avg_length"
    figures = [figure for figure in PUBLISHED if figure.source.startswith("AlpacaEval")]
    assert figures
    for figure in figures:
        assert figure.value == pytest.approx(float(rows[figure.model][columns[figure.metric]]))
