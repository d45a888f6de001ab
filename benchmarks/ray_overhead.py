"""`python -m benchmarks.ray_overhead`: sampling through Ray against the local pool.

One vLLM worker each, with the same model, settings and requests, in turn; the other is idle
meanwhile. The figure is the median over the passes of the ratio of tokens/s. `by_cpu` is the same
for each CPU second of this process and all below it, Ray's own included: it holds on a machine that
has other work to do, too.
"""

import os
import shutil
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from benchmarks.support.generation_demo import demo_job
from benchmarks.support.outcome import report_passes
from benchmarks.support.ray_environment import set_ray_environment
from contracts.models.model import load_tokenizer
from generation.engines import Engine
from generation.engines.requests import Request
from generation.sample import open_engine
from generation.sampling.filling import Tally, fill
from generation.sampling.journal import Journals
from generation.sampling.tables import Writer
from generation.workers.placement import placement_for, warm_up
from runtime.cluster.config import RayCluster
from runtime.cluster.placement import RayPlacement
from runtime.cluster.seating import Request as Workers
from runtime.progress import Progress

_PASSES = 5
_PROMPTS = 512

Parts = dict[int, list[Request]]
Cost = tuple[float, float]
"""Tokens per second of wall time, and of CPU time."""


def main() -> None:
    """Print the outcome."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    set_ray_environment()
    job, parts = demo_job(_PROMPTS, n=4, max_tokens=64)
    import ray

    # A core for Ray and this process, beside that of the worker.
    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    engine = job.config.engine
    places = {
        "local": placement_for(engine),
        "ray": RayPlacement(RayCluster(), Workers(1, 0, 1)),
    }
    for placement in places.values():
        warm_up(placement, engine)
    pools = {name: open_engine(placement, job) for name, placement in places.items()}
    writer = Writer(load_tokenizer(job.policy), job.config.stop, "benchmark")
    rates = [_one_pass(pools, parts, writer, number) for number in range(_PASSES + 1)]
    for pool in pools.values():
        pool.close()
    _report(rates[1:], sum(map(len, parts.values())))  # the first pass warms up


def _report(rates: list[dict[str, Cost]], requests: int) -> None:
    by_wall, by_cpu = ([one["ray"][kind] / one["local"][kind] for one in rates] for kind in (0, 1))
    local, ray = (statistics.median(one[name][0] for one in rates) for name in ("local", "ray"))
    report_passes(
        "ray_overhead", by_wall, 0.95, "tokens/s through Ray over the local pool's",
        by_cpu=round(statistics.median(by_cpu), 3), requests=requests,
        local_tokens_per_second=round(local), ray_tokens_per_second=round(ray),
        load=round(os.getloadavg()[0], 1),
    )  # fmt: skip


def _one_pass(
    pools: dict[str, Engine], parts: Parts, writer: Writer, number: int
) -> dict[str, Cost]:
    """What each costs, in turn, another one first each time."""
    names = list(pools) if number % 2 else list(reversed(pools))
    rates = {name: _rate(partial(_sample, pools[name], parts, writer)) for name in names}
    shown = ", ".join(f"{name} {rates[name][0]:.0f} ({rates[name][1]:.0f})" for name in pools)
    print(f"pass {number}: {shown} tokens/s (a CPU second)", flush=True)
    return rates


def _sample(engine: Engine, parts: Parts, writer: Writer) -> int:
    """Journal, texts and parts included; the tokens drawn."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        tally, progress = Tally(0), Progress(sum(map(len, parts.values())), "samples")
        fill(parts.items(), engine, Journals(out), out, writer, tally, progress)
        return tally.tokens


def _rate(sample: "partial[int]") -> Cost:
    started, cpu = time.perf_counter(), _cpu_seconds()
    tokens = sample()
    return tokens / (time.perf_counter() - started), tokens / (_cpu_seconds() - cpu)


def _cpu_seconds() -> float:
    """Of this process and of all below it."""
    me = psutil.Process()
    times = [one.cpu_times() for one in [me, *me.children(recursive=True)]]
    return sum(one.user + one.system for one in times)


if __name__ == "__main__":
    main()
