"""Sampling and scoring on a real Ray cluster of two nodes: what a stage makes there is what it
makes here, whatever is killed meanwhile."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest
from checkout import CHECKOUT
from echo_worker import EchoWorker
from two_nodes import TwoNodes, actors, seen_here_alone

from annotation import score
from annotation.config import ScoreConfig
from contracts.steps.manifest import Manifest
from contracts.steps.step import run_once
from generation import sample
from generation.config import SampleConfig
from runtime.cluster.count import Count, counted
from runtime.cluster.look import Look, fault_of
from runtime.cluster.placement import RayPlacement
from runtime.cluster.seating import Request
from runtime.pool.worker import Death
from runtime.progress import parse_progress

pytestmark = pytest.mark.engine

WriteRun = Callable[..., dict[str, str]]

KILLS = 30
# Nodes take 10 s to start here.
NODE_KILLS = 2
KILLS_IN_VAIN = 4


@pytest.fixture
def places(cluster: TwoNodes) -> Iterator[RayPlacement]:
    made = RayPlacement(cluster.place, Request(None, 1, 1))
    yield made
    made.close()


def test_a_worker_on_a_node_speaks_and_dies_as_one_here_does(places: RayPlacement) -> None:
    worker = EchoWorker(places, patience=15).wait_until_ready()
    assert str(worker).startswith("worker 0 (node ")
    for number in range(100):
        worker.send(say=number)
    assert [worker.hear() for _ in range(100)] == [{"said": number} for number in range(100)]
    endings = [
        (
            {"raise": "too many fish"},
            Death("ValueError: too many fish", False, False, False, told=True),
        ),
        ({"die": signal.SIGKILL}, Death("killed by SIGKILL", True, False, False)),
        ({"die": signal.SIGSEGV}, Death("killed by SIGSEGV", False, False, False)),
        ({"stop": True}, Death("hung: silent for 15 s", False, False, hung=True)),
    ]
    for message, death in endings:
        worker.send(**message)
        assert (worker.hear(), worker.reap()) == (None, death)
        worker.begin()
        worker.wait_until_ready()
    (seat,) = actors("Seat")
    seat.kill()
    assert (worker.hear(), worker.reap()) == (None, endings[1][1])
    worker.begin()
    worker.wait_until_ready().end()


def test_a_node_that_comes_in_mid_stage_is_taken_in_and_one_that_goes_is_told(
    cluster: TwoNodes, places: RayPlacement
) -> None:
    EchoWorker(places, 0).wait_until_ready()
    EchoWorker(places, 1).wait_until_ready()
    assert (places.workers, places.joined()) == (2, 0)
    third = cluster.add()
    while not (more := places.joined()):
        time.sleep(0.1)
    worker = EchoWorker(places, 2).wait_until_ready()
    cluster.lose(third)
    death = (worker.hear(), worker.reap())
    assert more == 1
    assert death[0] is None and death[1].lost and death[1].reason.endswith("was lost")


Make = Callable[..., tuple[Manifest, Manifest]]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `make` makes them, each below its name."""
    return tmp_path_factory.mktemp("made")


@pytest.fixture(scope="module")
def make(root: Path, tiny_gemma: Path, poisoned_armorm: Path, write_run: WriteRun) -> Make:
    """Samples and scores in two workers; the manifests of both steps."""
    texts = [f"name {i} {'red ' * (i % 9)}fish" for i in range(96)]
    run = write_run(root / "run", texts, per_part=2)

    def once(
        name: str, resources: dict[str, Any], policy: str = str(tiny_gemma),
        reward: str = str(poisoned_armorm),
    ) -> tuple[Manifest, Manifest]:  # fmt: skip
        engine = {"kind": "transformers", "batch_size": 4,
                  "resources": {"data_parallel": 2, **resources}}  # fmt: skip
        sampling = SampleConfig.model_validate(
            {"n": 3, "max_tokens": 24, "prompts_per_part": 4, "engine": engine}
        )
        asked = {"prompts": run["prompts"], "policy": policy}
        sampled = run_once(sample.STAGE, sampling, asked, root / name / "responses")
        armorm = {"kind": "armorm", "name": "a", "path": reward, "max_length": 512}
        scoring = ScoreConfig.model_validate(
            {"annotators": [armorm], "resources": {"device": "cpu", "workers": 2, **resources}}
        )
        inputs = run | {"models": {"a": reward}}
        return sampled, run_once(score.STAGE, scoring, inputs, root / name / "scores")

    return once


