"""`python -m benchmarks.store_rate`: a step's push and pull against a plain copy by obstore.

1 GB of parts of 32 MB, random bytes, to a shared folder and back: `push` and `pull` as a run
calls them (each file checked by its fingerprint and on the disk before it has its name, one
manifest) beside the same files by `obstore.put` and `obstore.get`, as many at once. A bucket's
network is slower than any disk, so that what a store adds is dearest here; an address as the
argument measures there instead, e.g. `s3://bucket/prefix`. The clock stops when all is on the
disk; passes alternate, and the figure is the lower of both ratios' medians over five.
"""

import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import obstore
from obstore.store import ObjectStore, from_url

from benchmarks.support.outcome import report
from contracts.steps import fingerprint
from contracts.steps.manifest import Manifest, Result, write_manifest
from runtime.store.finished import forget, pull, push, read_finished
from runtime.store.objects import Objects

_PARTS, _PART_BYTES = 32, 32_000_000
_PASSES = 5
_AT_ONCE = 8
_PLACE = "run/round-1/responses"


def main() -> None:
    """Print the outcome: the rate of push and pull over a plain copy's."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "store").mkdir()
        address = sys.argv[1] if sys.argv[1:] else f"file://{root}/store"
        step = _made(root / "step")
        passes = [_measure(address, step, root) for _ in range(_PASSES)]
    push_ratio = statistics.median(one["plain_up"] / one["push"] for one in passes)
    pull_ratio = statistics.median(one["plain_down"] / one["pull"] for one in passes)
    seconds = {name: statistics.median(one[name] for one in passes) for name in passes[0]}
    report(
        "store_rate",
        min(push_ratio, pull_ratio),
        0.9,
        "rate of push and pull over a plain copy's",
        push=round(push_ratio, 3),
        pull=round(pull_ratio, 3),
        megabytes=_PARTS * _PART_BYTES / 1e6,
        seconds={name: round(value, 2) for name, value in seconds.items()},
        passes=_PASSES,
        scheme=address.partition("://")[0],
    )


def _made(folder: Path) -> Path:
    folder.mkdir()
    for number in range(_PARTS):
        (folder / f"part-{number:05d}.parquet").write_bytes(os.urandom(_PART_BYTES))
    (folder / "_step.json").write_text(
        '{"stage": "benchmark", "version": 1, "identity": {}, "config": {}, "inputs": {}}'
    )
    write_manifest(folder, "benchmark", Result(rows=_PARTS), Manifest.clock())
    return folder


def _measure(address: str, step: Path, root: Path) -> dict[str, float]:
    """Seconds of each way, once; a new process reads each file for its fingerprint."""
    store, objects = from_url(address), Objects(address)
    names = sorted(path.name for path in step.glob("part-*"))
    out = {name: root / name for name in ("plain", "pulled")}
    fingerprint._known.clear()
    took = {
        "plain_up": _timed(lambda: _plain_up(store, step, names)),
        "push": _timed(lambda: push(objects, _PLACE, step)),
        "plain_down": _timed(lambda: _plain_down(store, names, out["plain"])),
        "pull": _timed(lambda: _pull(objects, out["pulled"])),
    }
    assert len(list(out["pulled"].glob("part-*"))) == _PARTS
    forget(objects, _PLACE)
    obstore.delete(store, [f"plain/{name}" for name in names])
    for folder in out.values():
        shutil.rmtree(folder)
    print({name: round(value, 2) for name, value in took.items()}, flush=True)
    return took


def _timed(work: Callable[[], object]) -> float:
    os.sync()
    start = time.perf_counter()
    work()
    os.sync()  # what is still in memory belongs to whoever wrote it
    return time.perf_counter() - start


def _plain_up(store: ObjectStore, step: Path, names: list[str]) -> None:
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(lambda name: obstore.put(store, f"plain/{name}", step / name), names))


def _plain_down(store: ObjectStore, names: list[str], out: Path) -> None:
    out.mkdir()

    def get(name: str) -> None:
        with (out / name).open("wb") as file:
            for chunk in obstore.get(store, f"plain/{name}").stream():
                file.write(chunk)

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(get, names))


def _pull(objects: Objects, out: Path) -> None:
    done = read_finished(objects, _PLACE)
    assert done is not None
    pull(objects, _PLACE, done, out)


if __name__ == "__main__":
    main()
