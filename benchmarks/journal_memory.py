"""`python -m benchmarks.journal_memory`: does sampling's memory grow with the number of samples?

The stage itself (`generation.sample`) with an engine in front of it that answers at once with 400
random tokens, in a process of its own for each size: it is stopped halfway as by a kill, goes on,
and finishes. The figure is the peak of its memory at 100,000 samples over that at 10,000.
"""

import json
import resource
import subprocess
import sys
import tempfile
from collections import deque
from contextlib import suppress
from pathlib import Path
from random import Random

import pyarrow as pa

from benchmarks.support.generation_demo import FOLDER
from benchmarks.support.outcome import report_at_most
from contracts.steps.manifest import Manifest, Result, read_manifest, write_manifest
from contracts.steps.step import run_once
from contracts.tables.parts import write_part
from contracts.tables.schemas import PROMPTS
from generation import sample
from generation.config import SampleConfig
from generation.engines import Batch, Job
from generation.engines.requests import Sample
from generation.sources.conversation import prompt_id
from runtime.pool.placement import Places

_SIZES = (10_000, 100_000)
_TOKENS = 400
_SAMPLES = 5


class Killed(BaseException):
    """Stands for a kill."""


class Instant:
    """An engine whose answers are random tokens, some requests after each other."""

    batch = 1
    capacity = 512

    def __init__(self, job: Job, until: int) -> None:
        self._tokens = job.stop_ids[0] + 200
        self._left = until
        self._waiting: deque[Batch] = deque()

    def add(self, requests: Batch) -> None:
        """As `Engine.add`."""
        self._waiting.append(requests)

    def step(self) -> list[Sample]:
        """As `Engine.step`; raises `Killed` once so many samples were drawn."""
        if self._left <= 0:
            raise Killed
        done = [self._waiting.popleft()[0] for _ in range(min(64, len(self._waiting)))]
        self._left -= len(done)
        draws = [(one, Random(one.seed)) for one in done]
        return [
            Sample(one.response_id, random.choices(range(100, self._tokens), k=_TOKENS), "length")
            for one, random in draws
        ]

    def close(self) -> None:
        """As `Engine.close`."""


def main() -> None:
    """Print the outcome."""
    if len(sys.argv) > 1:
        return _measure(int(sys.argv[1]))
    if read_manifest(FOLDER) is None:
        raise SystemExit("build the demo's models first: python -m demo.build")
    peaks = {size: _peak(size) for size in _SIZES}
    small, large = (peaks[size] for size in _SIZES)
    report_at_most(
        "journal_memory",
        large / small,
        1.2,
        f"peak memory at {_SIZES[1]} samples of {_TOKENS} tokens over that at {_SIZES[0]}",
        mib={str(size): round(peak / 1024) for size, peak in peaks.items()},
    )


def _peak(size: int) -> int:
    """KiB."""
    command = [sys.executable, "-m", "benchmarks.journal_memory", str(size)]
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    print(ended.stdout.splitlines()[-1], flush=True)
    return int(json.loads(ended.stdout.splitlines()[-1])["kib"])


def _measure(size: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        prompts, out = Path(folder) / "prompts", Path(folder) / "responses"
        _write_prompts(prompts, size // _SAMPLES)
        engine = {"kind": "transformers", "batch_size": 1, "resources": {"data_parallel": 0}}
        config = SampleConfig.model_validate(
            {"n": _SAMPLES, "max_tokens": _TOKENS, "max_model_len": 512, "engine": engine}
        )
        inputs = sample.SampleInputs(prompts=prompts, policy=str(FOLDER / "policy"))
        with suppress(Killed):
            _run(config, inputs, out, size // 2)
        assert _run(config, inputs, out, size).rows == size
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"samples": size, "kib": peak}), flush=True)


def _run(config: SampleConfig, inputs: sample.SampleInputs, out: Path, until: int) -> Manifest:
    def instant(placement: Places, job: Job) -> Instant:
        return Instant(job, until)

    sample.open_engine = instant  # the one thing that is not the stage's own
    return run_once(sample.STAGE, config, inputs, out)


def _write_prompts(folder: Path, count: int) -> None:
    folder.mkdir()
    for part, first in enumerate(range(0, count, 1000)):
        rows = []
        for number in range(first, min(first + 1000, count)):
            messages = [{"role": "user", "content": f"name fish number {number}"}]
            rows.append(
                {"messages": messages, "source": "x", "split": "train",
                 "prompt_id": prompt_id(messages)}  # type: ignore[arg-type]
            )  # fmt: skip
        write_part(folder, part, pa.Table.from_pylist(rows, schema=PROMPTS), PROMPTS)
    write_manifest(folder, "benchmark", Result(count), Manifest.clock())


if __name__ == "__main__":
    main()
