"""Signs of a collapsing policy."""

import pytest

from training.monitor.collapse import CollapseGuard, repetition_sign


def watched(steps: list[dict[str, float]]) -> list[str]:
    guard = CollapseGuard()
    return [sign for step in steps for sign in guard.watch(step)]


def step(
    chosen: float, rejected: float = -1.5, margin: float = 0.5, accuracy: float = 0.7
) -> dict[str, float]:
    return {
        "logps/chosen": chosen,
        "logps/rejected": rejected,
        "rewards/margins": margin,
        "rewards/accuracies": accuracy,
    }


def test_a_steady_policy_raises_no_alarm() -> None:
    assert watched([step(-1.0 - 0.02 * i) for i in range(50)]) == []


def test_falling_chosen_log_probs_are_said_once_with_the_knob() -> None:
    (sign,) = watched([step(-1.0 - 0.1 * i) for i in range(60)])
    assert "Lower learning_rate first" in sign


def test_pairs_that_are_all_ranked_right_are_said_once() -> None:
    (sign,) = watched([step(-1.0, accuracy=1.0) for _ in range(30)])
    assert "every pair of the last 5 steps is ranked right" in sign


def test_a_margin_won_by_making_both_less_likely_is_said_with_its_figures() -> None:
    (sign,) = watched([step(-1 - 0.01 * i, -1 - 0.1 * i, 0.1 * i) for i in range(60)])
    assert "the margin went from 0.20 to 4.20 by making both responses less likely" in sign
    assert "fell from -1.20 to -5.20 nats a token" in sign


def test_rejected_responses_may_fall_as_long_as_the_chosen_do_not() -> None:
    assert watched([step(-1.0 + 0.01 * i, -1 - 0.2 * i) for i in range(60)]) == []


def test_supervised_fine_tuning_has_only_chosen_responses_to_watch() -> None:
    (sign,) = watched([{"logps/chosen": -1.0 - 0.1 * i} for i in range(60)])
    assert "the chosen responses' log-prob fell" in sign


@pytest.mark.parametrize(("before", "after", "said"), [(0.1, 0.15, False), (0.1, 0.21, True)])
def test_repetition_in_sampled_answers_is_a_sign_where_it_rises(before, after, said) -> None:
    sign = repetition_sign(before, after)
    assert bool(sign) == said
    assert not said or ("rose from 10.0% to 21.0%" in sign and "learning_rate" in sign)
