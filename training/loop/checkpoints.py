"""Resumable checkpoints of a training run: a folder that has its final name is whole."""

import os
import shutil
from pathlib import Path

import torch

from training.engines.base import Engine

FOLDER = ".checkpoints"


def save(engine: Engine, folder: Path, steps: int) -> None:
    """Keep the state after `steps` optimizer steps, and drop the checkpoint before it."""
    final = folder / f"step-{steps:08d}"
    unfinished = folder / f"unfinished-{steps:08d}"
    engine.save(unfinished)
    engine.wait()
    if engine.first_here:
        os.sync()  # every process's files are on the disk before the name says so
    engine.wait()
    if engine.rank == 0:
        # The older one goes last, so that one whole checkpoint has its name at every moment; the
        # disk holds two, 111 GB each for a 9B policy.
        older = [path for path in folder.glob("step-*") if path != final]
        unfinished.rename(final)
        for path in older:
            shutil.rmtree(path)
    engine.wait()


def keep_state(engine: Engine, folder: Path) -> None:
    """Keep the state at a training's end, in place of what a killed process left there."""
    if engine.rank == 0:
        shutil.rmtree(folder, ignore_errors=True)
    engine.wait()
    engine.save(folder)
    engine.wait()


def restore(engine: Engine, folder: Path, before: int = 0) -> int:
    """Load the last whole checkpoint; the optimizer steps it holds, 0 where there is none.

    Args:
        before: AdamW's steps before this training.
    """
    checkpoints = sorted(folder.glob("step-*"))
    steps = int(checkpoints[-1].name.removeprefix("step-")) if checkpoints else 0
    # Rank 0 decides: another machine may see the shared folder as it was a moment ago.
    steps = int(engine.sum(torch.tensor([steps * (engine.rank == 0)], device=engine.device)))
    if steps:
        engine.load(folder / f"step-{steps:08d}", before + steps)
    return steps


def clear_unfinished(folder: Path) -> None:
    """Remove what a killed process left half written."""
    for path in folder.glob("unfinished-*"):
        shutil.rmtree(path)
