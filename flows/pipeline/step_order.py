"""The order of a run's steps, read from where they lie."""

import re
from pathlib import Path

# The last part of a step's path, in the order of a round.
_ORDER = (
    "prompts", "questions", "responses", "scores", "pairs", "demonstrations", "tokens",
    "reference", "policy", "evaluation/responses", "evaluation/scores",
    "evaluation/benchmark_responses", "evaluation/answers", "evaluation/outputs",
    "evaluation/comparison",
)  # fmt: skip
_IN_ROUND = re.compile(r"(.*)/round-(\d+)/(.+)")


def place(folder: Path) -> tuple[str, int, int, str]:
    """Sorts steps' folders as the pipeline makes them, run by run; a time would not: a copy's is
    new, and that of a step taken over is another run's."""
    path = folder.resolve()
    found = _IN_ROUND.fullmatch(str(path))
    run, number, name = found.groups() if found else (str(path.parent), -1, path.name)
    return run, int(number), _ORDER.index(name) if name in _ORDER else len(_ORDER), name
