"""vLLM."""

from importlib.util import find_spec
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from contracts.errors import UserError
from generation.engine_kinds.base import EngineResources, EngineVariant

if TYPE_CHECKING:
    from generation.engines import Engine, Job
    from generation.engines.device import Device


class VllmResources(EngineResources):
    """How vLLM uses the machine."""

    gpu_memory_utilization: float = Field(0.9, gt=0, le=1)
    """Share of a GPU's memory for weights and KV cache."""
    tensor_parallel: int = Field(1, ge=1)
    """GPUs that share one copy of the model."""
    max_num_seqs: int | None = Field(None, ge=1)
    """Samples decoded at once; null is 128 on the CPU and 256 on a GPU."""
    max_num_batched_tokens: int | None = Field(None, ge=1)
    """Tokens in one engine step; null leaves it to vLLM, or is the context on the CPU."""
    cpu_kv_gib: float | None = Field(None, gt=0)
    """GiB of KV cache on the CPU; null is what `max_num_seqs` samples need, at most 4."""
    enforce_eager: bool | None = None
    """No graphs and no compiling; null is true on the CPU only (they cost its start dear)."""

    def at_once(self, on_cpu: bool) -> int:
        """Samples decoded at once, at most."""
        return self.max_num_seqs or (128 if on_cpu else 256)


class VllmEngine(EngineVariant):
    """vLLM, on GPUs or the CPU."""

    preloads: ClassVar[str] = "generation.engines.preload"
    kind: Literal["vllm"] = "vllm"
    kv_cache: Literal["auto", "fp8", "fp8_e5m2", "fp8_e4m3"] = "auto"
    """Type of the KV cache; fp8 holds twice the tokens and moves the samples a little, so it is
    in the step's identity. auto is the model's own."""
    resources: VllmResources = VllmResources()

    def build(self, job: "Job") -> "Engine":
        """vLLM with the policy."""
        from generation.engines import vllm

        return vllm.start(job, self)

    @property
    def gpus_each(self) -> int:
        """GPUs that share one copy of the model."""
        return self.resources.tensor_parallel

    def refuse_not_installed(self) -> None:
        """vLLM itself."""
        if not find_spec("vllm"):
            raise UserError("vLLM is not installed: install requirements/cpu.txt or gpu.txt, or "
                            "set engine.kind to transformers")  # fmt: skip

    def refuse_unable(self, device: "Device") -> None:
        """An fp8 cache where there is none."""
        if self.kv_cache == "auto" or device.holds_fp8_cache:
            return
        raise UserError(
            f"sampling.engine.kv_cache {self.kv_cache!r}: on a CPU vLLM needs AVX-512 or AMX for "
            f"an fp8 cache, and {device.name} has neither; set `kv_cache: auto`, or sample on a GPU"
        )

    def set_environment(self, on_cpu: bool) -> None:
        """Set the switches that vLLM reads as it is imported, on the CPU."""
        from generation.engines.vllm_environment import set_vllm_environment

        if on_cpu:
            set_vllm_environment(True, self.resources.enforce_eager in (None, True))
