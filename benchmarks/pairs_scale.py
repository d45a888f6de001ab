"""`python -m benchmarks.pairs_scale`: the pairs stage at 10^5, 10^6 and 10^7 responses.

Each size is a folder of real tables, 5 responses a prompt, made before the clock starts; the
stage runs on it in a process of its own, as the flow runs it. The rate is responses a second
of the stage (reading, selecting, writing, fsync; not Python's imports), the best of five
runs; the memory is the process's peak resident set, imports included, the worst of five. The
largest size needs 3 GB of disk.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.support.outcome import report
from contracts.steps.manifest import Manifest, Result, write_manifest
from contracts.tables.parts import write_part
from contracts.tables.schemas import MESSAGES, PROMPTS, RESPONSES, SCORES

_SIZES = (10**5, 10**6, 10**7)
_SAMPLES = 5
_RUNS = 5
_PROMPTS_PER_PART = 4_000
_CHARACTERS = 160
_TABLES = ("prompts", "responses", "scores")

# Any use of pyarrow imports pandas, 0.4 s, wherever it is first used: before the clock starts.
_STEP = """
import sys, time
from pathlib import Path
import pyarrow
from annotation import pairs
from annotation.config import PairsConfig
pyarrow.scalar(0)
root = Path(sys.argv[1])
inputs = pairs.PairsInputs(**{name: root / name for name in ("prompts", "responses", "scores")})
(root / "pairs").mkdir()
wall, cpu = time.perf_counter(), time.process_time()
result = pairs.run(PairsConfig(), inputs, root / "pairs")
wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
# not ru_maxrss: that counts the parent's memory, from before this program was loaded
status = Path("/proc/self/status").read_text()
print(result.rows, wall, cpu, status.partition("VmHWM:")[2].split()[0])
"""


def main() -> None:
    """Print the outcome: the rate at 10^6 beside its reach, and how the peak memory grows."""
    sizes = [int(float(size)) for size in sys.argv[1:]] or _SIZES
    found = {size: _measure(size) for size in sizes}
    peaks = [measured["peak_mb"] for measured in found.values()]
    growth = max(peaks) / min(peaks)
    slowest = min(measured["responses_per_second"] for measured in found.values())
    report(
        "pairs_scale",
        slowest,
        1e6,
        "responses/s, at the slowest size",
        memory_growth=round(growth, 3),
        memory_growth_below=1.2,
        memory_holds=growth < 1.2,
        sizes={f"{size:.0e}": measured for size, measured in found.items()},
        text_characters=_CHARACTERS,
        responses_per_part=_PROMPTS_PER_PART * _SAMPLES,
    )


def _measure(size: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        _make(root, size)
        runs = []
        for _ in range(_RUNS):
            output = subprocess.check_output(
                [sys.executable, "-c", _STEP, str(root)], text=True
            ).splitlines()[-1]
            runs.append([float(value) for value in output.split()])
            shutil.rmtree(root / "pairs")
    _, seconds, cpu, _ = min(runs, key=lambda run: run[1])
    measured = {
        "responses_per_second": round(size / seconds),
        "per_cpu_second": round(size / cpu),
        "peak_mb": round(max(run[3] for run in runs) / 1024, 1),
    }
    print(f"{size} responses: {measured}")
    return measured


def _make(root: Path, size: int) -> None:
    """Tables of `size` responses, fixed by the size."""
    random = np.random.default_rng(0)
    words = _words(random)
    per_part = _PROMPTS_PER_PART * _SAMPLES
    for name in _TABLES:
        (root / name).mkdir()
    for part, start in enumerate(range(0, size, per_part)):
        count = min(per_part, size - start)
        _make_part(root, part, count // _SAMPLES, words, random)
    for name in _TABLES:
        write_manifest(root / name, "benchmark", Result(rows=size), Manifest.clock())


def _make_part(
    root: Path, part: int, prompts: int, words: bytes, random: np.random.Generator
) -> None:
    count = prompts * _SAMPLES
    prompt_id = _ids(prompts, random)
    of_prompt = prompt_id.take(pa.array(np.repeat(np.arange(prompts), _SAMPLES)))
    sample = np.tile(np.arange(_SAMPLES, dtype=np.int32), prompts)
    response_id = pc.binary_join_element_wise(of_prompt, pa.array(sample).cast(pa.string()), "-")
    questions = pa.StructArray.from_arrays(
        [pa.array(["user"] * prompts), _texts(prompts, words, random)],
        fields=list(MESSAGES.value_type),
    )
    offsets = pa.array(np.arange(prompts + 1, dtype=np.int32))
    tables = {
        "prompts": {
            "prompt_id": prompt_id,
            "messages": pa.ListArray.from_arrays(offsets, questions, type=MESSAGES),
            "source": pa.array(["benchmark"] * prompts),
            "split": pa.array(["train"] * prompts),
        },
        "responses": {
            "prompt_id": of_prompt,
            "response_id": response_id,
            "sample": sample,
            "seed": sample.astype(np.int64),
            "text": _texts(count, words, random),
            "token_ids": pa.array([[]] * count, RESPONSES.field("token_ids").type),
            "finish_reason": pa.array(np.where(random.random(count) < 0.05, "length", "stop")),
            "n_tokens": random.integers(10, 400, count, dtype=np.int32),
            "logprob": pa.nulls(count, pa.float32()),
            "policy": pa.array(["benchmark"] * count),
        },
        "scores": {
            "response_id": response_id,
            "prompt_id": of_prompt,
            "annotator": pa.array(["armorm"] * count),
            "score": random.normal(size=count),
            **{name: pa.nulls(count, SCORES.field(name).type) for name in SCORES.names[4:]},
        },
    }
    for name, schema in zip(_TABLES, (PROMPTS, RESPONSES, SCORES), strict=True):
        write_part(root / name, part, pa.table(tables[name]), schema)


def _words(random: np.random.Generator) -> bytes:
    letters = np.frombuffer(b"etaoinshrdlu   ", np.uint8)
    return random.choice(letters, 1 << 25).tobytes()


def _texts(count: int, words: bytes, random: np.random.Generator) -> pa.StringArray:
    lengths = random.integers(_CHARACTERS // 2, 3 * _CHARACTERS // 2, count)
    offsets = random.integers(0, 1 << 22) + np.concatenate([[0], np.cumsum(lengths)])
    buffers = [None, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(words)]
    return pa.StringArray.from_buffers(count, buffers[1], buffers[2])


def _ids(count: int, random: np.random.Generator) -> pa.StringArray:
    text = random.bytes(count * 8).hex().encode()
    offsets = np.arange(0, 16 * count + 1, 16, dtype=np.int32)
    return pa.StringArray.from_buffers(count, pa.py_buffer(offsets), pa.py_buffer(text))


if __name__ == "__main__":
    main()
