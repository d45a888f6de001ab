"""What this machine can compute with."""

import platform
from dataclasses import dataclass
from pathlib import Path

from runtime.device import visible_gpus

# What vLLM's CPU attention asks torch for before it takes an fp8 KV cache: either set is enough.
_FP8_CACHE = (
    frozenset({"avx512f", "avx512vl", "avx512bw", "avx512dq", "fma"}),
    frozenset({"amx_tile"}),
)


@dataclass(frozen=True)
class Device:
    """What a machine computes on."""

    gpus: bool
    """Whether it has GPUs that can be seen; else it samples on its CPU."""
    flags: frozenset[str] = frozenset()
    """The CPU's, as Linux names them; empty where it is no x86."""
    name: str = "this CPU"

    @property
    def holds_fp8_cache(self) -> bool:
        """Whether vLLM takes an fp8 KV cache here, as far as it can be known without asking it."""
        return self.gpus or any(needed <= self.flags for needed in _FP8_CACHE)


def this_device(cpuinfo: Path = Path("/proc/cpuinfo")) -> Device:
    """The machine that this process runs on, without importing torch."""
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    # The first core's come first.
    fields = {key.strip(): value for key, _, value in (line.partition(":") for line in lines[::-1])}
    return Device(
        gpus=bool(visible_gpus()),
        flags=frozenset(fields.get("flags", "").split()),
        name=fields.get("model name", platform.machine()).strip(),
    )
