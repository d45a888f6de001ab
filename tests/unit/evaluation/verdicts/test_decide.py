"""The verdict: better, same or worse, and what it says when something is not known."""

from typing import Any

import numpy as np
import pytest

from evaluation.verdicts.decide import Verdict, decide
from evaluation.verdicts.evidence import Change, Evidence, Harms, Interval
from evaluation.verdicts.limits import VerdictConfig
from evaluation.win_rates.estimate import Resampling, mean

UP = Interval(value=0.1, low=0.05, high=0.15)
FLAT = Interval(value=0.01, low=-0.05, high=0.07)
DOWN = Interval(value=-0.1, low=-0.15, high=-0.05)
HARMLESS = Evidence(
    training_reward=UP,
    second_reward=UP,
    win_rate=Interval(value=60, low=55, high=65),
    alpaca_eval=Interval(value=3, low=-1, high=7),
    arena_hard=UP,
    mt_bench=FLAT,
    length=Change(before=300, after=380),
    repetition=Change(before=0.01, after=0.03),
    refusals=Change(before=0.01, after=0.0),
    gsm8k=Change(before=87.4, after=85.5),
    mmlu=Change(before=72.7, after=72.2),
    ifeval=Change(before=70, after=68),
    drift=Interval(value=0.2, low=0.1, high=0.3),
)


def verdict(config: VerdictConfig | None = None, **changed: Any) -> Verdict:
    return decide(HARMLESS.model_copy(update=changed), config or VerdictConfig())


def effects(found: Verdict) -> dict[str, str]:
    return {reason.measure: reason.effect for reason in found.reasons}


def test_a_policy_that_gains_by_both_annotators_and_harms_nothing_is_better() -> None:
    found = verdict()
    assert found.outcome == "better"
    assert not found.missing
    assert "60 (55 to 65) per cent" in found.reasons[2].says


@pytest.mark.parametrize(
    ("measure", "value"),
    [
        ("training_reward", DOWN),
        ("second_reward", DOWN),
        ("win_rate", Interval(value=40, low=35, high=45)),
        ("alpaca_eval", Interval(value=-3, low=-5, high=-1)),
        ("arena_hard", DOWN),
        ("mt_bench", DOWN),
        ("length", Change(before=300, after=400)),
        ("repetition", Change(before=0.01, after=0.04)),
        ("refusals", Change(before=0.0, after=0.03)),
        ("gsm8k", Change(before=87.4, after=85.0)),
        ("mmlu", Change(before=72.7, after=70.0)),
        ("ifeval", Change(before=70, after=65)),
        ("drift", Interval(value=0.7, low=0.6, high=0.8)),
        ("drift", Interval(value=-0.7, low=-0.8, high=-0.6)),
    ],
)
def test_any_one_harm_makes_it_worse_and_is_named(measure: str, value: Any) -> None:
    found = verdict(**{measure: value})
    assert found.outcome == "worse"
    assert [name for name, effect in effects(found).items() if effect == "worse"] == [measure]


def test_harms_since_the_start_may_be_as_large_as_two_rounds_harms() -> None:
    lost = Harms(gsm8k=Change(before=87.4, after=83.5), mmlu=Change(before=72.7, after=68.6))
    found = verdict(since_start=lost)
    assert found.outcome == "worse"
    since = {name: effect for name, effect in effects(found).items() if "since" in name}
    assert since == {"gsm8k_since_start": "same", "mmlu_since_start": "worse"}
    for allowed in (3.0, None):
        assert verdict(VerdictConfig(since_start=allowed), since_start=lost).outcome == "better"


@pytest.mark.parametrize("measure", ["training_reward", "second_reward"])
def test_a_gain_by_one_annotator_alone_is_the_same(measure: str) -> None:
    assert verdict(**{measure: FLAT}).outcome == "same"
    found = verdict(**{measure: None})
    assert (found.outcome, found.missing) == ("same", [measure])
    assert f"better cannot be said without {measure}" in found.reasons[-1].says


def test_the_second_annotator_may_be_waived_but_not_overruled() -> None:
    waived = VerdictConfig(require_second_reward=False)
    assert verdict(waived, second_reward=None).outcome == "better"
    assert verdict(waived, second_reward=FLAT).outcome == "same"


def test_nothing_known_is_the_same_and_every_gap_is_said() -> None:
    found = decide(Evidence(), VerdictConfig())
    assert found.outcome == "same"
    assert set(found.missing) == set(Evidence.model_fields) - {"since_start"}
    assert all(r.says == "not measured" for r in found.reasons if r.effect == "missing")


def test_a_missing_measure_neither_helps_nor_hinders() -> None:
    gone = dict.fromkeys(("win_rate", "gsm8k", "mmlu", "ifeval", "drift", "refusals"))
    found = verdict(**gone)
    assert found.outcome == "better"
    assert set(found.missing) == set(gone)


