"""`python -m benchmarks.generation_overhead`: our stage against bare `LLM.generate`.

Both answer the same ids with the same seeds and settings, in turn: bare vLLM in this process,
all requests at once, giving token ids; our stage with its engine in a worker process, as it
runs by default, with the journal, the texts and the parts on disk. The figure is the median
over the passes of the ratio of tokens/s. `in_process` is the same with our stage around bare
vLLM's own engine (`data_parallel: 0`), by wall time and by CPU time. OpenMP gets one thread
unless the environment says otherwise: on a shared machine its barriers made passes of one
kind differ tenfold.

On a GPU `--device cuda --dtype bfloat16 --shape gemma-2-2b`: a policy of random weights, so that
answers go on to their last token. Bare vLLM and our worker each hold a part of the GPU.
"""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.support.device import Device
from benchmarks.support.generation_demo import FOLDER, demo_job, write_policy
from benchmarks.support.options import TINY, Options, device_of
from benchmarks.support.outcome import report_passes
from benchmarks.support.shapes import PUBLISHED
from contracts.models.model import load_tokenizer
from generation.engine_kinds.vllm import VllmEngine, VllmResources
from generation.engines import Job
from generation.engines.requests import Request
from generation.engines.vllm import Vllm, engine_arguments, sampling_parameters
from generation.sample import open_engine
from generation.sampling.filling import Tally, fill
from generation.sampling.journal import Journals
from generation.sampling.tables import Writer
from generation.workers.placement import placement_for, warm_up
from runtime.progress import Progress

REACH = {"cpu": 0.95, "cuda": 0.98}
# Of a GPU's memory, for each of the two engines.
_SHARE = 0.42

Parts = dict[int, list[Request]]
Cost = tuple[float, float]
"""Tokens per second of wall time, and of CPU time."""


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """What the command line asks for; one pass more warms up."""
    parser = Options(__doc__)
    parser.add_counts(prompts=512, passes=11)
    return parser.parse_args(arguments)


def main() -> None:
    """Print the outcome."""
    asked = options()
    if "OMP_NUM_THREADS" not in os.environ:
        # OpenMP reads it as torch is loaded, which this module's imports have done by now.
        os.environ["OMP_NUM_THREADS"] = "1"
        if asked.device == "cpu":
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        command = [sys.executable, "-m", "benchmarks.generation_overhead", *sys.argv[1:]]
        os.execv(sys.executable, command)  # noqa: S606
    device = device_of(asked)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _compare(asked, device, folder, _policy(asked, device, folder / "policy"))


def _policy(asked: argparse.Namespace, device: Device, folder: Path) -> Path:
    """The demo's, or one of the shape asked for, made in `folder`."""
    if asked.shape == TINY:
        return FOLDER / "policy"
    write_policy(folder, PUBLISHED[asked.shape], device)
    return folder


def _compare(asked: argparse.Namespace, device: Device, folder: Path, policy: Path) -> None:
    share = {"gpu_memory_utilization": _SHARE} if device.on_gpu else {}
    engine = VllmEngine(resources=VllmResources(**share))
    job, parts = demo_job(
        asked.prompts, policy, n=4, max_tokens=64, dtype=device.dtype, engine=engine
    )
    placement = placement_for(job.config.engine)
    warm_up(placement, job.config.engine)
    llm = start_llm(job)
    writer = Writer(load_tokenizer(job.policy), job.config.stop, "benchmark")
    parameters = sampling_parameters(job)
    pool = open_engine(placement, job)
    ours = {"worker": pool, "in_process": Vllm(llm.llm_engine, job)}

    def stage(name: str) -> int:
        out = folder / "out"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        tally, progress = Tally(0), Progress(sum(map(len, parts.values())), "samples")
        fill(parts.items(), ours[name], Journals(out), out, writer, tally, progress)
        return tally.tokens

    sides: dict[str, Callable[[], int]] = {
        "bare": lambda: bare(llm, parts, parameters),
        **{name: partial(stage, name) for name in ours},
    }
    passes = [one_pass(llm, sides, number) for number in range(asked.passes + 1)]
    pool.close()
    requests = sum(map(len, parts.values()))
    _report(passes[1:], requests, REACH[device.kind], shape=asked.shape, **device.facts)


def one_pass(llm: Any, sides: dict[str, Callable[[], int]], number: int) -> dict[str, Cost]:
    """What each side costs, run in turn, another one first each time."""
    turn = number % len(sides)
    names = [*list(sides)[turn:], *list(sides)[:turn]]
    costs = {name: _time(llm, sides[name]) for name in names}
    shown = ", ".join(f"{name} {costs[name][0]:.0f}" for name in sides)
    print(f"pass {number}: {shown} tokens/s", flush=True)
    return costs


def start_llm(job: Job) -> Any:
    """Bare vLLM with the stage's own arguments."""
    assert isinstance(job.config.engine, VllmEngine)
    arguments = engine_arguments(job, job.config.engine)
    from vllm import LLM

    return LLM(**arguments)


def bare(llm: Any, parts: Parts, parameters: Callable[[Request], Any]) -> int:
    """Answer all requests at once; the tokens drawn."""
    requests = [request for part in parts.values() for request in part]
    outputs = llm.generate(
        [{"prompt_token_ids": request.prompt} for request in requests],
        [parameters(request) for request in requests],
        use_tqdm=False,
    )
    return sum(len(output.outputs[0].token_ids) for output in outputs)


def _time(llm: Any, side: Callable[[], int]) -> Cost:
    llm.reset_prefix_cache()
    wall, cpu = time.perf_counter(), time.process_time()
    tokens = side()
    return tokens / (time.perf_counter() - wall), tokens / (time.process_time() - cpu)


def _report(passes: Sequence[dict[str, Cost]], requests: int, reach: float, **detail: Any) -> None:
    def ratios(name: str, cost: int = 0) -> list[float]:
        return [one[name][cost] / one["bare"][cost] for one in passes]

    report_passes(
        "generation_overhead",
        ratios("worker"),
        reach,
        "our tokens/s over bare LLM.generate's",
        requests=requests,
        in_process=round(statistics.median(ratios("in_process")), 3),
        in_process_cpu=round(statistics.median(ratios("in_process", 1)), 3),
        bare_tokens_per_second=round(statistics.median(one["bare"][0] for one in passes)),
        our_tokens_per_second=round(statistics.median(one["worker"][0] for one in passes)),
        **detail,
    )


if __name__ == "__main__":
    main()
