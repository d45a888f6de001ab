"""Resumable checkpoints of a training run: a folder that has its final name is whole."""

import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from contracts.errors import UserError
from contracts.parts import write_atomic
from training.config import TrainConfig
from training.engine import Engine

FOLDER = ".checkpoints"


@dataclass(frozen=True)
class Layout:
    """What a checkpoint's files depend on beside the config's identity."""

    strategy: str
    offload: str
    processes: int

    @classmethod
    def of(cls, config: TrainConfig) -> "Layout":
        """The layout that this config's resources make."""
        resources = config.resources
        return cls(resources.strategy, resources.offload, resources.processes)


def save(engine: Engine, folder: Path, steps: int) -> None:
    """Keep the state after `steps` optimizer steps, and drop the checkpoint before it."""
    final = folder / f"step-{steps:08d}"
    unfinished = folder / f"unfinished-{steps:08d}"
    engine.save(unfinished)
    engine.wait()
    if engine.rank == 0:
        layout = json.dumps(asdict(Layout.of(engine.config)))
        write_atomic(unfinished / "layout.json", layout.encode())
        older = [path for path in folder.glob("step-*") if path != final]
        os.sync()  # DeepSpeed's own files too are on the disk before the name says so
        unfinished.rename(final)
        for path in older:
            shutil.rmtree(path)
    engine.wait()


def restore(engine: Engine, folder: Path) -> int:
    """Load the last whole checkpoint; the optimizer steps it holds, 0 where there is none.

    Raises:
        UserError: it was made with other resources.
    """
    found = sorted(folder.glob("step-*"))
    if not found:
        return 0
    last = found[-1]
    made, wanted = json.loads((last / "layout.json").read_text()), Layout.of(engine.config)
    if made != asdict(wanted):
        raise UserError(
            f"{last}: was made with {made}, not with {asdict(wanted)}; train with the same "
            f"resources, or delete {folder} to start this training anew"
        )
    engine.load(last)
    return int(last.name.removeprefix("step-"))


def clear_unfinished(folder: Path) -> None:
    """Remove what a killed process left half written."""
    for path in folder.glob("unfinished-*"):
        shutil.rmtree(path)
