"""`python -m benchmarks.generation_overhead`: our stage against bare `LLM.generate`.

Both use ONE engine, in turn, with the same ids, seeds and settings. Bare vLLM gets all
requests at once and gives token ids; the stage's time holds the stream, the journal, the
texts and the parts on disk. The figure is the median over the passes of the ratio of
tokens/s in wall time; `cpu` is the same of the process's CPU time. OpenMP gets one thread
unless the environment says otherwise: on a shared machine its barriers made passes of one
kind differ tenfold.
"""

import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.generation_demo import demo_job
from benchmarks.outcome import report
from contracts.model import load_tokenizer
from generation.config import VllmResources
from generation.engines import Job
from generation.engines.vllm import Vllm, engine_arguments, sampling_parameters
from generation.journal import Journal
from generation.requests import Request
from generation.sample import Writer, fill

_PASSES = 9
_PROMPTS = 256

Parts = dict[int, list[Request]]
Cost = tuple[float, float]
"""Tokens per second of wall time, and of CPU time."""


def main() -> None:
    """Print the outcome."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    job, parts = demo_job(_PROMPTS, n=4, max_tokens=64)
    llm = _start(job)
    engine = Vllm(llm.llm_engine, job)
    writer = Writer(load_tokenizer(job.policy), job.config.stop, "benchmark")
    parameters = sampling_parameters(job)
    pairs: list[tuple[Cost, Cost]] = []
    with tempfile.TemporaryDirectory() as folder:

        def bare() -> int:
            return _bare(llm, parts, parameters)

        def ours() -> int:
            out = Path(folder) / "out"
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir()
            return fill(parts, {}, engine, Journal(out), out, writer)

        for number in range(_PASSES + 1):
            sides = [bare, ours] if number % 2 else [ours, bare]
            costs = {side: _time(llm, side) for side in sides}
            pairs.append((costs[bare], costs[ours]))
            print(f"pass {number}: bare {costs[bare][0]:.0f}, ours {costs[ours][0]:.0f} tokens/s")
    _report(pairs[1:], sum(map(len, parts.values())))  # the first pass warms up


def _start(job: Job) -> Any:
    arguments = engine_arguments(job, VllmResources())
    from vllm import LLM

    return LLM(**arguments)


def _bare(llm: Any, parts: Parts, parameters: Callable[[int], Any]) -> int:
    requests = [request for part in parts.values() for request in part]
    outputs = llm.generate(
        [{"prompt_token_ids": request.prompt} for request in requests],
        [parameters(request.seed) for request in requests],
        use_tqdm=False,
    )
    return sum(len(output.outputs[0].token_ids) for output in outputs)


def _time(llm: Any, side: Callable[[], int]) -> Cost:
    llm.reset_prefix_cache()
    wall, cpu = time.perf_counter(), time.process_time()
    tokens = side()
    return tokens / (time.perf_counter() - wall), tokens / (time.process_time() - cpu)


def _report(pairs: Sequence[tuple[Cost, Cost]], requests: int) -> None:
    ratios, cpu = ([ours[i] / bare[i] for bare, ours in pairs] for i in (0, 1))
    report(
        "generation_overhead",
        statistics.median(ratios),
        0.95,
        "our tokens/s over bare LLM.generate's",
        requests=requests,
        passes=len(pairs),
        lowest=round(min(ratios), 3),
        highest=round(max(ratios), 3),
        cpu=round(statistics.median(cpu), 3),
        bare_tokens_per_second=round(statistics.median(bare[0] for bare, _ in pairs)),
        our_tokens_per_second=round(statistics.median(ours[0] for _, ours in pairs)),
    )


if __name__ == "__main__":
    main()
