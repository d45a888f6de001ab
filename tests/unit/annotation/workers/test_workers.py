"""Where scoring runs."""

from typing import Any

import pytest

from annotation.config import ScoreConfig
from annotation.workers.placement import placement_for
from contracts.config.base import identity
from contracts.errors import UserError
from runtime import device
from runtime.pool.placement import Placement

ARMORM = {"kind": "armorm", "name": "a", "path": "some/model"}
JUDGE = {"kind": "judge", "name": "j", "model": "m", "api_key_env": None, "compare": "pointwise"}


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
