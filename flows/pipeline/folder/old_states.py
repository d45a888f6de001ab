"""Optimizer's states that no later round needs: 12 bytes a weight, 108 GB a round of 9B."""

import shutil
from pathlib import Path

from flows.pipeline.config import RunConfig
from flows.pipeline.planning.lineage import lineage
from training import carried


def remove_old_states(config: RunConfig, trained: int) -> list[Path]:
    """Remove the states that `training.resources.states_kept` does not keep, now that round
    `trained` is trained; their folders."""
    kept = config.of_round(trained).training.resources.states_kept
    if kept is None:
        return []
    needed = set(range(trained - kept + 1, trained + 1))
    if config.gate_rules:
        needed.add(lineage(config).compared(trained))
    folders = [
        config.folder / f"round-{number}" / "policy" / carried.FOLDER
        for number in range(1, trained)
        if number not in needed
    ]
    old = [folder for folder in folders if folder.is_dir()]
    for folder in old:
        shutil.rmtree(folder)
    return old
