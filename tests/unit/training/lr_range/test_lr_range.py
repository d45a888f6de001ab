"""A range test: the rates of its schedule, and what its losses suggest, on curves made by hand."""

import math
import random

import pytest
from pydantic import ValidationError

from training.config import TrainConfig
from training.loop.schedule import RangeSchedule, Schedule
from training.lr_range.stage import LrRangeConfig
from training.lr_range.suggestion import smooth, suggest
from training.lr_range.worker import Diverged, Watch

RATES = [1e-8 * 10 ** (4 * step / 59) for step in range(60)]


def falls(rate: float) -> float:
    """A loss that falls by 1 around 1e-6."""
    return 2.0 - 1 / (1 + math.exp(-3 * math.log10(rate / 1e-6)))


def u_shaped(rate: float) -> float:
    return falls(rate) + max(0.0, math.log10(rate / 1e-5)) * 0.8


def noisy(losses: list[float], by: float) -> list[float]:
    chance = random.Random(3)
    return [loss + chance.gauss(0, by) for loss in losses]


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_a_u_shape_suggests_the_smaller_of_steepest_fall_and_a_tenth_of_the_lowest(
    noise: float,
) -> None:
    found = suggest(RATES, noisy([u_shaped(rate) for rate in RATES], noise))
    assert found.steepest == pytest.approx(1e-6, rel=1)
    assert found.lowest == pytest.approx(1e-5, rel=1)
    assert found.rate == pytest.approx(min(found.steepest, found.lowest / 10), rel=0.05)
    assert not found.diverges


def test_a_loss_that_leaves_at_the_end_is_said_with_its_rate() -> None:
    losses = [falls(rate) + (10 if rate > 2e-5 else 0) for rate in RATES]
    found = suggest(RATES, losses)
    assert found.diverges == pytest.approx(2e-5, rel=0.5)
    assert found.rate is not None and found.rate < 2e-6


@pytest.mark.parametrize("losses", [[1.0] * 60, noisy([1.0] * 60, 0.2)])
def test_a_flat_loss_suggests_nothing_but_higher_rates(losses: list[float]) -> None:
    found = suggest(RATES, losses)
    assert found.rate is None
    assert "raise --to" in found.reasons[0]


def test_a_loss_that_only_rises_suggests_nothing_but_lower_rates() -> None:
    found = suggest(RATES, [1.0 + 5 * max(0.0, math.log10(rate / 1e-7)) for rate in RATES])
    assert found.rate is None
    assert "lower --from" in found.reasons[0]


def test_a_loss_that_leaves_within_a_few_steps_asks_for_lower_rates() -> None:
    found = suggest(RATES[:6], [1.0, 30.0, 4.0, 50.0, 60.0, 90.0], ended_early=True)
    assert found.rate is None
    assert "lower --from" in found.reasons[0]


def test_a_loss_that_still_falls_at_the_end_asks_for_higher_rates() -> None:
    found = suggest(RATES, [2 - 0.2 * math.log10(rate / 1e-8) for rate in RATES])
    assert any("raise --to" in reason for reason in found.reasons)
    assert found.rate is not None and found.rate <= 1e-5


def test_too_few_steps_before_a_loss_that_is_not_finite_suggest_nothing() -> None:
    found = suggest(RATES[:2], [1.0, 9.0])
    assert found.rate is None
    assert "lower --from" in found.reasons[0]


def test_a_suggestion_is_moved_into_the_published_rates_with_the_reason() -> None:
    losses = [u_shaped(rate / 100) for rate in RATES]
    found = suggest(RATES, losses, bounds=(3e-7, 1e-6))
    assert found.rate == 1e-6
    assert any("into 3e-07 to 1e-06" in reason for reason in found.reasons)


def test_smoothing_keeps_a_line_and_its_place() -> None:
    line = [float(step) for step in range(40)]
    assert smooth(line)[10:30] == pytest.approx(line[10:30])
    step = [1.0] * 20 + [0.0] * 20
    assert smooth(step)[19:21].mean() == pytest.approx(0.5)


def test_rates_grow_by_a_constant_factor_over_as_many_epochs_as_it_takes() -> None:
    config = TrainConfig(global_batch=4)
    schedule = RangeSchedule(config, 10, low=1e-6, high=1e-2, count=5)
    rates = [schedule.learning_rate(step) for step in range(schedule.steps)]
    assert rates == pytest.approx([1e-6, 1e-5, 1e-4, 1e-3, 1e-2])
    batches = [schedule.batch(step) for step in range(schedule.steps)]
    assert [len(batch) for batch in batches] == [4] * 5
    assert batches[:2] == [Schedule(config, 10).batch(step) for step in range(2)]
    assert len({*batches[0], *batches[1]}) == 8


def test_a_test_ends_when_the_loss_has_doubled() -> None:
    watch = Watch()
    for loss in (1.0, 1.2, 0.9, 0.5, 0.4, 0.5, 1.5):
        watch.see(loss)
    with pytest.raises(Diverged):
        for _ in range(5):
            watch.see(4.0)


def test_rates_that_do_not_grow_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"high \(1e-06\) must be above low"):
        LrRangeConfig(training=TrainConfig(), low=1e-5, high=1e-6)
