"""The gate after each round: what its verdict makes of the rounds after it, and who decides."""

import re
from collections.abc import Callable
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from gated_run import JUDGED, TRUTH, make_gated, read, write_verdict
from minimal_run import config

from contracts.errors import ConfigDrift, UserError
from contracts.tables.parts import read_table
from evaluation.gates import answers
from flows.pipeline.config import RunConfig
from flows.pipeline.folder.run_folder import claim_run, is_finished, refuse_drift
from flows.pipeline.planning.gates import ask, decide, stopped_line, waiting
from flows.pipeline.planning.plan import plan

ASKING = {"worse": "ask"}

Gated = Callable[..., RunConfig]


@pytest.fixture
def gated(settings: Callable[..., RunConfig]) -> Gated:
    """A claimed run of three rounds with a gate, in a folder of the test's own."""

    def make(rules: dict[str, Any], **changes: Any) -> RunConfig:
        run = settings(**{"rounds": 3, "evaluation": JUDGED, "gate": rules} | changes)
        run.folder.mkdir(parents=True, exist_ok=True)
        return claim_run(run)

    return make


def policies(run: RunConfig, number: int) -> dict[str, str]:
    """Which policies a round samples, trains, and is compared with."""
    steps = {step.path: step for step in plan(run)}
    before = steps[f"round-{number}/evaluation/comparison"].reads["before_scores"]
    read_by = {
        "samples": steps[f"round-{number}/responses"].reads["policy"],
        "trains": steps[f"round-{number}/policy"].reads["policy"],
    }
    named = {name: re.sub(r".*/(round-\d)/policy$", r"\1", path) for name, path in read_by.items()}
    return {**named, "compared with": Path(before).parts[-3]}


def test_a_run_without_a_gate_is_as_it_was() -> None:
    assert not any(step.path.endswith("/gate") for step in plan(config()))


def test_harms_are_measured_since_the_start_once_a_round_begins_from_another_policy() -> None:
    steps = {step.path: step for step in plan(config(rounds=2))}
    first, second = (steps[f"round-{number}/evaluation/verdict"].reads for number in (1, 2))
    assert "start_responses" not in first
    assert second["start_responses"].endswith("round-0/evaluation/responses")


def test_an_annotator_that_later_pairs_are_made_by_is_no_second_one_from_then_on() -> None:
    functions = [TRUTH | {"name": name} for name in "abc"]
    scoring = {"annotation": {"annotators": functions}, "pairs": {"annotator": "a"}}
    turning = {3: {"pairs": {"annotator": "b"}}}
    run = config(rounds=3, **scoring, by_round=turning)
    verdicts = [step.config for step in plan(run) if step.path.endswith("/verdict")]
    assert [one.trained_by for one in verdicts] == ["a", "a", "b"]
    assert [one.second for one in verdicts] == ["b", "b", "c"]
    scoring["annotation"] = {"annotators": functions[:2]}
    with pytest.raises(UserError, match="gate: no annotator but those that make the pairs"):
        config(rounds=3, **scoring, by_round=turning, gate={})


def test_a_better_round_is_promoted_and_the_next_begins_from_its_policy(gated: Gated) -> None:
    run = gated({})
    made = make_gated(run, {1: "better", 2: "same", 3: "better"})
    assert "round-3/gate" in made and is_finished(run)
    assert policies(run, 3) == dict.fromkeys(("samples", "trains", "compared with"), "round-2")


def test_a_worse_round_ends_the_run_and_says_why_and_how_to_go_on(gated: Gated) -> None:
    run = gated({})
    made = make_gated(run, {1: "better", 2: "worse"})
    assert made[-1] == "round-2/gate" and is_finished(run)
    told = stopped_line(run) or ""
    assert "stopped at the gate after round 2 by rule, the gate's rule for `worse`" in told
    assert "second_reward" in told and "onpolicy decide" in told
    assert claim_run(run, next_round=True).rounds == 3  # and no schedule adds a round


