"""`make gpu-check`: on a machine with a GPU, the GPU tests, then the figures, most valued first.

`python -m benchmarks.gpu_check [--only NAME ...] [--minutes 30] [--out .cache/gpu-check]`. Each
step is a process of its own, so that a failure hides nothing; what has no time left is not run,
and the next call may name it. It ends with a table of what passed, missed its reach, failed and
was not run, and with a block for RESULTS.md. `--list` names the steps.
"""

import argparse
import datetime
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.support.check_steps import (
    Result,
    Step,
    as_markdown,
    as_table,
    keep,
    kept,
    run_step,
)
from benchmarks.support.flex_kernels import KERNELS
from runtime.device import has_cuda

_TESTS = Path(__file__).parents[1] / "tests" / "gpu"
_VLLM = ("vllm",)
_TRL = ("trl", "datasets")
# `make gpu-check` installs them (requirements/dev.txt).
_TESTED_WITH = ("pytest", "pytest_timeout", "xdist", "hypothesis")
# A dozen starts of a trainer each, of half a minute where it imports and compiles anew.
_MINUTES = {"test_training_resume": 9, "test_training_strategies": 9}
_GPU = ("--device", "cuda", "--dtype", "bfloat16")


def gpu_tests() -> list[Step]:
    """A step for each file of tests/gpu: a CUDA error in one would fail all tests after it."""
    return [
        Step(
            path.stem, ("-m", "pytest", str(path), "-v", "-p", "no:cacheprovider"),
            _MINUTES.get(path.stem, 5), _TESTED_WITH,
        )
        for path in sorted(_TESTS.glob("test_*.py"))
    ]  # fmt: skip


def figure(
    name: str, *arguments: str, shape: str, needs: tuple[str, ...] = (), minutes: float = 5,
    of: str = "",
) -> Step:  # fmt: skip
    """A benchmark at a published shape; `of` tells several of them apart."""
    command = ("-m", f"benchmarks.{name}", *_GPU, "--shape", shape, *arguments)
    return Step(".".join(filter(None, (name, shape, of))), command, minutes, needs)


FIGURES = [
    *(figure("attention_kernels", "--tokens=8192", shape=shape, minutes=3)
      for shape in ("gemma-2-9b", "llama-3-8b", "qwen2.5-7b")),
    *(figure("attention_kernels", "--tokens=8192", f"--kernel={kernel}", shape="gemma-2-9b",
             minutes=2, of=kernel) for kernel in KERNELS),
    figure("head_kernels", "--tokens=6000", "--logits-mib=256", shape="gemma-2-9b", minutes=3),
    figure(
        "train_throughput", "--steps=8", "--batch=32", "--trl-micro=1", "--micro-tokens=8192",
        shape="gemma-2-2b", needs=_TRL,
    ),
    figure(
        "train_memory", "--steps=3", "--batch=4", "--micro-tokens=8192", "--max-length=2048",
        shape="gemma-2-2b", needs=_TRL,
    ),
    *(figure("train_mfu", "--steps=6", "--batch=32", "--micro-tokens=8192", "--profile",
             shape=shape) for shape in ("gemma-2-2b", "gemma-2-9b-width")),
    figure("annotation_vs_recipe", "--prompts=64", shape="llama-3-8b"),
    figure("annotation_limit", "--prompts=256", shape="llama-3-8b"),
    figure("annotation_input", "--prompts=256", shape="llama-3-8b", minutes=3),
    figure("annotation_engines", "--prompts=64", shape="llama-3-8b", needs=_VLLM),
    figure("generation_overhead", "--passes=3", shape="gemma-2-2b", needs=_VLLM),
    *(figure("whole_round", shape=shape, minutes=9) for shape in ("tiny", "gemma-2-2b")),
]  # fmt: skip

# A round of its own each time, on one GPU.
_ROUND = (
    f"name=gpu-check-{datetime.datetime.now():%Y%m%d-%H%M%S}", "rounds=1",
    "training.resources.processes=1",
)  # fmt: skip
DEMO = [
    Step("demo_build", ("-m", "demo.build"), 3),
    Step(
        "demo_run", ("-m", "flows.cli.app", "run", "configs/demo.yaml", *_ROUND), 10,
        ("vllm", "prefect", "deepspeed"),
    ),
]  # fmt: skip


def steps() -> list[Step]:
    """All, in the order of their value."""
    # Of the figures, those of generation and of a round ask the demo's prompts.
    return [*gpu_tests(), DEMO[0], *FIGURES, DEMO[1]]


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    names = [step.name for step in steps()]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="for all of them")
    parser.add_argument("--out", type=Path, default=Path(".cache/gpu-check"))
    parser.add_argument("--list", action="store_true", help="name the steps, and end")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """1 where there is no GPU, or where a step failed."""
    asked = options(arguments)
    if asked.list:
        print("\n".join(f"{step.name}: python {' '.join(step.command)}" for step in steps()))
        return 0
    if not has_cuda():
        print("gpu-check: torch sees no CUDA device here; nothing was started", file=sys.stderr)
        return 1
    chosen = [step for step in steps() if step.name in asked.only]
    return check(chosen, asked.out, 60 * asked.minutes, machine())


def check(chosen: Sequence[Step], out: Path, seconds: float, on: str) -> int:
    """Run the steps; what is known is told and written after each, with what earlier calls came
    to on the same machine and day. 1 where one failed."""
    out.mkdir(parents=True, exist_ok=True)
    ends, results, every = time.monotonic() + seconds, list[Result](), kept(out, on)
    for step in chosen:
        result = run_step(step, out, ends - time.monotonic())
        results.append(result)
        if result.state != "not run":
            keep(result, out, on)
        if result.state != "not run" or step.name not in every:
            every[step.name] = result
        print(as_table([result]), flush=True)
        (out / "RESULTS.md").write_text(as_markdown([*every.values()], on) + "\n")
    print(f"\n{as_table(results)}\n\n{as_markdown([*every.values()], on)}")
    return int(any(result.state == "failed" for result in results))


def machine() -> str:
    """The line that stands above a table of figures."""
    import torch

    here = f"{torch.cuda.get_device_name()}, {os.cpu_count()} cores"
    versions = f"torch {torch.__version__}, CUDA {torch.version.cuda}"
    return f"{here}; {versions}; {datetime.date.today()}."


if __name__ == "__main__":
    sys.exit(main())
