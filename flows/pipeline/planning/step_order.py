"""The order of a run's steps, read from where they lie."""

import functools
import re
from pathlib import Path

_IN_ROUND = re.compile(r"(.*)/round-(\d+)/(.+)")


def place(folder: Path) -> tuple[str, int, int, str]:
    """Sorts steps' folders as the pipeline makes them, run by run; a time would not: a copy's is
    new, and that of a step taken over is another run's."""
    path = folder.resolve()
    match = _IN_ROUND.fullmatch(str(path))
    run, number, name = match.groups() if match else (str(path.parent), -1, path.name)
    # Every round from round 2 on has the steps of round 2.
    planned = f"round-{min(int(number), 2)}/{name}" if match else name
    return run, int(number), _order().get(_any_judge(planned), len(_order())), name


def position(path: str) -> int:
    """Which of its round's steps the one at `path`, from its run's folder, is; 0 for the first."""
    match = re.fullmatch(r"(round-\d+)/(.+)", path)
    if match is None:
        return _order().get(path, len(_order()))
    round_like = f"round-{min(int(match[1].removeprefix('round-')), 2)}"
    place = _order().get(_any_judge(f"{round_like}/{match[2]}"), len(_order()))
    return place - _order()[f"{round_like}/prompts"]


@functools.cache
def _order() -> dict[str, int]:
    # Here, for it brings the planner and every stage: 0.6 s of each `onpolicy inspect`.
    from flows.pipeline.describe import steps

    return {_any_judge(step.path): index for index, step in enumerate(steps(rounds=2))}


def _any_judge(path: str) -> str:
    """Judges' folders are named by the config: the name alone orders them."""
    head, names, _ = path.partition("/judgements/")
    return head + names
