"""Does the whole pipeline learn? The demo's held-out gains over five seeds, on the real flow.

`python -m benchmarks.demo_learns [--seeds 5] [--runs-dir runs]`: one `onpolicy run
configs/demo.yaml seed=S` a seed (a finished one is not run again); a seed counts where the last
round's gain over the starting policy has its whole 95 % interval above zero, in the learned and
in the true reward.
"""

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.support.outcome import report
from contracts.config.base import load_config
from flows.pipeline.config import RunConfig
from flows.report.run_data import finished_rounds

_CONFIG = Path("configs/demo.yaml")
_OF_FIVE = 4


def main() -> None:
    """Run the seeds and print the outcome."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--runs-dir", type=Path, default=Path("runs"))
    arguments = parser.parse_args()
    gains = {seed: _gains(seed, arguments.runs_dir) for seed in range(1, arguments.seeds + 1)}
    learned = sum(
        all(gain["verdict"] == "better" for gain in found.values()) for found in gains.values()
    )
    reach = _OF_FIVE * arguments.seeds // 5
    report("demo_learns", learned, reach, f"seeds of {arguments.seeds}", gains=gains)


def _gains(seed: int, runs: Path) -> dict[str, dict[str, Any]]:
    """Annotator to the gain over the start after the run's last round."""
    name = f"demo-learns-{seed}"
    command = [sys.executable, "-m", "flows.cli.app", "run", str(_CONFIG)]
    overrides = [f"name={name}", f"seed={seed}", f"runs_dir={runs}"]
    subprocess.run([*command, *overrides], check=True, stdout=sys.stderr)
    config = load_config(RunConfig, _CONFIG, overrides)
    last = finished_rounds(config.folder)[-1]
    return {
        annotator: {
            key: getattr(found.over_start, key)
            for key in ("verdict", "mean", "low", "high", "at_lowest")
        }
        for annotator, found in last.gains.items()
    }


if __name__ == "__main__":
    main()