@pytest.fixture(scope="module")
def here(make: Make) -> tuple[Manifest, Manifest]:
    """What two workers of this machine make."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        return make("here", {})


def same(made: tuple[Manifest, Manifest], here: tuple[Manifest, Manifest]) -> bool:
    return all(one.files == other.files for one, other in zip(made, here, strict=True))


def test_tables_made_on_a_cluster_whose_nodes_fetch_the_models_are_those_made_here_byte_for_byte(
    cluster: TwoNodes,
    make: Make,
    here: tuple[Manifest, Manifest],
    tiny_gemma: Path,
    poisoned_armorm: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    resources = cluster.with_store(tmp_path / "store")
    with seen_here_alone(tiny_gemma) as policy, seen_here_alone(poisoned_armorm) as reward:
        assert same(make("spread", resources, policy, reward), here)
    # Of each model one copy on this machine, for the workers of both nodes.
    fetched = [*Path(os.environ["XDG_CACHE_HOME"], "onpolicy", "models").glob("*/_manifest.json")]
    assert len(fetched) == len([*(tmp_path / "store" / "_models").iterdir()]) == 2
    told = [parse_progress(line) for line in capfd.readouterr().out.splitlines()]
    for unit in ("samples", "responses"):
        last = [reading for reading in told if reading and reading.unit == unit][-1]
        assert sum(last.workers.values()) == 2 and sum(last.shares.values()) == pytest.approx(1.0)
        assert all(node.startswith("node ") for node in last.workers)


class Killer(threading.Thread):
    """Kills whole nodes first, then seats and workers, at seeded moments.

    Of ten deaths in a row without one sample a stage says that it gets no further, so where a
    machine is slow the kills wait until some work is done.
    """

    def __init__(
        self,
        cluster: TwoNodes,
        workers: Callable[[], list[int]],
        kills: int,
        nodes: int,
        seed: int,
        folder: Path,
    ) -> None:
        super().__init__(daemon=True)
        self.left = kills
        self.stop = False
        self._cluster, self._workers, self._nodes = cluster, workers, nodes
        self._random = Random(seed)
        self._folder = folder
        self._seen, self._in_vain = 0, 0

    def _is_in_vain(self) -> bool:
        """Whether the last kills let nothing be written between them."""
        written = sum(file.stat().st_size for file in files_below(self._folder))
        self._in_vain = self._in_vain if written == self._seen else 0
        self._seen = written
        return self._in_vain >= KILLS_IN_VAIN

    def run(self) -> None:
        while self.left and not self.stop:
            time.sleep(self._random.uniform(0.0, 1.0))
            if self._is_in_vain():
                continue
            workers = self._workers()
            if self._nodes and len(workers) > 1:
                self._nodes -= 1
                self._cluster.replace(self._random.randrange(2))
            elif workers:
                victims = [*workers, *(seat.pid for seat in actors("Seat"))]
                with suppress(ProcessLookupError):
                    os.kill(self._random.choice(victims), signal.SIGKILL)
            else:
                continue
            self.left -= 1
            self._in_vain += 1


def files_below(folder: Path) -> Iterator[Path]:
    """The journals and parts, but not one that is removed in this moment."""
    for file in folder.rglob("*.*"):
        with suppress(FileNotFoundError):
            file.stat()
            yield file


def test_thirty_kills_of_workers_seats_and_nodes_change_no_byte(
    cluster: TwoNodes,
    make: Make,
    here: tuple[Manifest, Manifest],
    workers_of: Callable[[int], list[int]],
    root: Path,
) -> None:
    kills, seed = 0, 0
    started = time.monotonic()
    while kills < KILLS:
        nodes = 0 if seed else NODE_KILLS
        workers, folder = partial(workers_of, os.getpid()), root / f"killed-{seed}"
        killer = Killer(cluster, workers, KILLS - kills, nodes, seed, folder)
        killer.start()
        assert same(make(f"killed-{seed}", cluster.resources), here)
        killer.stop = True
        killer.join()
        kills, seed = KILLS - killer.left, seed + 1
    print(f"{KILLS} kills, {NODE_KILLS} of nodes, {seed} runs, {time.monotonic() - started:.0f} s")


def test_a_cluster_that_will_not_do_is_told_from_one_that_will(
    cluster: TwoNodes, tmp_path: Path
) -> None:
    def fault(gpus: int, processes: int = 2, model: str = "") -> str:
        requests = [Request(None, gpus, 1), Request(processes, 1, processes, together=True)]
        return fault_of(Look(cluster=cluster.place, requests=requests, models=[model]))

    assert fault(1) == ""
    (tmp_path / "config.json").write_text("{}")
    with seen_here_alone(tmp_path) as model:
        assert f"lacks {model}; put models and the run's folder where all" in fault(1, model=model)
    assert "one worker needs 2 GPUs on one node, and the largest (node" in fault(2)
    assert "processes is 3, a GPU each, and all nodes together have 2" in fault(1, processes=3)
    count = Count(cluster=cluster.place, requests={"scores": Request(None, 1, 1)})
    told = counted(count)
    # A node that was killed may be noticed a moment later.
    assert told.gpus >= 2 and told.nodes == told.gpus + 1
    assert told.workers == {"scores": told.gpus} and not told.fault


def test_a_cluster_that_is_not_there_is_told_before_anything_is_started(tmp_path: Path) -> None:
    looked = subprocess.run(
        [sys.executable, "-m", "runtime.cluster.look",
         '{"cluster": {"address": "127.0.0.1:1"}, "requests": [], "models": []}'],
        cwd=CHECKOUT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "resources.cluster: no Ray cluster answers at '127.0.0.1:1'" in looked.stdout
