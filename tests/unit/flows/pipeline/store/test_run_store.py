"""A run whose machine is gone goes on elsewhere; nothing that it finished is made again."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gated_run import JUDGED, finished
from made_run import tables
from s3_server import S3, SECRET
from stored_run import run

from contracts.errors import AwaitsAnswer, ConfigDrift, OnPolicyError, UserError
from contracts.steps.lock import folder_lock
from contracts.steps.step import claim
from flows.cli.run import _is_over
from flows.pipeline.config import RunConfig
from flows.pipeline.folder import prune
from flows.pipeline.folder.run_folder import settled
from flows.pipeline.planning.gates import ask
from flows.pipeline.planning.plan import plan
from flows.pipeline.store import run_store, shelf
from flows.pipeline.store.adopt import refuse_unusable
from flows.pipeline.store.run_store import RunStore, push_finished, storing
from runtime.store.objects import Objects

Machine = Callable[..., RunConfig]
PAIRS = "round-1/pairs"


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the user is warned of."""
    lines: list[str] = []
    monkeypatch.setattr(run_store, "print_warning", lines.append)
    return lines


def test_in_an_empty_folder_a_run_goes_on_from_the_store(machine: Machine) -> None:
    a, b = machine("a"), machine("b")
    first = run(a, until=PAIRS)
    here = tables(a.folder)
    shutil.rmtree(a.folder)
    rest = run(b)
    assert first and rest and not {*first} & {*rest}
    assert here.items() <= tables(b.folder).items()
    assert run(machine("c")) == []
    assert tables(machine("c").folder) == tables(b.folder)


def test_a_finished_run_is_pulled_with_all_that_was_fixed_as_it_was_claimed(
    machine: Machine,
) -> None:
    run(machine("a"))
    claimed = (machine("a").folder / "config.yaml").read_text()
    run(machine("b"))
    here = (machine("b").folder / "config.yaml").read_text()
    dates = [[line for line in text.splitlines() if "date" in line] for text in (claimed, here)]
    assert dates[0] == dates[1]


def test_another_run_takes_over_what_it_would_make_alike_but_trains_its_own(
    machine: Machine,
) -> None:
    run(machine("a"))
    other = machine("b", name="other")
    made = run(other)
    assert "round-1/policy" in made and PAIRS not in made and "round-1/responses" not in made
    manifest = json.loads((other.folder / PAIRS / "_manifest.json").read_text())
    assert manifest["taken_from"].endswith("/store/test/round-1/pairs")


def test_another_run_with_reuse_off_takes_nothing_over(machine: Machine) -> None:
    run(machine("a"))
    other = machine("b", name="other")
    off = other.resources.model_copy(update={"reuse": False})
    assert PAIRS in run(other.model_copy(update={"resources": off}))


def test_the_store_of_another_run_of_that_name_is_refused_before_anything_is_written(
    machine: Machine,
) -> None:
    run(machine("a"), until=PAIRS)
    other = machine("b", seed=7)
    with pytest.raises(UserError, match="holds another run of this name") as refused:
        run(other)
    assert "seed: was 42, now 7" in str(refused.value)
    assert not (other.folder / "config.yaml").exists()
    with pytest.raises(UserError, match="holds another run of this name"):
        refuse_unusable(other)


