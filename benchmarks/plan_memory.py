"""Memory that `onpolicy plan` predicts, against the measured peak: each stage, three shapes.

`python -m benchmarks.plan_memory [--stages training reference scoring sampling]`, on the CPU in
float32, each in a process of its own whose freed memory goes back at once.
"""

import argparse
import json
import os
import subprocess
import sys
from dataclasses import asdict
from typing import Any

from benchmarks.support.memory_stages import STAGES, Shape
from flows.forecast import memory
from flows.forecast.memory import Memory, Model, Pass

REACH = 0.15
_WIDTH = 4
# Else glibc keeps what is freed, and a peak holds the holes of all before it.
_RETURNED = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}

SHAPES: dict[str, dict[str, Any]] = {
    "gemma2": {
        "family": "gemma2", "hidden": 512, "intermediate": 2048, "layers": 6, "heads": 8,
        "key_heads": 4, "vocabulary": 32_000, "pairs": 3, "prompt": 100, "answer": 150,
    },
    "llama": {
        "family": "llama", "hidden": 768, "intermediate": 2048, "layers": 6, "heads": 12,
        "key_heads": 4, "vocabulary": 16_000, "pairs": 2, "prompt": 200, "answer": 200,
    },
    "qwen2": {
        "family": "qwen2", "hidden": 256, "intermediate": 1024, "layers": 10, "heads": 4,
        "key_heads": 2, "vocabulary": 60_000, "pairs": 4, "prompt": 100, "answer": 150,
        "logits_mib": 128,
    },
}  # fmt: skip


def predicted(shape: Shape) -> Memory:
    """As the plan has it."""
    model = Model.read(shape.settings)
    assert model
    tokens = shape.pairs * (shape.prompt + 2 * shape.answer)
    one = Pass(tokens, 2 * shape.pairs * shape.answer, _WIDTH, shape.logits_mib << 20)
    if shape.stage == "training":
        return memory.training(model, one, passes=2, checkpointing=shape.checkpointing)
    if shape.stage == "reference":
        return memory.inference(model, one)
    if shape.stage == "scoring":
        return memory.scoring(model, shape.prompt + shape.pairs * shape.answer, _WIDTH)
    return memory.sampling(model, shape.pairs, shape.prompt, shape.answer, _WIDTH)


def measured(shape: Shape) -> float:
    """MiB."""
    command = [sys.executable, "-m", "benchmarks.support.memory_stages", json.dumps(asdict(shape))]
    ended = subprocess.run(
        command, env=os.environ | _RETURNED, capture_output=True, text=True, check=False
    )
    marked = [line for line in ended.stdout.splitlines() if line.startswith("::")]
    if not marked:
        raise SystemExit(f"{shape}: {ended.stderr[-2000:]}")
    return float(json.loads(marked[-1][2:])["peak_mib"])


def main() -> None:
    """Compare them all and print the largest difference."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stages", nargs="+", choices=[*STAGES], default=[*STAGES])
    options = parser.parse_args()
    rows = {}
    for stage in options.stages:
        for name, values in SHAPES.items():
            family = "llama" if stage == "scoring" else values["family"]  # ArmoRM is a Llama
            shape = Shape(**values | {"stage": stage, "family": family})
            told, seen = predicted(shape).total / (1 << 20), measured(shape)
            rows[f"{stage} {name}"] = {
                "predicted_mib": round(told), "measured_mib": round(seen),
                "off": round(told / seen - 1, 3),
            }  # fmt: skip
            print(f"{stage} {name}: {rows[f'{stage} {name}']}", file=sys.stderr, flush=True)
    worst = max(abs(row["off"]) for row in rows.values())
    outcome = {
        "name": "plan_memory",
        "figure": round(worst, 3),
        "reach": REACH,
        "holds": worst <= REACH,
        "unit": "largest |predicted / measured - 1|; at most",
        "detail": {**rows, "dtype": "float32", "device": "cpu", "shapes": SHAPES},
    }
    print(json.dumps(outcome), flush=True)


if __name__ == "__main__":
    main()
