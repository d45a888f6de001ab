"""How many rounds a run has: raised by hand or by a schedule, never taken back."""

from pathlib import Path
from typing import Any

import pytest
from made_run import made, make
from minimal_run import MINIMAL, config

from contracts.config.base import load_config
from contracts.errors import ConfigDrift, UserError
from flows.pipeline.checks.worth_knowing import rounds_without
from flows.pipeline.config import RunConfig
from flows.pipeline.folder import run_folder
from flows.pipeline.folder.run_folder import claim_run, is_finished
from flows.pipeline.planning.plan import plan


def small(folder: Path, **changes: Any) -> RunConfig:
    """A run of which the folder holds all that it names."""
    (folder / "prompts.jsonl").write_text("List two fruits.")
    for model in ("policy", "reward"):
        (folder / model).mkdir(exist_ok=True)
    reward = {"kind": "classifier", "name": "rm", "path": str(folder / "reward")}
    prompts = MINIMAL["prompts"] | {"path": str(folder / "prompts.jsonl")}
    own = {"runs_dir": str(folder), "policy": {"path": str(folder / "policy")}, "prompts": prompts}
    return config(**own, annotation={"annotators": [reward]}, **changes)


def written(run: RunConfig) -> int:
    return load_config(RunConfig, run.folder / "config.yaml").rounds


def test_a_schedule_adds_a_round_to_a_finished_run_and_none_to_another(tmp_path: Path) -> None:
    run = made(small(tmp_path, rounds=1))
    assert claim_run(run, next_round=True).rounds == written(run) == 2
    assert claim_run(run, next_round=True).rounds == 2
    make(run)
    assert claim_run(run, next_round=True).rounds == 3


def test_a_schedule_adds_no_round_where_one_is_made_anew(tmp_path: Path) -> None:
    run = made(small(tmp_path, rounds=1))
    assert claim_run(run, next_round=True, again=["policy"]).rounds == 1


def test_a_plain_run_goes_on_with_the_rounds_that_a_schedule_has_added(tmp_path: Path) -> None:
    run = made(small(tmp_path, rounds=1))
    claim_run(run, next_round=True)
    assert not is_finished(run)
    assert claim_run(run).rounds == written(run) == 2
    assert "round-2/policy" in make(run)
    assert is_finished(run)


def test_no_schedule_adds_a_round_that_no_later_start_would_accept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="rounds"):
        small(tmp_path, rounds=run_folder.MOST_ROUNDS + 1)
    monkeypatch.setattr(run_folder, "MOST_ROUNDS", 2)  # 100 would take the test half a minute
    run = made(small(tmp_path, rounds=2))
    with pytest.raises(UserError, match=r"2 rounds are done.* policy\.path=.*round-2/policy"):
        claim_run(run, next_round=True)
    assert written(run) == 2 and is_finished(run)


CARRYING = {"carry_optimizer": True, "schedule_rounds": 2}


def test_each_round_trains_its_own_part_of_the_one_schedule() -> None:
    steps = {step.path: step for step in plan(config(training=CARRYING))}
    trainings = [steps[f"round-{number}/policy"].config for number in (1, 2)]
    assert [training.schedule_round for training in trainings] == [1, 2]
    assert "optimizer" not in steps["round-1/policy"].reads
    assert steps["round-2/policy"].reads["optimizer"] == "runs/test/round-1/policy"
    without = {step.path: step for step in plan(config())}
    assert without["round-2/policy"].config.schedule_round == 1


def test_adapters_that_are_carried_over_lie_beside_the_policy_of_the_start() -> None:
    steps = {step.path: step for step in plan(config(training={**CARRYING, "lora": {}}))}
    assert "base" not in steps["round-1/policy"].reads
    assert steps["round-2/policy"].reads["base"] == "owner/policy@abc"
    assert steps["round-2/policy"].reads["policy"].endswith("round-1/policy")


