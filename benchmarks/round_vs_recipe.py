"""`python -m benchmarks.round_vs_recipe`: our whole round against the published scripts' chain.

The published way (recipe, sections 1 to 3) is a chain of processes: five seeded passes of vLLM with
a load of the model each, one conversation at a time through the reward model, TRL's CPO trainer
over padded rows. Ours is `onpolicy run` on the same tiny models, prompts, seeds and number of
optimizer steps. Both must come to the same pairs, text for text. The figure is our wall time over
theirs, from the command's start until the policy is written; lower is better.

Ours evaluates too, which the scripts do not: it answers held-out prompts by the start before the
round, and compares after it. Neither is counted; both are told. TRL trains one process of float32,
and so do we.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.support.generation_demo import FOLDER
from benchmarks.support.options import positive
from benchmarks.support.outcome import report_at_most
from benchmarks.support.recipe_scripts import RecipeJob
from benchmarks.support.run_times import spans
from contracts.steps.manifest import read_manifest
from contracts.tables.parts import read_table

REACH = 0.33
_SEEDS = (13, 21, 42, 79, 100)
_MAX_TOKENS = 48
_BATCH, _EPOCHS = 16, 2
_RATE = 3e-4
Pairs = set[tuple[str, str, str]]
"""Prompt's id, chosen text, rejected text."""


@dataclass(frozen=True)
class Side:
    """What a round cost, and made."""

    seconds: float
    by_stage: dict[str, float]
    pairs: Pairs
    steps: int


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--prompts", type=positive, default=192)
    parser.add_argument("--passes", type=positive, default=1)
    return parser.parse_args(arguments)


def main() -> None:
    """Print the outcome."""
    asked = options()
    if read_manifest(FOLDER) is None:
        raise SystemExit("build the demo's models first: python -m demo.build")
    passes = []
    for number in range(asked.passes):
        with tempfile.TemporaryDirectory() as name:
            mine, theirs = _both(Path(name), asked.prompts)
        for who, side in (("ours", mine), ("recipe", theirs)):
            print(f"pass {number + 1}, {who}: {side.seconds:.1f} s, {side.by_stage}", flush=True)
        passes.append((mine, theirs))
    mine, theirs = passes[-1]
    report_at_most(
        "round_vs_recipe", median(a.seconds / b.seconds for a, b in passes), REACH,
        "our wall time of a round over the published scripts'",
        ours_seconds=[round(a.seconds, 1) for a, _ in passes],
        recipe_seconds=[round(b.seconds, 1) for _, b in passes],
        ours_by_stage=mine.by_stage, recipe_by_stage=theirs.by_stage,
        prompts=asked.prompts, samples=len(_SEEDS), pairs=len(mine.pairs), steps=mine.steps,
        load=round(os.getloadavg()[0], 1),
    )  # fmt: skip


def _both(folder: Path, prompts: int) -> tuple[Side, Side]:
    mine = _ours(folder, prompts)
    theirs = _recipe(folder / "recipe", folder / "round" / "round-1" / "prompts")
    if mine.pairs != theirs.pairs:
        apart = sorted(mine.pairs ^ theirs.pairs)
        raise SystemExit(f"the two sides' pairs differ in {len(apart)} rows, first {apart[0]}")
    if mine.steps != theirs.steps:
        raise SystemExit(f"{mine.steps} optimizer steps of ours, {theirs.steps} of theirs")
    return mine, theirs


def _ours(folder: Path, prompts: int) -> Side:
    """`onpolicy run`, as a user starts it, with a server of its own."""
    command = [
        sys.executable, "-m", "flows.cli.app", "run", "configs/demo.yaml", "name=round", "rounds=1",
        f"runs_dir={folder}", f"prompts.limit={prompts + 1}", "prompts.test_size=1",
        f"sampling.seeds={list(_SEEDS)}", f"sampling.max_tokens={_MAX_TOKENS}",
        "pairs.truncated=keep", f"training.global_batch={_BATCH}", f"training.epochs={_EPOCHS}",
        f"training.learning_rate={_RATE}", "training.resources.strategy=none",
        "training.resources.processes=1", "training.resources.checkpoint_every=0",
        "evaluation.benchmarks=[]", "evaluation.annotators=[]", "evaluation.sampling.n=1",
    ]  # fmt: skip
    environment = {**os.environ, "PREFECT_HOME": f"{folder}/prefect", "PREFECT_API_URL": ""}
    started = time.time()
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise SystemExit(ended.stdout + ended.stderr)
    return _side(folder / "round", started, time.time())


def _side(run: Path, started: float, ended: float) -> Side:
    """Without the start's answers to held-out prompts, and without what follows the policy."""
    steps = spans(run)
    before = sum(done - claimed for name, (claimed, done) in steps.items() if "round-0" in name)
    trained = steps["round-1/policy"][1]
    counted = {name: done - claimed for name, (claimed, done) in steps.items()
               if "round-0" not in name and done <= trained}  # fmt: skip
    seconds = trained - started - before
    start = min(claimed for claimed, _ in steps.values()) - started
    by_stage = {
        "before the first stage": start, **counted,
        "between stages": seconds - start - sum(counted.values()),
        "not counted: before": before, "not counted: after": ended - trained,
    }  # fmt: skip
    pairs = read_table(run / "round-1" / "pairs", ["prompt_id", "chosen", "rejected"]).to_pylist()
    manifest = read_manifest(run / "round-1" / "policy")
    assert manifest
    return Side(
        seconds, {name: round(value, 1) for name, value in by_stage.items()},
        {(row["prompt_id"], row["chosen"][-1]["content"], row["rejected"][-1]["content"])
         for row in pairs},
        manifest.facts["steps"],
    )  # fmt: skip


def _recipe(folder: Path, prompts: Path) -> Side:
    """The scripts, one after the other, on the prompts of our round."""
    folder.mkdir()
    rows = read_table(prompts, ["prompt_id", "messages"]).to_pylist()
    asked = {row["prompt_id"]: row["messages"] for row in rows}
    RecipeJob(asked, _MAX_TOKENS, batch=_BATCH, epochs=_EPOCHS, learning_rate=_RATE).write(folder)
    seconds = {f"decode, seed {seed}": _script("decode", folder, str(seed)) for seed in _SEEDS}
    seconds |= {name: _script(name, folder) for name in ("combine", "annotate", "train")}
    pairs = json.loads((folder / "pairs.json").read_text())
    return Side(
        sum(seconds.values()), {name: round(value, 1) for name, value in seconds.items()},
        {(pair["prompt_id"], pair["chosen"], pair["rejected"]) for pair in pairs},
        json.loads((folder / "trained.json").read_text())["steps"],
    )  # fmt: skip


def _script(name: str, folder: Path, *arguments: str) -> float:
    command = [sys.executable, "-m", "benchmarks.support.recipe_scripts", name, str(folder)]
    started = time.perf_counter()
    ended = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
    if ended.returncode:
        raise SystemExit(ended.stdout + ended.stderr)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
