"""Rules by round: keys that are other from a round on."""

from collections.abc import Callable
from typing import Any

import pytest
from made_run import made, make
from minimal_run import config

from contracts.config.base import check
from contracts.errors import ConfigDrift, UserError
from flows.pipeline.checks.check import quick_faults
from flows.pipeline.config import RunConfig
from flows.pipeline.folder.run_folder import refuse_drift
from flows.pipeline.planning.plan import plan

SLOWER = {2: {"training": {"learning_rate": 4e-7}}}


def by_path(settings: RunConfig) -> dict[str, Any]:
    return {step.path: step for step in plan(settings)}


def test_a_rule_holds_from_its_round_on_until_a_later_one_gives_the_key_again() -> None:
    rules = {**SLOWER, 4: {"training": {"learning_rate": 2e-7}}}
    steps = by_path(config(rounds=5, by_round=rules))
    rates = [steps[f"round-{n}/policy"].config.learning_rate for n in range(1, 6)]
    assert rates == [8e-7, 4e-7, 4e-7, 2e-7, 2e-7]


def test_pairs_and_sampling_are_by_round_too_and_other_keys_stay() -> None:
    rules = {2: {"pairs": {"strategy": "max_random"}, "sampling": {"temperature": 1.0}}}
    steps = by_path(config(by_round=rules, pairs={"min_margin": 0.01}))
    first, second = (steps[f"round-{n}/pairs"].config for n in (1, 2))
    assert (first.strategy.kind, second.strategy.kind) == ("max_min", "max_random")
    assert first.min_margin == second.min_margin == 0.01
    sampling = [steps[f"round-{n}/responses"].config for n in (1, 2)]
    assert [one.temperature for one in sampling] == [0.8, 1.0]
    assert [one.n for one in sampling] == [4, 4]


def test_a_variant_of_another_kind_takes_none_of_the_old_ones_keys() -> None:
    loss = {"kind": "simpo", "beta": 10, "gamma_beta_ratio": 0.5}
    run = config(training={"loss": loss}, by_round={2: {"training": {"loss": {"kind": "dpo"}}}})
    steps = by_path(run)
    assert steps["round-2/policy"].config.loss.kind == "dpo"
    assert "round-2/reference" in steps and "round-1/reference" not in steps


def test_a_later_rule_keeps_the_keys_that_an_earlier_one_gave_the_same_variant() -> None:
    loss = {"kind": "simpo", "beta": 10, "gamma_beta_ratio": 0.5}
    rules = {
        2: {"training": {"loss": {"beta": 2}}, "pairs": {"strategy": "max_low_sigma"}},
        3: {"training": {"loss": {"kind": "simpo", "gamma_beta_ratio": 0.3}},
            "pairs": {"strategy": {"sigmas": 1.5}}},
    }  # fmt: skip
    third = config(rounds=3, training={"loss": loss}, by_round=rules).of_round(3)
    assert (third.training.loss.beta, third.training.loss.gamma_beta_ratio) == (2, 0.3)
    assert (third.pairs.strategy.kind, third.pairs.strategy.sigmas) == ("max_low_sigma", 1.5)


def test_a_variant_that_comes_back_after_another_has_its_defaults() -> None:
    loss = {"kind": "simpo", "beta": 2.5}
    kinds = {
        2: {"training": {"loss": {"kind": "dpo"}}},
        3: {"training": {"loss": {"kind": "simpo"}}},
    }
    run = config(rounds=3, training={"loss": loss}, by_round=kinds)
    assert [run.of_round(number).training.loss.beta for number in (1, 2, 3)] == [2.5, 0.01, 10]


def test_a_round_and_its_rule_are_added_and_nothing_before_is_made_anew(
    settings: Callable[..., RunConfig],
) -> None:
    made(settings(rounds=2, by_round=SLOWER))
    more = settings(rounds=3, by_round={**SLOWER, 3: {"training": {"learning_rate": 2e-7}}})
    refuse_drift(more)
    assert all(path.startswith("round-3/") for path in make(more))


def test_a_rule_for_a_round_that_is_made_is_a_drift_of_its_steps(
    settings: Callable[..., RunConfig],
) -> None:
    made(settings(rounds=2))
    with pytest.raises(ConfigDrift, match=r"round-2/policy: learning_rate: was 8e-07, now 4e-07"):
        refuse_drift(settings(rounds=2, by_round=SLOWER))


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        ({3: {}}, r"by_round\.3: there is no such round, `rounds` is 2"),
        ({0: {}}, r"by_round.*0"),
        ({2: {"training": {"learning_rat": 1e-7}}},
         r"by_round\.2: unknown key 'training.learning_rat' \(did you mean"),
        ({2: {"trainin": {}}}, r"unknown key 'by_round.2.trainin'.*did you mean"),
        ({2: {"training": {"learning_rate": -1}}}, r"by_round\.2: key 'training.learning_rate'"),
        ({2: {"pairs": {"annotator": "nobody"}}}, r"by_round\.2: .*nobody"),
        ({2: {"training": {"seed": 3}}}, r"by_round\.2: .*training.seed: set the run's own"),
    ],
)  # fmt: skip
def test_a_rule_without_its_round_or_key_is_told_as_the_config_is_read(
    rules: dict[int, Any], told: str
) -> None:
    with pytest.raises(UserError, match=told):
        config(by_round=rules)


def test_rules_survive_the_way_through_json_and_yaml() -> None:
    run = config(by_round=SLOWER)
    assert check(RunConfig, run.model_dump(mode="json"), origin="again") == run


def test_what_a_rule_asks_for_is_looked_at_before_anything_runs(
    settings: Callable[..., RunConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.readiness.visible_gpus", lambda: ["0"])
    processes = {"resources": {"processes": 4}}
    told = quick_faults(settings(by_round={2: {"training": processes}}))
    assert any(line.startswith("by_round.2.training.resources.processes: 4") for line in told)
    assert not any(line.startswith("training.resources.processes") for line in told)


def test_rounds_take_the_same_prompts_where_asked() -> None:
    slices = [
        step.config for step in plan(config(rounds=3, round_prompts="same"))
        if step.path.endswith("/prompts") and step.round
    ]  # fmt: skip
    assert [(one.start, one.count) for one in slices] == [(0, 10)] * 3


def test_training_from_the_first_policy_is_on_the_pairs_of_the_newest() -> None:
    steps = by_path(config(start_from="first"))
    assert steps["round-2/responses"].reads["policy"] == "runs/test/round-1/policy"
    assert steps["round-2/policy"].reads["policy"] == "owner/policy@abc"
    assert [steps[f"round-{n}/tokens"].config.off_policy for n in (1, 2)] == [False, True]
