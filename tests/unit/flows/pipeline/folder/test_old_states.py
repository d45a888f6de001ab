"""Optimizer's states that no later round needs are removed; what a gate may go back to stays."""

from collections.abc import Callable

import pytest
from gated_run import finished, make_gated, read

from flows.pipeline.checks.check import quick_faults
from flows.pipeline.config import RunConfig
from flows.pipeline.folder.old_states import remove_old_states
from flows.pipeline.folder.run_folder import claim_run, steps_left
from flows.pipeline.planning.next_steps import next_steps
from training.carried import State

CARRYING = {"carry_optimizer": True, "schedule_rounds": 4}


def with_states(config: RunConfig, rounds: int) -> None:
    for number in range(1, rounds + 1):
        folder = config.folder / f"round-{number}" / "policy" / ".optimizer"
        folder.mkdir(parents=True)
        (folder / "state").write_text("AdamW")


def states(config: RunConfig) -> list[str]:
    return sorted(path.parts[-3] for path in config.folder.glob("round-*/policy/.optimizer"))


@pytest.mark.parametrize(("kept", "left"), [
    (None, ["round-1", "round-2", "round-3"]),
    (2, ["round-2", "round-3"]),
    (1, ["round-3"]),
])  # fmt: skip
def test_as_many_of_the_newest_are_kept_as_the_config_says(
    settings: Callable[..., RunConfig], kept: int | None, left: list[str]
) -> None:
    resources = {"resources": {"states_kept": kept}}
    config = settings(rounds=4, training=CARRYING | resources)
    with_states(config, 3)
    remove_old_states(config, trained=3)
    assert states(config) == left


def test_a_rule_may_say_how_many_are_kept_from_a_round_on(
    settings: Callable[..., RunConfig],
) -> None:
    rules = {3: {"training": {"resources": {"states_kept": 1}}}}
    config = settings(rounds=4, training=CARRYING, by_round=rules)
    with_states(config, 3)
    remove_old_states(config, trained=2)
    assert len(states(config)) == 3
    remove_old_states(config, trained=3)
    assert states(config) == ["round-3"]


GATE = {
    "rounds": 3,
    "gate": {"worse": "last_good"},
    "training": CARRYING | {"resources": {"states_kept": 1}},
}


def gated(settings: Callable[..., RunConfig]) -> RunConfig:
    verdict = {"require_second_reward": False}
    evaluation = {"sampling": {"n": 1, "temperature": 0}, "verdict": verdict}
    config = settings(**GATE, evaluation=evaluation)
    config.folder.mkdir(parents=True)
    return claim_run(config)


def carried_by(config: RunConfig, number: int) -> dict[str, str]:
    """What a round's training goes on from."""
    path = f"round-{number}/policy"
    reads = next(step for step in next_steps(config) if step.path == path).reads
    return {
        name: value.removeprefix(f"{config.folder}/")
        for name, value in reads.items()
        if name in ("policy", "optimizer")
    }


def test_a_round_that_was_sent_back_goes_on_with_the_state_of_the_policy_it_goes_back_to(
    settings: Callable[..., RunConfig],
) -> None:
    config = gated(settings)
    make_gated(config, {1: "better", 2: "worse", 3: "better"})
    assert read(config, "round-2/gate")["action"] == "last_good"
    assert carried_by(config, 3) == {"policy": "round-1/policy", "optimizer": "round-1/policy"}
    with_states_there = config.folder / "round-1" / "policy" / ".optimizer"
    with_states_there.mkdir()
    remove_old_states(config, trained=2)
    assert with_states_there.exists()


def test_a_round_that_is_sent_back_to_the_start_begins_with_no_state(
    settings: Callable[..., RunConfig],
) -> None:
    config = gated(settings)
    make_gated(config, {1: "worse", 2: "better", 3: "better"})
    assert carried_by(config, 2) == {"policy": str(config.policy.path)}


def test_a_round_without_the_state_that_it_goes_on_with_is_not_removed_to_be_made_anew(
    settings: Callable[..., RunConfig],
) -> None:
    config = settings(rounds=3, training=CARRYING | {"resources": {"states_kept": 1}})
    finished(config)
    with_states(config, 2)
    for number in (1, 2):
        policy = config.folder / f"round-{number}" / "policy"
        state = State(steps=1, trained="all weights", files={"state": "hash"})
        (policy / "optimizer.json").write_text(state.model_dump_json())
    remove_old_states(config, trained=2)

    def told(*again: str) -> list[str]:
        lines = quick_faults(config, steps_left(config, again))
        return [line for line in lines if "optimizer's state" in line]

    assert told("round-3/pairs") == []
    (line,) = told("round-2/pairs")
    assert "round-2/policy is to be made from round-1/policy, whose optimizer's state was" in line
    assert "`--redo round-1/policy`" in line
