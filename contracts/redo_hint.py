"""How a stage is made anew, as the end of a message that says why it must be."""

from pathlib import Path

# A stage lies at most so deep in its run: round-1/evaluation/scores.
_DEPTH = 3


def way_out(folder: Path) -> str:
    """What to do to have the stage in `folder`, and those after it, made anew."""
    for run in folder.parents[:_DEPTH]:
        if (run / "config.yaml").is_file():
            stage = folder.relative_to(run).as_posix()
            return f"make it anew: the same `onpolicy run` with `--redo {stage}`"
    return f"delete {folder} and run again"
