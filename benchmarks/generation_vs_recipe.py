"""`python -m benchmarks.generation_vs_recipe`: the published way against our stage.

The published way (recipe, section 1) runs one process for each of five seeds, and each loads
the model, answers every prompt and writes a JSON file. Our stage answers the same prompts with
the same seeds in one run. Both are whole processes, from start to files on disk, with the same
vLLM settings. The figure is wall time over wall time; our stage runs first and last.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa

from benchmarks.support.generation_demo import FOLDER, demo_prompts
from benchmarks.support.outcome import report
from benchmarks.support.recipe_scripts import decode_pass
from contracts.steps.step import claim
from contracts.tables.parts import part_paths, read_table, write_part
from contracts.tables.schemas import PROMPTS
from generation.config import SampleConfig
from generation.sample import STAGE

_SEEDS = [13, 21, 42, 79, 100]
_PROMPTS = 512
_MAX_TOKENS = 64


def main() -> None:
    """Print the outcome, or do one pass of the published way."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--recipe-pass", type=int)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if arguments.recipe_pass is not None:
        seed = arguments.recipe_pass
        decode_pass(demo_prompts(_PROMPTS), seed, _MAX_TOKENS, arguments.out)
    with tempfile.TemporaryDirectory() as folder:
        _compare(Path(folder))


def _compare(folder: Path) -> None:
    prompts = _write_prompts(folder / "prompts")
    ours = [_our_stage(prompts, folder / "first")]
    recipe = [_recipe_process(seed, folder / f"output_{seed}.json") for seed in _SEEDS]
    ours.append(_our_stage(prompts, folder / "last"))
    same = [path.read_bytes() for path in part_paths(folder / "first")] == [
        path.read_bytes() for path in part_paths(folder / "last")
    ]
    report(
        "generation_vs_recipe",
        sum(recipe) / (sum(ours) / len(ours)),
        3.0,
        "wall time of the published way over ours",
        prompts=_PROMPTS,
        responses=read_table(folder / "first", ["sample"]).num_rows,
        recipe_seconds=[round(seconds, 1) for seconds in recipe],
        our_seconds=[round(seconds, 1) for seconds in ours],
        our_two_runs_are_identical=same,
        same_texts=_same_texts(folder),
    )


def _write_prompts(folder: Path) -> Path:
    folder.mkdir()
    rows = [
        {
            "prompt_id": prompt.prompt_id,
            "messages": prompt.messages,
            "source": "demo",
            "split": "train",
        }
        for prompt in demo_prompts(_PROMPTS)
    ]
    write_part(folder, 0, pa.Table.from_pylist(rows, schema=PROMPTS), PROMPTS)
    return folder


def _our_stage(prompts: Path, out: Path) -> float:
    config = SampleConfig(seeds=_SEEDS, max_tokens=_MAX_TOKENS, max_model_len=512)
    claim(STAGE, config, {"prompts": str(prompts), "policy": str(FOLDER / "policy")}, out)
    return _run("-m", "generation.sample", str(out / "_step.json"))


def _recipe_process(seed: int, out: Path) -> float:
    return _run("-m", "benchmarks.generation_vs_recipe", "--recipe-pass", str(seed), "--out", out)


def _run(*arguments: object) -> float:
    started = time.perf_counter()
    ended = subprocess.run(
        [sys.executable, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    if ended.returncode:
        raise SystemExit(ended.stdout + ended.stderr)
    seconds = time.perf_counter() - started
    print(" ".join(map(str, arguments[:2])), f"{seconds:.1f} s", flush=True)
    return seconds


def _same_texts(folder: Path) -> float:
    """Share of our texts that the published way gives too, seed by seed."""
    rows = read_table(folder / "first", ["prompt_id", "seed", "text"]).to_pylist()
    passes = {seed: json.loads((folder / f"output_{seed}.json").read_text()) for seed in _SEEDS}
    return sum(passes[row["seed"]][row["prompt_id"]] == row["text"] for row in rows) / len(rows)


if __name__ == "__main__":
    main()