def test_more_rounds_than_the_schedule_spans_are_refused_before_anything_runs(
    tmp_path: Path,
) -> None:
    with pytest.raises(UserError, match=r"rounds: 3 are more than training.schedule_rounds \(2\)"):
        config(rounds=3, training=CARRYING)
    assert config(rounds=3, training={**CARRYING, "schedule": "constant"}).rounds == 3
    with pytest.raises(UserError, match="schedule_round: a run counts its rounds itself"):
        config(training={**CARRYING, "schedule_round": 2})
    run = made(small(tmp_path, rounds=2, training=CARRYING))
    with pytest.raises(UserError, match=r"the learning rate would stay 0.*round-2/policy"):
        claim_run(run, next_round=True)


def test_a_longer_schedule_is_another_one_for_every_round(tmp_path: Path) -> None:
    run = made(small(tmp_path, rounds=2, training=CARRYING))
    longer = small(tmp_path, rounds=3, training={**CARRYING, "schedule_rounds": 3})
    with pytest.raises(ConfigDrift, match=r"schedule_rounds: was 2, now 3"):
        claim_run(longer)
    assert written(run) == 2


def test_a_rounds_own_rate_is_one_of_the_shared_schedule() -> None:
    rules = {2: {"training": {"learning_rate": 4e-7}}}
    steps = {step.path: step.config for step in plan(config(training=CARRYING, by_round=rules))}
    assert steps["round-2/policy"].learning_rate == 4e-7


@pytest.mark.parametrize(("changes", "message"), [
    ({"by_round": {2: {"training": {"lora": {"rank": 4}}}}}, r"by_round.2.training.lora: is one"),
    ({"by_round": {2: {"training": {"carry_optimizer": False}}}}, "by_round.2.training.carry_opt"),
    ({"by_round": {2: {"training": {"loss": {"kind": "dpo"}}}}},
     r"by_round.2.training.loss: dpo cannot go on with the moments that simpo has left"),
    ({"start_from": "first"}, "start_from: from `first` there is no optimizer's state"),
    ({"by_round": {2: {"start_from": "first"}}}, r"by_round.2: start_from: from `first`"),
])  # fmt: skip
def test_carry_over_between_rounds_that_cannot_share_an_optimizer_is_refused(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        config(training=CARRYING, **changes)


def test_small_rounds_are_evaluated_together() -> None:
    every = MINIMAL["evaluation"] | {"every": 3}
    steps = {step.path: step for step in plan(config(rounds=7, evaluation=every))}
    verdicts = [path for path in steps if path.endswith("verdict")]
    assert verdicts == ["round-3/evaluation/verdict", "round-6/evaluation/verdict"]
    assert not any(path.startswith("round-4/evaluation") for path in steps)
    assert steps["round-6/evaluation/comparison"].reads["before_scores"] == (
        "runs/test/round-3/evaluation/scores"
    )
    assert steps["round-3/evaluation/verdict"].reads["before_scores"] == (
        "runs/test/round-0/evaluation/scores"
    )


def test_what_the_rounds_of_a_run_go_without_is_told() -> None:
    every = MINIMAL["evaluation"] | {"every": 4}
    batch = {"training": {"global_batch": 2}}
    (told,) = rounds_without(config(rounds=7, evaluation=every, **batch))
    assert told.startswith("rounds 5 to 7 are not evaluated")
    assert rounds_without(config(rounds=8, evaluation=every, replay={}, **batch)) == []
    (told,) = rounds_without(config(rounds=1, replay={}, **batch))
    assert told.startswith("replay takes pairs of earlier rounds")
    rules = {2: {"training": {"global_batch": 16}}}
    (told,) = rounds_without(config(training={"global_batch": 8}, by_round=rules))
    assert told.startswith("by_round.2.training: at most 10 pairs are one global batch of 16")


def test_a_run_that_would_evaluate_no_policy_is_refused() -> None:
    with pytest.raises(UserError, match=r"evaluation.every: 3 is more than `rounds` \(2\)"):
        config(evaluation=MINIMAL["evaluation"] | {"every": 3})
