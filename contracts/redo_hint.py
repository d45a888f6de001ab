"""How a stage's folder is made good again, as the end of a message that says why it must be."""

from pathlib import Path

# A stage lies at most so deep in its run: round-1/evaluation/judgements/JUDGE/BENCHMARK.
_DEPTH = 5

PAID_FOR = (".replies.jsonl", ".answers-*.jsonl")
"""Journals of a judge's answers, each kept under the hash of its very request: another config
reads none of them by mistake, and to delete them is to pay again."""

MOVE_AWAY = "move what is new away"
"""What to do with a file that the stage did not make: the stage itself is as good as it was."""


PUT_BACK = "put back what was changed"
"""The way out that costs no work."""


def way_out(folder: Path) -> str:
    """What to do to have the stage in `folder`, and those after it, made anew."""
    run = _run_of(folder)
    if run is not None:
        stage = folder.relative_to(run).as_posix()
        return f"make it anew: the same `onpolicy run` with `--redo {stage}`"
    paid = sorted(path.name for pattern in PAID_FOR for path in folder.glob(pattern))
    if paid:
        paid_names = ", ".join(paid)
        return f"delete all in {folder} but {paid_names}, which was paid for, and run again"
    return f"delete {folder} and run again"


def elsewhere(folder: Path) -> str:
    """Where to make what the stage in `folder` cannot be: another run, or another folder."""
    if _run_of(folder) is not None:
        return "another `name` for the new run"
    return "another folder (`--out`) for the new one"


def _run_of(folder: Path) -> Path | None:
    """The run that a stage's folder lies in: its prompts right there, all else below a round."""
    runs = (run for run in folder.parents[:_DEPTH] if (run / "config.yaml").is_file())
    return next((run for run in runs if _is_stage(folder.relative_to(run))), None)


def _is_stage(path: Path) -> bool:
    return len(path.parts) == 1 or path.parts[0].startswith("round-")