def test_a_gate_reads_it_back_from_json() -> None:
    found = verdict(drift=UP)
    assert Verdict.model_validate_json(found.model_dump_json()) == found


def test_a_limit_is_the_last_that_is_allowed() -> None:
    assert verdict(repetition=Change(before=0.01, after=0.03)).outcome == "better"
    strict = VerdictConfig(max_repetition_growth=0.01)
    assert verdict(strict).outcome == "worse"


@pytest.mark.parametrize("figure", [UP, DOWN])
def test_a_figure_that_missing_scores_could_turn_counts_neither_way(figure: Interval) -> None:
    found = verdict(second_reward=figure.model_copy(update={"is_sure": False}))
    assert (found.outcome, effects(found)["second_reward"]) == ("same", "same")
    assert "answers without a score could turn it" in found.reasons[1].says


@pytest.mark.parametrize(
    ("measure", "change", "outcome"),
    [
        ("gsm8k", Change(before=87, after=80, low=-16, high=1), "better"),
        ("gsm8k", Change(before=87, after=80, low=-10, high=-4), "worse"),
        ("length", Change(before=300, after=500, low=1.2, high=2.4), "better"),
        ("length", Change(before=300, after=500, low=1.45, high=1.9), "worse"),
        ("repetition", Change(before=0, after=0.04, low=0.01, high=0.07), "better"),
        ("repetition", Change(before=0, after=0.04, low=0.03, high=0.05), "worse"),
        ("drift", Interval(value=0.6, low=0.4, high=0.8), "better"),
        ("drift", Interval(value=-0.6, low=-0.8, high=-0.4), "better"),
    ],
)
def test_a_harm_counts_where_its_whole_interval_lies_beyond_the_limit(
    measure: str, change: Change | Interval, outcome: str
) -> None:
    found = verdict(**{measure: change})
    assert found.outcome == outcome
    assert "95 % interval" in next(r.says for r in found.reasons if r.measure == measure)


def test_a_benchmark_that_one_policy_left_out_more_of_is_missing() -> None:
    unequal = Change(before=80, after=45, low=-45, high=-25, is_sure=False)
    assert verdict(gsm8k=unequal).missing == ["gsm8k"]


def noisy(draws: np.random.Generator, of: int) -> Interval:
    """What `of` prompts tell of a gain that is none, with its interval."""
    gains = mean(draws.normal(size=of), Resampling(resamples=200))
    return Interval(value=gains.value, low=gains.low, high=gains.high, prompts=of)


def test_many_measures_of_an_unchanged_policy_are_worse_no_oftener_than_one() -> None:
    """Five independent ones, each at 2.5 %, were so in 11 % of the verdicts."""
    draws = np.random.default_rng(0)
    names = ("training_reward", "second_reward", "alpaca_eval", "arena_hard", "mt_bench")
    outcomes = [
        decide(Evidence(**{name: noisy(draws, 10) for name in names}), VerdictConfig()).outcome
        for _ in range(400)
    ]
    assert outcomes.count("worse") / 400 < 0.04


def test_one_measure_that_is_barely_worse_is_not_sure_among_many_and_all_are_named() -> None:
    barely = Interval(value=-0.1, low=-0.19, high=-0.01)
    alone = decide(Evidence(second_reward=barely), VerdictConfig())
    assert alone.outcome == "worse" and effects(alone).get("family") is None
    found = verdict(second_reward=barely)
    says = {reason.measure: reason.says for reason in found.reasons}
    assert (found.outcome, effects(found)["second_reward"]) == ("same", "same")
    assert "not sure enough as one of 7 measures" in says["second_reward"]
    assert "in 2.5% at most by any of the 7 measures" in says["family"]
    assert "training_reward, second_reward, win_rate, alpaca_eval" in says["family"]


def test_every_harm_that_is_sure_is_named_not_the_surest_alone() -> None:
    """Holm: beside a sure one, the next needs less."""
    next_one = Interval(value=-0.1, low=-0.17, high=-0.03)  # 2.8 standard errors
    found = verdict(training_reward=DOWN, second_reward=next_one)
    assert [name for name, effect in effects(found).items() if effect == "worse"] == [
        "training_reward", "second_reward",
    ]  # fmt: skip


@pytest.mark.parametrize("measure", ["training_reward", "length", "refusals"])
def test_a_measure_over_too_few_prompts_is_missing_and_says_so(measure: str) -> None:
    few: Interval | Change = DOWN.model_copy(update={"prompts": 9})
    if measure != "training_reward":
        few = Change(before=0.1, after=0.9, low=5, high=12, prompts=9)
    found = verdict(**{measure: few})
    assert found.outcome != "worse" and found.missing == [measure]
    says = next(reason.says for reason in found.reasons if reason.measure == measure)
    assert says.endswith("over 9 prompts, where 10 are the fewest that decide anything")
    assert verdict(VerdictConfig(fewest_prompts=9), **{measure: few}).outcome == "worse"