def test_a_step_that_has_lost_a_file_in_the_store_stops_no_run_and_is_mended(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(shelf, "print_warning", told.append)
    a = machine("a")
    run(a)
    objects = Objects(str(a.resources.store))
    parts = [key for key in objects.sizes("test") if "/pairs/" in key and "part-" in key]
    objects.remove(parts[:1])
    lost = parts[0].partition("/")[2].rpartition("/pairs/")[0] + "/pairs"
    assert run(machine("b")) == [lost]
    assert [line for line in told if f"{lost}: 1 of 1 files are gone or cut" in line]
    objects.remove(parts[:1])
    assert run(a) == []
    assert run(machine("c")) == []
    assert len(told) == 2


def test_a_run_that_keeps_few_policies_needs_no_more_room_where_it_is_pulled(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(machine("a", rounds=4))
    b = machine("b", rounds=4)
    b = b.model_copy(update={"resources": b.resources.model_copy(update={"keep_policies": 1})})
    pull, most = shelf.Shelf.pull, 0

    def counted(*given: Any) -> None:
        nonlocal most
        pull(*given)
        most = max(most, len([*b.folder.glob("round-*/policy/*.parquet")]))

    monkeypatch.setattr(shelf.Shelf, "pull", counted)
    monkeypatch.setattr(prune, "_WEIGHTS", ".parquet")  # as policies are made here
    assert run(b) == []
    assert most == 2


def test_what_is_made_anew_is_forgotten_in_the_store_and_replaced(machine: Machine) -> None:
    a = machine("a")
    run(a)
    made = run(a, again=["round-2/pairs"], salt="better")
    assert "round-2/pairs" in made and PAIRS not in made
    assert run(machine("b")) == []
    assert tables(machine("b").folder) == tables(a.folder)


def test_with_another_config_it_is_made_anew_and_goes_on_elsewhere_by_that(
    machine: Machine,
) -> None:
    run(machine("a"))
    changed = {"pairs": {"min_margin": 0.5}}
    run(machine("a", **changed), again=["round-1/pairs"])
    assert run(machine("b", **changed)) == []


def test_two_machines_that_made_a_step_otherwise_are_told_and_nothing_is_changed(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(machine("a"), until="round-1/prompts")
    run(machine("b"), until="round-1/prompts")
    with monkeypatch.context() as apart:  # as if both began at the same moment
        apart.setattr(run_store.Shelf, "read", lambda *_: None)
        apart.setattr(run_store.Shelf, "pull_by_content", lambda *_: None)
        run(machine("a"), until="round-1/responses", salt="a")
        with pytest.raises(UserError, match="another machine has finished this step"):
            run_beside(machine("b"))
    b = machine("b").folder / "round-1/responses"
    with pytest.raises(UserError, match=r"--redo round-1/responses"):
        run(machine("b"))
    assert b.is_dir()


def run_beside(config: RunConfig) -> None:
    """Go on without a look at what the store has meanwhile."""
    with pytest.MonkeyPatch.context() as apart:
        apart.setattr(run_store, "adopt", lambda *_: set())
        run(config, until="round-1/responses", salt="b")


def test_a_store_that_is_down_delays_and_never_fails_a_step(
    machine: Machine, s3: S3, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    a = machine("a", s3.bucket)
    monkeypatch.setattr(run_store, "Objects", lambda address: Objects(address, retries=0))
    run(a, until="round-1/prompts")
    with monkeypatch.context() as outage:
        outage.setattr(run_store, "adopt", down_after(s3, run_store.adopt))
        run(a, until=PAIRS)
    assert any("is not in the store yet" in line for line in told)
    assert any("the same `onpolicy run`, given again, pushes it" in line for line in told)
    s3.faults.is_down = False
    run(a)
    assert run(machine("b", s3.bucket)) == []


def down_after(s3: S3, adopt: Callable[..., set[str]]) -> Callable[..., set[str]]:
    def then_down(*given: object) -> set[str]:
        stored = adopt(*given)
        s3.faults.is_down = True
        return stored

    return then_down


def test_what_an_outage_kept_back_is_pushed_once_the_run_is_over(machine: Machine) -> None:
    a = machine("a")
    without = a.model_copy(update={"resources": a.resources.model_copy(update={"store": None})})
    run(without)
    push_finished(a)
    assert run(machine("b")) == []


def test_a_step_that_is_claimed_and_not_begun_is_pulled(machine: Machine) -> None:
    run(machine("a"), until=PAIRS)
    b = machine("b")
    run(b, until="round-1/prompts")
    shutil.rmtree(b.folder / "round-1/responses")
    step = next(step for step in plan(settled(b)) if step.path == "round-1/responses")
    claim(step.stage, step.config, step.inputs, step.out)
    with folder_lock(step.out):
        pass
    RunStore(b).fetch(step)
    assert tables(b.folder)[step.path] == tables(machine("a").folder)[step.path]


def test_a_pull_that_was_given_up_leaves_nothing_once_the_step_is_done(machine: Machine) -> None:
    a = machine("a")
    run(a, until="round-1/prompts")
    left = [a.folder / "round-1/.pulling-prompts-0123abcd", a.folder / "round-1/.sending-prompts"]
    for folder in left:
        folder.mkdir()
    run(a, until="round-1/prompts")
    assert not [folder for folder in left if folder.exists()]


def test_what_ended_a_run_is_told_whatever_the_store_says(
    machine: Machine, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def finish(_: RunStore) -> None:
        raise UserError("another machine has finished this step")

    monkeypatch.setattr(RunStore, "finish", finish)
    with pytest.raises(OnPolicyError, match="the loss is NaN"), storing(machine("a")):
        raise OnPolicyError("the loss is NaN")
    assert told == ["another machine has finished this step"]


def test_no_secret_is_in_what_a_run_writes(machine: Machine, s3: S3) -> None:
    config = machine("a", s3.bucket)
    run(config)
    objects = Objects(s3.bucket)
    texts = [path.read_bytes() for path in config.folder.rglob("*") if path.is_file()]
    texts += [objects.read(key) or b"" for key in objects.sizes("")]
    assert not [text for text in texts if SECRET.encode() in text]


def test_the_stores_address_is_not_what_makes_a_run(machine: Machine, tmp_path: Path) -> None:
    run(machine("a"), until=PAIRS)
    (tmp_path / "elsewhere").mkdir()
    moved = machine("a", f"file://{tmp_path}/elsewhere")
    made = run(moved)
    assert PAIRS not in made
    assert run(machine("b", f"file://{tmp_path}/elsewhere")) == []


def test_a_step_whose_inputs_are_other_on_this_machine_is_told(
    machine: Machine, tmp_path: Path
) -> None:
    run(machine("a"), until=PAIRS)
    (tmp_path / "prompts.jsonl").write_text("Name three birds.")
    with pytest.raises(ConfigDrift, match="was made by another config"):
        run(machine("b"))


def test_a_run_that_waits_for_an_answer_is_pushed(machine: Machine) -> None:
    config = machine("a", rounds=2, evaluation=JUDGED, gate={"worse": "ask"})
    finished(config, round_1="worse")
    ask(config.folder / "round-1", settled(config), flow_run=None)
    with pytest.raises(AwaitsAnswer):
        _is_over(config, until=None)
    objects = Objects(str(config.resources.store))
    assert objects.read("test/round-1/policy/_manifest.json")
