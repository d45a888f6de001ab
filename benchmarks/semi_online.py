"""Do small rounds that carry the optimizer over learn more than large ones, at what cost?

`python -m benchmarks.semi_online [--seeds 3] [--first 1]`: 16 rounds of 24 prompts as one training
(`carry_optimizer`, one schedule) against 2 rounds of 192, each a training of its own, on the real
flow in the demo's world: the same 384 prompts in the same order, 96 optimizer steps of 8 pairs,
two evaluations. A seed counts where the last policy's true reward on held-out prompts is at least
as high as the large rounds' and small rounds took at most 1.5 times their wall time.

The sides take turns, each run from nothing in a folder of its own.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.support.outcome import report
from contracts.config.base import load_config
from contracts.steps.manifest import read_manifest
from flows.pipeline.config import RunConfig
from flows.report.run_data import finished_rounds

_CONFIG = Path("configs/demo.yaml")
_MOST_TIMES = 1.5
_ALIKE = (
    "prompts.limit=512",
    "training.global_batch=8",
    "training.resources.strategy=none",
    "training.resources.processes=1",
    "training.resources.checkpoint_every=0",
    "evaluation.benchmarks=[]",
)
_SIDES = {
    "large": ("rounds=2", "prompts_per_round=192"),
    "small": (
        "rounds=16",
        "prompts_per_round=24",
        "training.carry_optimizer=true",
        "training.schedule_rounds=16",
        "evaluation.every=8",
    ),
}


def main() -> None:
    """Run the seeds and print the outcome."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=1)
    arguments = parser.parse_args()
    found = {}
    for seed in range(arguments.first, arguments.first + arguments.seeds):
        found[seed] = {side: _run(side, seed) for side in _SIDES}
        print(f"seed {seed}: {found[seed]}", flush=True)
    times = [sides["small"]["seconds"] / sides["large"]["seconds"] for sides in found.values()]
    higher = [sides["small"]["truth"] >= sides["large"]["truth"] for sides in found.values()]
    ratio = statistics.median(times)
    report(
        "semi_online",
        sum(higher) if ratio <= _MOST_TIMES else 0,
        arguments.seeds,
        f"seeds of {arguments.seeds} where small rounds' true reward is at least as high",
        higher=sum(higher),
        times=round(ratio, 2),
        most_times=_MOST_TIMES,
        load=round(os.getloadavg()[0], 1),
        seeds=found,
    )


def _run(side: str, seed: int) -> dict[str, Any]:
    """Wall time and CPU time of one run, mean rewards of its last policy by annotator, pairs."""
    with tempfile.TemporaryDirectory() as folder:
        own = [f"name={side}", f"seed={seed}", f"runs_dir={folder}"]
        overrides = [*own, *_ALIKE, *_SIDES[side]]
        environment = {**os.environ, "PREFECT_HOME": f"{folder}/prefect", "PREFECT_API_URL": ""}
        started, before = time.monotonic(), os.times()
        subprocess.run(
            [sys.executable, "-m", "flows.cli.app", "run", str(_CONFIG), *overrides],
            check=True, env=environment, stdout=sys.stderr,
        )  # fmt: skip
        seconds, after = time.monotonic() - started, os.times()
        run = load_config(RunConfig, _CONFIG, overrides).folder
        last = finished_rounds(run)[-1]
        return {
            "seconds": round(seconds, 1),
            "cpu": round(_children(after) - _children(before), 1),
            **{name: round(gain.after, 4) for name, gain in last.gains.items()},
            **_trained(run),
        }


def _children(times: os.times_result) -> float:
    return times.children_user + times.children_system


def _trained(run: Path) -> dict[str, int]:
    """Pairs and optimizer steps of all rounds."""
    made = [read_manifest(path) for path in sorted(run.glob("round-*/policy"))]
    facts = [manifest.facts for manifest in made if manifest]
    return {name: sum(int(of[name]) for of in facts) for name in ("pairs", "steps")}


if __name__ == "__main__":
    main()
