"""A part is prepared while another is scored, and who dies of one of the two is known by trying."""

import base64
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from annotation.config import ScoreConfig
from annotation.scoring.inputs import ScoreInputs
from annotation.workers.pool import ScoringWorker, WorkerPool
from contracts.errors import OnPolicyError
from runtime.pool.listening import Listener
from runtime.pool.placement import Placement
from runtime.pool.worker import Death, WorkerHandle

CONFIG = ScoreConfig.model_validate(
    {"annotators": [{"kind": "armorm", "name": "a", "path": "some/model"}]}
)
FAULT = Death("killed by SIGSEGV", from_outside=False, loading=False, hung=False)
TOLD = Death("IndexError: too many", from_outside=False, loading=False, hung=False, told=True)
KILL = Death("killed by SIGKILL", from_outside=True, loading=False, hung=False)

Dies = Callable[[int, str], Death | None]
"""How a worker dies as it does something with a part, by the part's index and what it does."""


class Workers:
    """Workers in name alone: each prepares before it scores, and dies as `dies` says."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.dies: Dies = lambda index, does: None
        self.deaths: list[tuple[list[int], Death]] = []
        self.most_held = 0
        self.in_order = True
        nowhere: Any = SimpleNamespace(place="", node="")

        def begin(worker: WorkerHandle) -> None:
            worker.ready, worker.about, worker.wire = True, {}, nowhere

        monkeypatch.setattr(WorkerHandle, "begin", begin)
        monkeypatch.setattr(WorkerHandle, "reap", lambda _: self.deaths[-1][1])
        monkeypatch.setattr(WorkerHandle, "send", lambda self, **_: None)
        monkeypatch.setattr(Listener, "poll", lambda _, members: [self._hear(members)])

    def score(self, parts: int, workers: int = 1) -> list[int]:
        """Indices of the parts that come back."""
        unread = ScoreInputs(prompts=self.folder, responses=self.folder)
        pool = WorkerPool(Placement(workers), CONFIG, unread, self.folder)
        paths = {index: self.folder / f"part-{index}" for index in range(parts)}
        return [index for index, _ in pool.score(paths)]

    def _hear(self, members: list[ScoringWorker]) -> tuple[ScoringWorker, Any]:
        # The one with the most parts: whoever is free first takes the next.
        worker = max(members, key=lambda one: len(one.parts))
        self.most_held = max(self.most_held, len(worker.parts))
        unprepared = [one for one in worker.parts if one.index not in worker.prepared]
        part, does = (unprepared[0], "prepare") if unprepared else (worker.parts[0], "score")
        if part.one_by_one and not worker.step:
            return worker, {"next": f"prompt p{part.index}"}
        if death := self.dies(part.index, does):
            self.deaths.append(([one.index for one in worker.parts], death))
            return worker, None
        if part.one_by_one:
            return worker, {"fine": True}
        if unprepared:
            return worker, {"prepared": part.index}
        scored = part.index if self.in_order else part.index + 1
        return worker, {"scored": scored, "scores": base64.b64encode(b"scores").decode()}


@pytest.fixture
def workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workers:
    return Workers(tmp_path, monkeypatch)


@pytest.mark.parametrize("count", [1, 3])
def test_a_worker_is_given_one_part_ahead(workers: Workers, count: int) -> None:
    assert sorted(workers.score(12, count)) == list(range(12))
    assert workers.most_held == 2


def test_the_last_parts_are_for_who_is_free_first(workers: Workers) -> None:
    workers.score(4, workers=3)
    assert workers.most_held == 1


def test_scores_of_another_part_than_the_one_at_work_are_no_parts(workers: Workers) -> None:
    workers.in_order = False
    with pytest.raises(AssertionError, match="scored part 1 before 0"):
        workers.score(2)


def test_a_kill_from_outside_puts_both_back_and_blames_none(workers: Workers) -> None:
    workers.dies = lambda index, does: None if workers.deaths else KILL
    assert workers.score(3) == [0, 1, 2]
    assert workers.deaths == [([0, 1], KILL)]


def test_a_fault_as_a_part_is_prepared_is_not_the_scored_ones(workers: Workers) -> None:
    workers.dies = lambda index, does: FAULT if index == 1 else None
    with pytest.raises(OnPolicyError, match=r"part-1: prompt p1 crashed a worker again .*SIGSEGV"):
        workers.score(4)
    # Beside part 0, then alone, then prompt by prompt.
    assert [held for held, _ in workers.deaths] == [[0, 1], [1], [1]]


def test_a_fault_by_chance_costs_no_part(workers: Workers) -> None:
    workers.dies = lambda index, does: None if workers.deaths else FAULT
    assert sorted(workers.score(4)) == [0, 1, 2, 3]


@pytest.mark.parametrize("death", [FAULT, TOLD])
def test_once_the_next_is_prepared_the_scored_one_alone_is_blamed(
    workers: Workers, death: Death
) -> None:
    workers.dies = lambda index, does: death if index == 0 and does == "score" else None
    with pytest.raises(OnPolicyError, match="part-0: scoring it crashed a worker again"):
        workers.score(4)
    assert [held for held, _ in workers.deaths] == [[0, 1], [0]]  # by no prompt of it


def test_who_says_why_dies_of_the_part_that_it_scores(workers: Workers) -> None:
    workers.dies = lambda index, does: TOLD if index == 0 else None
    with pytest.raises(OnPolicyError, match=r"part-0: prompt p0 crashed a worker again"):
        workers.score(4)
    assert len(workers.deaths) == 2
