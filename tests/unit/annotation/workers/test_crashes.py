"""Scoring workers that all crash: the stage ends, and says why."""

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

ARMORM = {"kind": "armorm", "name": "a", "path": "some/model"}
CRASH = Death("CUDA error: device lost", from_outside=False, loading=False, hung=False, told=True)


@pytest.mark.parametrize(("workers", "most"), [(1, 2), (8, 2 * 8 + 10)])
def test_workers_that_all_crash_with_every_part_end_the_stage_by_their_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int, most: int
) -> None:
    starts = []
    nowhere: Any = SimpleNamespace(place="", node="")

    def begin(worker: WorkerHandle) -> None:
        starts.append(worker.number)
        worker.ready, worker.about, worker.wire = True, {}, nowhere

    def poll(members: list[ScoringWorker]) -> list[tuple[ScoringWorker, Any]]:
        busy = next(one for one in members if one.part)
        if busy.part and busy.part.one_by_one and not busy.step:
            return [(busy, {"next": "prompt p0"})]
        return [(busy, None)]

    monkeypatch.setattr(WorkerHandle, "begin", begin)
    monkeypatch.setattr(WorkerHandle, "reap", lambda self: CRASH)
    monkeypatch.setattr(WorkerHandle, "send", lambda self, **_: None)
    monkeypatch.setattr(Listener, "poll", lambda _, members: poll(members))
    config = ScoreConfig.model_validate({"annotators": [ARMORM]})
    unread = ScoreInputs(prompts=tmp_path, responses=tmp_path)
    scorers = WorkerPool(Placement(workers), config, unread, tmp_path)
    with pytest.raises(OnPolicyError, match=r"crashed .*CUDA error: device lost"):
        list(scorers.score({index: tmp_path / f"part-{index}" for index in range(100)}))
    assert len(starts) <= most
