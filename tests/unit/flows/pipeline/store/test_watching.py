"""What a step has made so far is in the store before the step is finished."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from made_run import fill
from stored_run import run

from contracts.steps.fingerprint import of_file
from contracts.steps.lock import folder_lock
from contracts.steps.step import claim
from flows.pipeline.config import RunConfig
from flows.pipeline.folder.run_folder import settled
from flows.pipeline.planning.plan import plan
from flows.pipeline.planning.planned_step import PlannedStep
from flows.pipeline.store import run_store
from flows.pipeline.store.adopt import adopt_first
from flows.pipeline.store.run_store import RunStore, storing
from runtime.store.begun import Snapshots, read_begun
from runtime.store.objects import Objects

Machine = Callable[..., RunConfig]


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_store, "_LOOK_SECONDS", 0.02)


def step_of(config: RunConfig, path: str) -> PlannedStep:
    return next(step for step in plan(settled(config)) if step.path == path)


def add_line(path: Path, line: str) -> None:
    with path.open("a") as file:
        file.write(f"{line}\n")


def begun_on(config: RunConfig, path: str, fill: Callable[[Path], None]) -> None:
    """Begin a step on a machine, and lose the machine once the store has what was made so far."""
    run(config, until=before(config, path))
    step = step_of(config, path)
    with folder_lock(config.folder), storing(config) as store:
        store.begin(config, ())
        with store.watching(step):
            claim(step.stage, step.config, step.inputs, step.out)
            fill(step.out)
            wait_until_pushed(config, path, step.out)
        assert isinstance(store, RunStore)
        store._watches[path].join(60)


def before(config: RunConfig, path: str) -> str:
    paths = [step.path for step in plan(config)]
    return paths[paths.index(path) - 1]


def pushed_often(config: RunConfig) -> RunConfig:
    """What a step has made so far is pushed fifty times a second."""
    resources = config.resources.model_copy(update={"store_every": 0.02})
    return config.model_copy(update={"resources": resources})


def wait_until_pushed(config: RunConfig, path: str, out: Path) -> None:
    """Until the store's newest record of a step is what lies here now."""
    objects = Objects(str(config.resources.store))
    deadline = time.monotonic() + 60
    while (begun := read_begun(objects, f"test/{path}")) is None or any(
        of_file(out / name) != fingerprint for name, fingerprint in begun.files.items()
    ):
        assert time.monotonic() < deadline, f"{path} was never pushed"
        time.sleep(0.02)


def wait_for(config: RunConfig, key: str) -> None:
    objects = Objects(str(config.resources.store))
    deadline = time.monotonic() + 60
    while objects.read(key) is None:
        assert time.monotonic() < deadline, f"{key} was never pushed"
        time.sleep(0.02)


