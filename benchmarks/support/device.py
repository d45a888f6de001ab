"""The device that a benchmark runs on: its clock, its memory, the rate of its matrix products."""

import gc
import resource
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Device:
    """A device and the dtype of forward passes on it."""

    kind: str
    """`cpu` or `cuda`."""
    dtype: str
    """`float32` or `bfloat16`."""

    @property
    def on_gpu(self) -> bool:
        """Whether it is a GPU."""
        return self.kind == "cuda"

    @property
    def torch_dtype(self) -> "torch.dtype":
        """The dtype, as torch has it."""
        import torch

        found: torch.dtype = getattr(torch, self.dtype)
        return found

    def clock(self) -> float:
        """Seconds, once all that was asked of the device is done."""
        if self.on_gpu:
            import torch

            torch.cuda.synchronize()
        return time.perf_counter()

    def peak_mib(self) -> float:
        """The most memory that this process held: on a GPU that of its tensors, else resident."""
        if not self.on_gpu:
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        import torch

        return torch.cuda.max_memory_allocated() / (1 << 20)

    def held_mib(self) -> float:
        """What tensors on a GPU hold now; 0 on a CPU."""
        if not self.on_gpu:
            return 0.0
        import torch

        return torch.cuda.memory_allocated() / (1 << 20)

    def forget_peak(self) -> None:
        """Let a GPU's peak begin anew."""
        if self.on_gpu:
            import torch

            torch.cuda.reset_peak_memory_stats()

    def release(self) -> None:
        """Give what no tensor holds any more back to the GPU, for other processes."""
        if self.on_gpu:
            import torch

            gc.collect()
            torch.cuda.empty_cache()

    def matmul_rates(self, size: int, times: int) -> list[float]:
        """FLOP/s of `times` products of two squares, after one that is not timed.

        On a GPU, `size` is 8,192 at least: less does not fill one.
        """
        import torch

        size = max(size, 8192) if self.on_gpu else size
        matrix = torch.randn(size, size, device=self.kind, dtype=self.torch_dtype)
        matrix @ matrix
        rates = []
        for _ in range(times):
            started = self.clock()
            matrix @ matrix
            rates.append(2 * size**3 / (self.clock() - started))
        return rates

    @property
    def facts(self) -> dict[str, Any]:
        """What a figure is to be read with."""
        import torch

        facts: dict[str, Any] = {"device": self.kind, "dtype": self.dtype}
        facts["torch"] = torch.__version__
        if self.on_gpu:
            facts |= {"gpu": torch.cuda.get_device_name(), "cuda": torch.version.cuda}
        return facts