def test_after_a_worse_round_the_next_may_begin_from_the_last_good_policy(gated: Gated) -> None:
    run = gated({"worse": "last_good"})
    make_gated(run, {1: "better", 2: "worse", 3: "worse"})
    assert policies(run, 3) == dict.fromkeys(("samples", "trains", "compared with"), "round-1")
    refuse_drift(run)
    assert is_finished(run)


def test_a_gate_stands_after_each_evaluated_round_and_goes_back_to_the_last_such(
    gated: Gated,
) -> None:
    evaluation = {**JUDGED, "every": 2}
    run = gated({"worse": "last_good"}, rounds=6, evaluation=evaluation)
    made = make_gated(run, {2: "better", 4: "worse", 6: "better"})
    assert [path for path in made if path.endswith("/gate")] == [
        f"round-{number}/gate" for number in (2, 4, 6)
    ]
    steps = {step.path: step for step in plan(run)}
    assert steps["round-4/responses"].reads["policy"].endswith("round-3/policy")
    assert steps["round-5/responses"].reads["policy"].endswith("round-2/policy")
    assert policies(run, 6)["compared with"] == "round-2"


def test_a_run_that_is_to_end_later_than_its_gate_allows_ends_at_the_gate(gated: Gated) -> None:
    made = make_gated(gated({}), {1: "better", 2: "worse"}, until="round-3/pairs")
    assert made[-1] == "round-2/gate"


def test_start_from_last_good_is_short_for_such_a_gate(settings: Callable[..., RunConfig]) -> None:
    run = settings(rounds=3, evaluation=JUDGED, start_from="last_good")
    assert {step.path for step in plan(run)} >= {"round-1/gate", "round-3/gate"}
    run.folder.mkdir(parents=True)
    run = claim_run(run)
    make_gated(run, {1: "worse", 2: "better", 3: "better"})
    assert policies(run, 2)["samples"] == str(run.policy.reference)
    assert policies(run, 3)["samples"] == "round-2"


def test_the_decision_its_reasons_and_who_decided_are_a_table(gated: Gated) -> None:
    run = gated({})
    make_gated(run, {1: "worse"})
    (row,) = read_table(run.folder / "round-1" / "gate").to_pylist()
    assert (row["outcome"], row["action"], row["by"]) == ("worse", "stop", "rule")
    assert row["reasons"] == ["second_reward: worse, round-1/evaluation/verdict"]


def test_a_run_that_asks_waits_for_the_answer_and_goes_on_from_there(gated: Gated) -> None:
    run = gated(ASKING)
    assert make_gated(run, {1: "better", 2: "worse"})[-1] == "round-2/evaluation/verdict"
    ask(run.folder / "round-2", run, flow_run=None)
    told = waiting(run) or ""
    assert f"onpolicy decide {run.folder} round-2 promote|stop|last_good" in told
    assert "The verdict is worse" in told and "on it is `stop`" in told
    decide(run.folder, "round-2", "promote", by="ada", why="the drop is noise")
    assert waiting(run) is None
    assert make_gated(run, {3: "better"})[0] == "round-2/gate"
    facts = read(run, "round-2/gate")
    assert (facts["action"], facts["by"], facts["why"]) == ("promote", "ada", "the drop is noise")
    assert policies(run, 3)["samples"] == "round-2" and is_finished(run)
    assert make_gated(run, {}) == []  # nobody is asked a second time


def test_an_answer_to_another_verdict_does_not_count(gated: Gated) -> None:
    run = gated(ASKING)
    make_gated(run, {1: "worse"})
    decide(run.folder, "1", "promote", by="ada", why="")
    claim_run(run, again=["round-1/evaluation/verdict"])
    assert answers.read_answer(run.folder / "round-1") is None
    write_verdict(run.folder / "round-1" / "evaluation" / "verdict", "worse", "another figure")
    assert answers.read_answer(run.folder / "round-1") is None


def test_an_answer_that_cannot_be_read_is_named_with_the_way_out(gated: Gated) -> None:
    run = gated(ASKING)
    make_gated(run, {1: "worse"})
    for content in (b"", b"\xff", b'{"action": "prom'):
        (run.folder / "round-1" / answers.ANSWER).write_bytes(content)
        with pytest.raises(UserError, match=r"round-1/answer\.json: is damaged; delete it"):
            plan(run)


