"""What one step spends its time on, by torch's profiler."""

import sys
from typing import Any

from benchmarks.support.device import Device

_SHOWN = 25
_LARGEST = 3


class StepProfile:
    """Begun before a step and ended after it. On a GPU its kernels are told, else operators."""

    def __init__(self, device: Device) -> None:
        from torch.profiler import ProfilerActivity, profile

        self._device = device
        kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.on_gpu else [])]
        self._profiler = profile(activities=kinds)
        self._started = device.clock()
        self._profiler.start()

    def end(self) -> dict[str, Any]:
        """The largest costs with their share of the step's time, and the GPU's busy share; the
        table of all goes to standard error."""
        seconds = self._device.clock() - self._started
        self._profiler.stop()
        averages = self._profiler.key_averages()
        key = f"self_{'device' if self._device.on_gpu else 'cpu'}_time_total"
        table = averages.table(sort_by=key, row_limit=_SHOWN, max_name_column_width=60)
        print(table, file=sys.stderr, flush=True)
        of_device = [one for one in averages if not self._device.on_gpu or _is_kernel(one)]
        costs = sorted(((getattr(one, key) / 1e6, one.key) for one in of_device), reverse=True)
        found = {name[:80]: round(cost / seconds, 3) for cost, name in costs[:_LARGEST]}
        busy = sum(cost for cost, _ in costs) / seconds
        return {"largest_costs": found} | ({"busy": round(busy, 3)} if self._device.on_gpu else {})


def _is_kernel(event: Any) -> bool:
    return event.device_type.name == "CUDA" and not event.is_user_annotation
