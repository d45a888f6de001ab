"""What a verdict reads of a run's facts."""

from evaluation.bootstrap import Gain
from evaluation.compare import Gains
from evaluation.judged import JudgedBenchmark
from evaluation.verdicts.gather import chosen_rate, gain, judged_gain
from evaluation.win_rates.estimate import Estimate
from evaluation.win_rates.prompt_scores import GainBounds
from evaluation.win_rates.rewards import RewardWinRate


def test_win_rate_and_gain_are_sure_only_where_the_ends_of_their_intervals_are() -> None:
    def rate(at_lowest: float) -> RewardWinRate:
        return RewardWinRate(90, Estimate(60, 54, 66), 0, 10, 0, at_lowest, at_highest=70)

    def gained(at_lowest: float) -> Gains:
        over = Gain(0.1, 0.04, 0.16, 0.95, 90, at_lowest, at_highest=0.2)
        return Gains(
            start=0, before=0, after=0.1, over_start=over, over_before=over, unscored={}, cut={}
        )

    for at_lowest, is_sure in ((50.5, True), (49.5, False)):
        found = chosen_rate({"armo": rate(at_lowest)}, "armo")
        assert found and found.is_sure == is_sure
        counted = gain({"armo": gained((at_lowest - 50) / 100)}, "armo")
        assert counted and counted.is_sure == is_sure


def test_a_judges_gain_is_sure_only_where_no_missing_judgement_could_turn_it() -> None:
    def judged(bounds: GainBounds | None) -> JudgedBenchmark:
        gains = {"win_rate": Estimate(5, 4.8, 5.2), "lc_win_rate": Estimate(3, 1, 5)}
        return JudgedBenchmark(
            judge="j", model="m", benchmark="alpaca_eval", generator="g", baseline="b", n=400,
            asked=805, unscored={}, average_length=9, figures={}, gains=gains, gain_bounds=bounds,
            missing={}, noise=None, between_orders=None, not_comparable=[],
        )  # fmt: skip

    for at_lowest, is_sure in ((4.0, True), (3.7, False)):  # 0.8 and 1.1 points lower
        found = judged_gain(judged(GainBounds(at_lowest, at_highest=9)))
        assert found and (found.value, found.is_sure) == (3, is_sure)
    all_there = judged_gain(judged(None))
    assert all_there and all_there.is_sure