def test_after_the_time_limit_the_default_stands(
    gated: Gated, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = gated({**ASKING, "asking": {"hours": 1, "then": "last_good"}})
    make_gated(run, {1: "worse"})
    folder = run.folder / "round-1"
    assert ask(folder, run, flow_run=None)
    later = answers.now() + timedelta(hours=2)
    monkeypatch.setattr(answers, "now", lambda: later)
    assert waiting(run) is None and ask(folder, run, flow_run=None) is None
    make_gated(run, {2: "better", 3: "better"})
    assert read(run, "round-1/gate")["by"] == "time limit"
    assert policies(run, 2)["samples"] == str(run.policy.reference)


def test_a_stopped_run_goes_on_where_a_person_overrules_the_gate(gated: Gated) -> None:
    run = gated({})
    make_gated(run, {1: "worse"})
    said = decide(run.folder, "round-1", "promote", by="ada", why="")
    assert "rule had decided `stop`" in said and "--redo round-1/gate" in said
    told = "round-1/gate: has decided `stop`, and `promote` was answered since[^$]*--redo"
    with pytest.raises(ConfigDrift, match=told):
        refuse_drift(run)
    claim_run(run, again=["round-1/gate"])
    assert "round-2/gate" in make_gated(run, {2: "better", 3: "better"})


def test_a_decision_that_is_taken_back_leaves_the_later_rounds_as_they_are(gated: Gated) -> None:
    run = gated({})
    make_gated(run, {1: "better", 2: "better", 3: "better"})
    for action in ("last_good", "promote"):
        decide(run.folder, "round-1", action, by="ada", why="")
        claim_run(run, again=["round-1/gate"])
        with pytest.raises(ConfigDrift) if action == "last_good" else nullcontext():
            assert make_gated(run, {}) == ["round-1/gate"]
    assert is_finished(run)


def test_a_round_made_anew_goes_through_its_gate_anew(gated: Gated) -> None:
    run = gated({"worse": "last_good"})
    make_gated(run, {1: "better", 2: "worse", 3: "better"})
    claim_run(run, again=["round-2/pairs"])
    refuse_drift(run)  # round 3 goes back to round 1's policy only if the gate says so again
    made = make_gated(run, {2: "worse"})
    assert made[-1] == "round-2/gate" and is_finished(run)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"gate": {}}, r"gate: no annotator but those that make the pairs"),
        ({"start_from": "last_good"}, r"start_from: last_good: no annotator but"),
        ({"gate": {"worse": "wait"}}, r"gate\.worse"),
        ({"gate": {"asking": {"hours": 0}}}, r"gate\.asking\.hours"),
        ({"gate": {}, "start_from": "last_good", "evaluation": JUDGED}, r"gate\.worse: last_good"),
    ],
)
def test_a_gate_that_could_not_decide_is_told_as_the_config_is_read(
    changes: dict[str, Any], told: str
) -> None:
    with pytest.raises(UserError, match=told):
        config(**changes)


def test_an_answer_needs_a_run_a_gate_and_a_verdict(gated: Gated, tmp_path: Path) -> None:
    run = gated({})
    for place, told in (
        ("round-1", "has no verdict yet"),
        ("round-4", "has no gate; this run's gates are after round-1, round-2, round-3"),
        ("last", "name a round"),
    ):
        with pytest.raises(UserError, match=told):
            decide(run.folder, place, "stop", by=None, why="")
    with pytest.raises(UserError, match="no run lies here"):
        decide(tmp_path, "round-1", "stop", by=None, why="")


def test_who_decides_has_a_number_where_a_container_gives_no_name(
    gated: Gated, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = gated(ASKING)
    make_gated(run, {1: "worse"})
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.getuid", lambda: 54321)
    decide(run.folder, "1", "promote", None, "")
    answer = answers.read_answer(run.folder / "round-1")
    assert answer and answer.by == "user 54321"
