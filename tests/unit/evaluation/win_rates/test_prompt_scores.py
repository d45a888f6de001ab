"""Gains over the same games, and what judgements that are missing could make of them."""

from collections.abc import Sequence
from typing import Any

import pytest

from evaluation.win_rates.estimate import Resampling
from evaluation.win_rates.prompt_scores import gain_bounds, prompt_scores

FEW = Resampling(resamples=200)


def turns(*ratings: Sequence[float | None]) -> list[dict[str, Any]]:
    """A question a list, a judgement a turn."""
    return [
        {"question_id": str(question), "turn": turn, "order": "alone", "points": points,
         "weight": 1}
        for question, given in enumerate(ratings)
        for turn, points in enumerate(given, start=1)
    ]  # fmt: skip


def test_a_second_turn_that_was_not_read_is_no_gain() -> None:
    before = turns(*[(8.5, 6.5)] * 80)
    after = turns(*[(8.5, None)] * 12, *[(8.5, 6.5)] * 68)
    new, old = (prompt_scores(rows, needs_all=False) for rows in (after, before))
    gain = new.gain(old, FEW)
    assert gain and (gain.value, gain.low, gain.high) == (0, 0, 0)
    assert len(new) == 80 and new.estimate(FEW).value > 7.5  # of what was read, as FastChat has it


def test_a_prompt_counts_with_both_its_games_or_not_at_all() -> None:
    rows = turns((100.0, 0.0), (100.0, None))
    assert prompt_scores(rows, needs_all=True).keys == ["0"]
    assert prompt_scores(rows, needs_all=False).keys == ["0", "1"]


def test_a_gain_over_half_the_prompts_is_bounded_by_what_the_other_half_could_be() -> None:
    before = turns(*[(30.0,)] * 40, *[(70.0,)] * 40)
    after = turns(*[(35.0,)] * 40, *[(None,)] * 40)
    gain = prompt_scores(after, True).gain(prompt_scores(before, True), FEW)
    assert gain and gain.low == 5
    bounds = gain_bounds(after, before, (0, 100), 1, FEW)
    assert bounds and bounds.at_lowest < -30 < 15 < bounds.at_highest
    assert gain_bounds(before, before, (0, 100), 1, FEW) is None


def test_one_missing_game_of_many_turns_no_sure_gain() -> None:
    before = turns(*[(30.0,)] * 200)
    after = turns(*[(40.0,)] * 199, (None,))
    bounds = gain_bounds(after, before, (0, 100), 3, FEW)
    assert bounds and 5 < bounds.at_lowest < 10
    assert bounds.at_highest == pytest.approx(12, abs=2)
