"""Where scoring runs."""

from collections import deque
from pathlib import Path
from typing import Any

import pytest

from annotation.config import ScoreConfig
from annotation.scoring.inputs import ScoreInputs
from annotation.workers.placement import placement_for
from annotation.workers.pool import Part, WorkerPool
from contracts.config.base import identity
from contracts.errors import UserError
from runtime import device
from runtime.pool.placement import Placement
from runtime.pool.worker import WorkerHandle

ARMORM = {"kind": "armorm", "name": "a", "path": "some/model"}
JUDGE = {"kind": "judge", "name": "j", "model": "m", "compare": "pointwise",
         "resources": {"api_key_env": None}}  # fmt: skip


def config_of(annotator: dict[str, Any], **resources: Any) -> ScoreConfig:
    return ScoreConfig.model_validate({"annotators": [annotator], "resources": resources})


@pytest.mark.parametrize(
    ("visible", "annotator", "resources", "placement"),
    [
        ("", ARMORM, {}, Placement(0)),
        ("", ARMORM, {"workers": 3}, Placement(3)),
        ("0,1", ARMORM, {}, Placement(2, (("0",), ("1",)))),
        ("4,5", ARMORM, {"workers": 1}, Placement(1, (("4",),))),
        ("0,1", ARMORM, {"workers": 0}, Placement(0)),
        ("0,1", ARMORM, {"device": "cpu"}, Placement(0)),
        ("0,1", ARMORM, {"device": "cuda:1"}, Placement(0)),
        ("0,1", JUDGE, {}, Placement(0)),
        ("0,1", JUDGE, {"workers": 4}, Placement(4)),
    ],
)
def test_there_is_a_worker_for_each_gpu_that_a_model_can_use(
    monkeypatch: pytest.MonkeyPatch,
    visible: str,
    annotator: dict[str, Any],
    resources: dict[str, Any],
    placement: Placement,
) -> None:
    monkeypatch.setattr(device, "torch_build", lambda: "cuda")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert placement_for(config_of(annotator, **resources)) == placement


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        ({"workers": 3}, r"workers 3 needs 3 GPUs, and 2 can be seen"),
        ({"workers": 2, "device": "cuda:1"}, r"'cuda:1' names one GPU .* set `device: cuda`"),
    ],
)
def test_workers_without_a_gpu_of_their_own_are_refused(
    monkeypatch: pytest.MonkeyPatch, resources: dict[str, Any], message: str
) -> None:
    monkeypatch.setattr(device, "torch_build", lambda: "cuda")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with pytest.raises(UserError, match=message):
        placement_for(config_of(ARMORM, **resources))


def test_how_many_workers_score_is_outside_the_steps_identity() -> None:
    assert identity(config_of(ARMORM)) == identity(config_of(ARMORM, workers=8, hang_timeout=None))


def test_room_that_comes_while_workers_load_is_used_once_parts_wait_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Growing(Placement):
        def joined(self) -> int:
            return 6 - pool._begun

    def begin(worker: WorkerHandle) -> None:
        worker.ready, worker.about = True, {}

    monkeypatch.setattr(WorkerHandle, "begin", begin)
    unread = ScoreInputs(prompts=tmp_path, responses=tmp_path)
    pool = WorkerPool(Growing(2), config_of(ARMORM), unread, tmp_path)
    pool._begin(2)
    begun = []
    for parts in (1, 2, 3, 9):
        pool._waiting = deque(Part(number, tmp_path) for number in range(parts))
        pool._begin(min(pool._placement.joined(), pool._unattended))
        begun.append(pool._begun)
    assert begun == [2, 2, 3, 6]
