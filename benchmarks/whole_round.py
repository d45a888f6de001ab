"""A whole round on this machine: seconds by stage, and how busy the GPU was meanwhile.

`python -m benchmarks.whole_round [--prompts 192]` is a round of the demo; on a GPU `--device cuda
--dtype bfloat16 --shape gemma-2-2b` one with a policy of that shape and random weights. Stages are
those of `onpolicy run`, each a process as there, one after the other without Prefect, which need
not be installed. vLLM samples where it is installed, else transformers. The figure is the share of
the stages' time in which the GPU ran a kernel; none is asked for yet.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from benchmarks.support.device import Device
from benchmarks.support.generation_demo import FOLDER
from benchmarks.support.options import TINY, Options, device_of
from benchmarks.support.outcome import report
from benchmarks.support.shapes import PUBLISHED, Shape
from benchmarks.support.training_rows import save_model
from contracts.models.model import load_tokenizer
from contracts.steps.manifest import read_manifest
from flows.pipeline.config import RunConfig
from flows.pipeline.folder.run_folder import claim_run, make_folder
from flows.pipeline.load_run import load_run
from flows.pipeline.planning.next_steps import next_steps
from flows.pipeline.run_step import run_step

_HELD_OUT = 32
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Cost:
    """Of a stage."""

    seconds: float
    """With the start of its process."""
    busy: float | None
    """Share of the stage's own time in which the GPUs ran a kernel, where NVML tells."""


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """What the command line asks for."""
    parser = Options(__doc__, families=["gemma2"])
    parser.add_counts(prompts=192, max_tokens=48, batch=16)
    return parser.parse_args(arguments)


def main() -> None:
    """Run the round, and print what each stage took."""
    asked = options()
    device = device_of(asked)
    if read_manifest(FOLDER) is None:
        raise SystemExit("build the demo's models first: python -m demo.build")
    if not device.on_gpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    with tempfile.TemporaryDirectory() as name:
        policy = policy_of(asked.shape, Path(name) / "start", device)
        costs = run_round(round_config(asked, policy, Path(name)))
    in_all = sum(cost.seconds for cost in costs.values())
    report(
        "whole_round", busy_share(costs), 0.0, "of a round's time the GPU was busy",
        in_all_seconds=round(in_all, 1),
        seconds={stage: round(cost.seconds, 1) for stage, cost in costs.items()},
        busy={stage: cost.busy for stage, cost in costs.items()},
        engine=engine_here(), prompts=asked.prompts, max_tokens=asked.max_tokens,
        global_batch=asked.batch, shape=asked.shape, **device.facts,
    )  # fmt: skip


def engine_here() -> str:
    """The engine that samples."""
    return "vllm" if find_spec("vllm") else "transformers"


def policy_of(shape: str, folder: Path, device: Device) -> Path:
    """The demo's, or one of the shape asked for, made in `folder`."""
    return FOLDER / "policy" if shape == TINY else write_policy(folder, PUBLISHED[shape], device)


def write_policy(
    folder: Path, shape: Shape, device: Device, tokenizer: Path = FOLDER / "policy"
) -> Path:
    """Random weights, and a tokenizer with a word for each of the shape's other ids: what such a
    policy samples is text, and no two answers are the same."""
    save_model(folder, shape, device)
    load_tokenizer(str(tokenizer)).save_pretrained(folder)
    file = folder / "tokenizer.json"
    told = json.loads(file.read_text(encoding="utf-8"))
    vocabulary = told["model"]["vocab"]
    others = range(max(vocabulary.values()) + 1, shape.vocabulary)
    vocabulary |= {_word(number): number for number in others}
    file.write_text(json.dumps(told), encoding="utf-8")
    return folder


def _word(number: int) -> str:
    """A word that no other number has, in capitals behind the byte-level alphabet's space."""
    letters = ""
    while number:
        number, place = divmod(number, len(_LETTERS))
        letters += _LETTERS[place]
    return f"Ġ{letters.upper()}"


def round_config(asked: argparse.Namespace, policy: Path, folder: Path) -> RunConfig:
    """The demo's config with one round, all weights trained by one process."""
    dtype, engine = asked.dtype, engine_here()
    return load_run(Path("configs/demo.yaml"), [
        "name=round", "rounds=1", f"runs_dir={folder}", f"policy.path={policy}",
        f"prompts.limit={asked.prompts + _HELD_OUT}", f"prompts.test_size={_HELD_OUT}",
        f"sampling.max_tokens={asked.max_tokens}", f"sampling.dtype={dtype}",
        f"sampling.engine.kind={engine}", f"annotation.annotators.0.dtype={dtype}",
        "pairs.truncated=keep", f"training.dtype={dtype}", f"training.global_batch={asked.batch}",
        "training.epochs=1", "training.resources.strategy=none", "training.resources.processes=1",
        "training.resources.checkpoint_every=0", "evaluation.benchmarks=[]",
        "evaluation.annotators=[]", "evaluation.sampling.n=1", f"evaluation.sampling.dtype={dtype}",
        f"evaluation.sampling.max_tokens={asked.max_tokens}",
        f"evaluation.sampling.engine.kind={engine}",
    ])  # fmt: skip


def run_round(config: RunConfig) -> dict[str, Cost]:
    """Every step of the run, one after the other."""
    make_folder(config)
    costs: dict[str, Cost] = {}
    for step in next_steps(claim_run(config)):
        started = time.monotonic()
        manifest = run_step(step, print, lambda _: None)
        costs[step.path] = Cost(time.monotonic() - started, manifest.busy)
        print(f"{step.path}: {costs[step.path].seconds:.1f} s", flush=True)
    return costs


def busy_share(costs: Mapping[str, Cost]) -> float:
    """Of the whole round, starts of processes included; a stage without a figure was not busy."""
    worked = sum(cost.seconds * (cost.busy or 0) for cost in costs.values())
    return worked / sum(cost.seconds for cost in costs.values())


if __name__ == "__main__":
    main()
