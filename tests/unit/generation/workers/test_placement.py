"""Which workers run where, and failures on disk."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from contracts.config.base import identity
from contracts.errors import UserError
from generation.config import SampleConfig
from generation.engine_kinds.transformers import TransformersEngine
from generation.engine_kinds.vllm import VllmEngine
from generation.engines.device import this_device
from generation.engines.requests import Failure, Request
from generation.sampling.tables import ERRORS_NAME, write_errors
from generation.workers.placement import placement_for
from runtime import device
from runtime.pool.placement import Placement


def vllm(**resources: int) -> VllmEngine:
    return VllmEngine.model_validate({"resources": resources})


@pytest.mark.parametrize(
    ("visible", "resources", "groups"),
    [
        ("0,1,2,3", {}, (("0",), ("1",), ("2",), ("3",))),
        ("4,5,6,7", {"tensor_parallel": 2}, (("4", "5"), ("6", "7"))),
        ("0,1,2,3", {"data_parallel": 1, "tensor_parallel": 2}, (("0", "1"),)),
        ("GPU-a,GPU-b", {"data_parallel": 2}, (("GPU-a",), ("GPU-b",))),
        ("", {}, ()),
        ("-1", {"data_parallel": 3}, ()),
    ],
)
def test_each_worker_has_gpus_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
    visible: str,
    resources: dict[str, int],
    groups: tuple[tuple[str, ...], ...],
) -> None:
    monkeypatch.setattr(device, "torch_build", lambda: "cuda")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    placement = placement_for(vllm(**resources))
    assert placement.gpus == groups
    assert placement.workers == (len(groups) or resources.get("data_parallel", 1))
    for number, group in enumerate(groups):
        assert placement.environment(number) == {"CUDA_VISIBLE_DEVICES": ",".join(group)}


def test_more_workers_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "torch_build", lambda: "cuda")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    with pytest.raises(UserError, match="needs 4 GPUs, and 3 can be seen"):
        placement_for(vllm(data_parallel=2, tensor_parallel=2))


def test_a_torch_for_the_cpu_gets_no_gpu_whatever_the_driver_shows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(device, "torch_build", lambda: "")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert placement_for(vllm(data_parallel=3)) == Placement(3)
    assert not this_device().gpus


def test_workers_on_the_cpu_share_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    assert placement_for(vllm(data_parallel=4)).environment(0)["OMP_NUM_THREADS"] == "2"
    assert placement_for(vllm()).environment(0) == {}
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert "OMP_NUM_THREADS" not in placement_for(vllm(data_parallel=4)).environment(0)


def test_how_many_workers_there_are_is_outside_the_steps_identity() -> None:
    one = SampleConfig(engine=TransformersEngine())
    keys = {"kind": "transformers", "resources": {"data_parallel": 8, "max_error_share": 0.5}}
    assert identity(one) == identity(SampleConfig.model_validate({"engine": keys}))


def test_failures_end_in_their_table_and_a_run_without_any_leaves_none(tmp_path: Path) -> None:
    failure = Failure("p-1", "IndexError: out of range")
    assert write_errors(tmp_path, [(Request("p", 1, 7, [1]), failure)]) == 1
    assert pq.read_table(tmp_path / ERRORS_NAME).to_pylist() == [
        {
            "prompt_id": "p",
            "response_id": "p-1",
            "sample": 1,
            "seed": 7,
            "error": "IndexError: out of range",
        }
    ]
    assert write_errors(tmp_path, []) == 0
    assert not (tmp_path / ERRORS_NAME).exists()