def files_below(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.name.startswith((".lock", ".pushed", "_step")):
            yield path.relative_to(folder).as_posix()


def test_a_step_goes_on_elsewhere_from_its_journal(machine: Machine) -> None:
    def sample(out: Path) -> None:
        (out / ".journal-00000.jsonl").write_text('{"sample": 1}\n')

    begun_on(pushed_often(machine("a")), "round-1/responses", sample)
    b = machine("b")
    adopt_first(b)
    step = step_of(b, "round-1/responses")
    assert list(files_below(step.out)) == [".journal-00000.jsonl"]
    run(b, until="round-1/responses")
    objects = Objects(str(b.resources.store))
    assert not [key for key in objects.sizes("test") if "_begun" in key]


def test_a_machine_that_comes_back_goes_on_from_where_another_has_come_to(
    machine: Machine,
) -> None:
    def sample(line: str) -> Callable[[Path], None]:
        return lambda out: add_line(out / ".journal-00000.jsonl", line)

    a, b = (pushed_often(machine(name)) for name in "ab")
    path = "round-1/responses"
    begun_on(a, path, sample("a"))
    journal = step_of(a, path).out / ".journal-00000.jsonl"
    sample("since the last push")(journal.parent)
    adopt_first(a)
    assert journal.read_text() == "a\nsince the last push\n", "it has gone furthest itself"
    adopt_first(b)
    begun_on(b, path, sample("b"))
    adopt_first(a)
    assert journal.read_text() == "a\nb\n"


def test_what_is_still_under_way_as_a_step_ends_is_forgotten_with_the_rest(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = pushed_often(machine("a"))
    run(config, until=before(config, "round-1/responses"))
    step, objects = step_of(config, "round-1/responses"), Objects(str(config.resources.store))
    sending, sent, manifest = (
        threading.Event(),
        threading.Event(),
        "test/round-1/responses/_manifest.json",
    )

    def slowly(self: Snapshots, go_on: Callable[[], bool]) -> bool:
        sending.set()
        while go_on() or objects.read(manifest) is None:
            time.sleep(0.02)
        time.sleep(0.1)
        objects.write("test/round-1/responses/_begun/0/part", b"late")
        sent.set()
        return True

    monkeypatch.setattr(Snapshots, "push", slowly)
    with folder_lock(config.folder), storing(config) as store:
        store.begin(config, ())
        with store.watching(step):
            claim(step.stage, step.config, step.inputs, step.out)
            assert sending.wait(60)
            fill(step)
        store.push(step)
    assert sent.wait(60)
    assert not [key for key in objects.sizes("test") if "_begun" in key]


def test_what_an_attempt_that_failed_is_still_pushing_is_waited_for(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = pushed_often(machine("a"))
    run(config, until=before(config, "round-1/responses"))
    step, at_once, most = step_of(config, "round-1/responses"), list[object](), list[int]()
    second = threading.Event()

    def slowly(self: Snapshots, go_on: Callable[[], bool]) -> bool:
        at_once.append(self)
        most.append(len(at_once))
        if len(most) > 1:
            second.set()
        time.sleep(0.1)
        at_once.remove(self)
        return True

    monkeypatch.setattr(Snapshots, "push", slowly)
    with folder_lock(config.folder), storing(config) as store:
        store.begin(config, ())
        with store.watching(step):
            while not most:
                time.sleep(0.01)
        with store.watching(step):
            assert second.wait(60)
    assert set(most) == {1}


def test_a_machine_that_was_overtaken_says_so_once_and_goes_on(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = list[str]()
    monkeypatch.setattr(run_store, "print_warning", told.append)
    config = pushed_often(machine("a"))
    run(config, until=before(config, "round-1/responses"))
    step, objects = step_of(config, "round-1/responses"), Objects(str(config.resources.store))
    with folder_lock(config.folder), storing(config) as store:
        store.begin(config, ())
        with store.watching(step):
            claim(step.stage, step.config, step.inputs, step.out)
            (step.out / ".journal-00000.jsonl").write_text("{}\n")
            wait_for(config, f"test/{step.path}/_begun/00000001.json")
            objects.write(f"test/{step.path}/_begun/00000002.json", b"{}")
            (step.out / ".journal-00000.jsonl").write_text("{}\n{}\n")
            assert isinstance(store, RunStore)
            store._watches[step.path].join(60)
    assert len(told) == 1 and "another machine goes on with this step" in told[0]


def test_what_was_left_of_a_finished_step_is_removed_as_a_run_begins(machine: Machine) -> None:
    config = machine("a")
    run(config, until="round-1/prompts")
    objects = Objects(str(config.resources.store))
    objects.write("test/round-1/prompts/_begun/0/part", b"late")
    run(config, until="round-1/prompts")
    assert not [key for key in objects.sizes("test") if "_begun" in key]


def test_a_checkpoint_is_pushed_as_it_is_made_whatever_the_interval(machine: Machine) -> None:
    def train(out: Path) -> None:
        below = out / ".checkpoints"
        below.mkdir()
        (below / "metrics.jsonl").write_text('{"step": 1}\n')
        (below / "unfinished-00000100").mkdir()
        (below / "unfinished-00000100" / "state.safetensors").write_text("state")
        (below / "unfinished-00000100").rename(below / "step-00000100")

    begun_on(machine("a"), "round-1/policy", train)
    b = machine("b")
    adopt_first(b)
    assert list(files_below(step_of(b, "round-1/policy").out)) == [
        ".checkpoints/metrics.jsonl", ".checkpoints/step-00000100/state.safetensors"
    ]  # fmt: skip
