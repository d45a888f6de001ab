"""How a stage's folder is made good again, as the end of a message that says why it must be."""

from pathlib import Path

# A stage lies at most so deep in its run: round-1/evaluation/scores.
_DEPTH = 3

MOVE_AWAY = "move what is new away"
"""What to do with a file that the stage did not make: the stage itself is as good as it was."""


def way_out(folder: Path) -> str:
    """What to do to have the stage in `folder`, and those after it, made anew."""
    for run in folder.parents[:_DEPTH]:
        if (run / "config.yaml").is_file():
            stage = folder.relative_to(run).as_posix()
            return f"make it anew: the same `onpolicy run` with `--redo {stage}`"
    return f"delete {folder} and run again"
