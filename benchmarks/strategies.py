"""Which pairs, and which loss, teach the demo's policy most? Two rounds of each, on the real flow.

`python -m benchmarks.strategies [--seeds 3] [--only max_min,max_low_sigma] [--runs-dir runs]`: one
`onpolicy run configs/demo.yaml` a choice and seed, which differ in the pairs' or the loss's keys
alone (a finished one is not run again, and all of a seed share their first samples and scores).
Each prompt has 16 samples, since up to 5 `max_low_sigma` is `max_min`. What is printed: the true
reward, the reward model's, and the mean tokens of the held-out answers after the second round.

Nothing is to be reached: in a world of 0.4M parameters the differences say that each choice
works, not which one to take. The figure is the number of choices whose true reward rose over the
starting policy's at every seed.
"""

import argparse
import subprocess
import sys
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.support.outcome import report
from contracts.config.base import load_config
from flows.pipeline.config import RunConfig
from flows.report.run_data import finished_rounds

_CONFIG = Path("configs/demo.yaml")
_SMALL = (
    "sampling.n=16",
    "prompts.limit=160",
    "prompts.test_size=64",
    "evaluation.benchmarks=[]",
    "training.resources.strategy=none",
    "training.resources.processes=1",
)
_CHOICES: dict[str, tuple[str, ...]] = {
    "max_min": (),
    "max_low_sigma": ("pairs.strategy=max_low_sigma",),
    "max_random": ("pairs.strategy=max_random",),
    "max_second": ("pairs.strategy=max_second",),
    "length_penalty_auto": ("pairs.length_penalty=auto",),
    "max_length_difference": ("pairs.max_length_difference=4",),
    "alphapo": ("training.loss={kind: alphapo, beta: 10, gamma_beta_ratio: 0.5}",),
    "dpo_norm": ("training.loss={kind: dpo_norm, beta: 10}",),
    "ld-dpo": ("training.loss={kind: ld-dpo, beta: 0.1}",),
    "wpo": ("training.weighting=wpo",),
}


def main() -> None:
    """Run each choice at each seed and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default=",".join(_CHOICES), help="choices, with commas between")
    parser.add_argument("--runs-dir", type=Path, default=Path("runs"))
    arguments = parser.parse_args()
    outcomes: dict[str, list[dict[str, Any]]] = {name: [] for name in arguments.only.split(",")}
    for seed in range(1, arguments.seeds + 1):
        for name, own in outcomes.items():
            own.append(_outcome(name, seed, arguments.runs_dir))
            print(name, own[-1], flush=True)
    rose = sum(all(one["true"] > one["true_start"] for one in own) for own in outcomes.values())
    report(
        "strategies",
        rose,
        0,
        f"of {len(outcomes)} choices with a true reward above the start's at every seed; prints",
        seeds=arguments.seeds,
        means={
            name: {key: round(mean(one[key] for one in own), 4) for key in own[0] if key != "seed"}
            for name, own in outcomes.items()
        },
        runs=outcomes,
    )


def _outcome(name: str, seed: int, runs: Path) -> dict[str, Any]:
    """Make the run; its seed and figures."""
    command = [sys.executable, "-m", "flows.cli.app", "run", str(_CONFIG)]
    overrides = [f"name=strategies-{name}-{seed}", f"seed={seed}", f"runs_dir={runs}"]
    overrides += [*_SMALL, *_CHOICES[name]]
    subprocess.run([*command, *overrides], check=True, stdout=sys.stderr)
    config = load_config(RunConfig, _CONFIG, overrides)
    return {"seed": seed, **_figures(config.folder)}


def _figures(run: Path) -> dict[str, Any]:
    """Held-out figures after a run's last round, and where they began."""
    rounds = finished_rounds(run)
    first, last = rounds[0], rounds[-1]
    assert first.verdict and last.verdict and last.pairing
    true, learned = last.gains["truth"], last.gains["armorm"]
    return {
        "true_start": round(true.start, 4),
        "true": round(true.after, 4),
        "learned": round(learned.after, 4),
        "tokens_start": round(first.verdict.lengths.before, 2),
        "tokens": round(last.verdict.lengths.after, 2),
        "pairs": last.pairing.prompts,
        "pair_tokens_apart": round(
            last.pairing.chosen_tokens_mean - last.pairing.rejected_tokens_mean, 2
        ),
        "length_penalty": last.pairing.length_penalty,
    }


if __name__ == "__main__":
    main()
