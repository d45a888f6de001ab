"""`python -m benchmarks.store_rate`: a step's push and pull against a plain copy by obstore.

1 GB of parts of 32 MB, random bytes, to a shared folder and back: `push` and `pull` as a run
calls them (each file checked by its fingerprint and on the disk before it has its name, one
manifest) beside the same files by `obstore.put` and `obstore.get`, as many at once. A bucket's
network is slower than any disk, so that what a store adds is dearest here; an address as the
argument measures there instead, e.g. `s3://bucket/prefix`. The clock stops when all is on the
disk; who goes first changes from pass to pass, and the figure is the lower of both ratios' medians
over six. `by_cpu` is the same by CPU time, which holds on a machine that has other work to do, too.
"""

import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
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
_PASSES = 6
_AT_ONCE = 8
_PLACE = "run/round-1/responses"

Cost = tuple[float, float]
"""Seconds by the clock, and of CPU time."""

Ways = dict[str, Callable[[], object]]


def main() -> None:
    """Print the outcome: the rate of push and pull over a plain copy's."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "store").mkdir()
        address = sys.argv[1] if sys.argv[1:] else f"file://{root}/store"
        step = _made(root / "step")
        passes = [_measure(address, step, root, number % 2) for number in range(_PASSES)]
    walls, cpus = ([{name: one[name][kind] for name in one} for one in passes] for kind in (0, 1))
    rates = _ratios(walls)
    seconds = {name: statistics.median(one[name] for one in walls) for name in walls[0]}
    report(
        "store_rate", min(rates.values()), 0.9, "rate of push and pull over a plain copy's",
        push=rates["push"], pull=rates["pull"], by_cpu=_ratios(cpus),
        megabytes=_PARTS * _PART_BYTES / 1e6,
        seconds={name: round(value, 2) for name, value in seconds.items()},
        passes=_PASSES, scheme=address.partition("://")[0], load=round(os.getloadavg()[0], 1),
    )  # fmt: skip


def _ratios(passes: Sequence[dict[str, float]]) -> dict[str, float]:
    ways = {"push": "plain_up", "pull": "plain_down"}
    return {
        ours: round(statistics.median(one[plain] / one[ours] for one in passes), 3)
        for ours, plain in ways.items()
    }


def _made(folder: Path) -> Path:
    folder.mkdir()
    for number in range(_PARTS):
        (folder / f"part-{number:05d}.parquet").write_bytes(os.urandom(_PART_BYTES))
    (folder / "_step.json").write_text(
        '{"stage": "benchmark", "version": 1, "identity": {}, "config": {}, "inputs": {}}'
    )
    write_manifest(folder, "benchmark", Result(rows=_PARTS), Manifest.clock())
    return folder


def _measure(address: str, step: Path, root: Path, turned: int) -> dict[str, Cost]:
    """What each way costs, once; a new process reads each file for its fingerprint.

    Args:
        turned: 1 has ours go before the plain copy, 0 after it.
    """
    store, objects = from_url(address), Objects(address)
    names = sorted(path.name for path in step.glob("part-*"))
    out = {name: root / name for name in ("plain", "pulled")}
    fingerprint._known.clear()
    up: Ways = {
        "plain_up": lambda: _plain_up(store, step, names),
        "push": lambda: push(objects, _PLACE, step),
    }
    down: Ways = {
        "plain_down": lambda: _plain_down(store, names, out["plain"]),
        "pull": lambda: _pull(objects, out["pulled"]),
    }
    in_turn = [way for ways in (up, down) for way in [*ways.items()][:: -1 if turned else 1]]
    took = {name: _timed(do) for name, do in in_turn}
    assert len(list(out["pulled"].glob("part-*"))) == _PARTS
    forget(objects, _PLACE)
    obstore.delete(store, [f"plain/{name}" for name in names])
    for folder in out.values():
        shutil.rmtree(folder)
    shown = (f"{name} {wall:.2f} s ({cpu:.2f} of CPU)" for name, (wall, cpu) in took.items())
    print(", ".join(shown), flush=True)
    return took


def _timed(work: Callable[[], object]) -> Cost:
    os.sync()
    start, cpu = time.perf_counter(), time.process_time()
    work()
    os.sync()  # what is still in memory belongs to whoever wrote it
    return time.perf_counter() - start, time.process_time() - cpu


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
