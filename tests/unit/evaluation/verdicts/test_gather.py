"""What a verdict reads of a run's facts."""

from evaluation.bootstrap import Gain
from evaluation.compare import Gains
from evaluation.verdicts.gather import chosen_rate, gain
from evaluation.win_rates.estimate import Estimate
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
