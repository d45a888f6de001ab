"""What a machine can compute with, told from its CPU's flags."""

from pathlib import Path

import pytest
import torch

from contracts.checks import faults
from contracts.errors import UserError
from generation import readiness
from generation.config import SampleConfig
from generation.engine_kinds.transformers import TransformersEngine
from generation.engine_kinds.vllm import VllmEngine
from generation.engines.device import Device, this_device

# As in /proc/cpuinfo of an AMD EPYC of Zen 3, of a Xeon with AMX, and of a Graviton.
ZEN3 = "fpu sse2 fma avx f16c rdrand bmi1 avx2 bmi2 sha_ni vaes"
SAPPHIRE = f"{ZEN3} avx512f avx512dq avx512bw avx512vl avx512_bf16 amx_bf16 amx_tile amx_int8"
FP8 = VllmEngine(kv_cache="fp8")


def cpu(flags: str) -> Device:
    return Device(gpus=False, flags=frozenset(flags.split()), name="AMD EPYC 7763")


def test_an_fp8_cache_is_refused_where_the_cpu_has_neither_avx512_nor_amx() -> None:
    message = r"sampling\.engine\.kv_cache 'fp8': .*AMD EPYC 7763 has neither; set `kv_cache: auto`"
    for flags in (ZEN3, "", f"{ZEN3} avx512f avx512vl"):
        with pytest.raises(UserError, match=message):
            FP8.refuse_unable(cpu(flags))


def test_what_this_cpu_cannot_do_is_told_before_the_first_stage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(readiness, "this_device", lambda: cpu(ZEN3))
    checks = readiness.sampling_checks({"sampling": SampleConfig(engine=FP8)}, "owner/name")
    (fault,) = faults(check for check in checks if check.key == "sampling.engine.kv_cache")
    assert fault.startswith("sampling.engine.kv_cache 'fp8': on a CPU vLLM needs AVX-512 or AMX")


@pytest.mark.parametrize("device", [cpu(SAPPHIRE), cpu("amx_tile"), Device(gpus=True)])
def test_an_fp8_cache_is_taken_where_the_device_can(device: Device) -> None:
    FP8.refuse_unable(device)


@pytest.mark.parametrize("engine", [VllmEngine(), TransformersEngine()])
def test_the_defaults_ask_nothing_of_the_cpu(engine: VllmEngine | TransformersEngine) -> None:
    engine.refuse_unable(cpu(""))


def test_flags_and_name_are_those_of_the_first_core(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    core = f"processor\t: {{}}\nmodel name\t: AMD EPYC 7763\nflags\t\t: {ZEN3}\n\n"
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(core.format(0) + core.format(1))
    assert this_device(cpuinfo) == cpu(ZEN3)
    assert this_device(tmp_path / "no-linux").flags == frozenset()


def test_flags_are_read_as_torch_reads_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    as_vllm_asks = torch.cpu._is_avx512_supported() or torch.cpu._is_amx_tile_supported()
    assert this_device().holds_fp8_cache == as_vllm_asks
