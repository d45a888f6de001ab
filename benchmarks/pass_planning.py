"""`python -m benchmarks.pass_planning [DATA]`: what lockstep costs a training step.

Processes that share a model's layers make their passes together, so the one with most tokens sets
each pass's pace. The figure is the tokens that all processes wait for (the largest of each pass,
times the processes; a padded row's padding with it) over those there are, without any padding.
Steps of 128 pairs (the recipe's) of real UltraFeedback lengths (`DATA`, JSON lines with `prompt`,
`chosen`, `rejected`; by default `../shared/data`), 4 characters a token, prompt once, pairs cut to
2,048 tokens a response, packed rows of up to 8,192 tokens; three epochs' orders. The worse of 8 and
16 processes counts; at most 1.05.
"""

import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.support.outcome import report
from training.config import TrainConfig
from training.loop.schedule import Schedule, micro_batches

_DATA = Path(__file__).parents[2] / "shared" / "data" / "ultrafeedback" / "train_1000.jsonl"
_PROCESSES = (8, 16)
_BUDGET = 8192
_LONGEST = 2048
_AT_MOST = 1.05


def main() -> None:
    """Print the tokens waited for over those there are."""
    lengths = _lengths(Path(sys.argv[1]) if len(sys.argv) > 1 else _DATA)
    detail = {
        f"{'padded' if padded else 'packed'}_{processes}": _cost(lengths, processes, padded)
        for padded in (False, True)
        for processes in _PROCESSES
    }
    figure = max(detail[f"packed_{processes}"]["mean"] for processes in _PROCESSES)
    report(
        "pass_planning",
        figure,
        _AT_MOST,
        "tokens waited for over the ideal",
        at_most=True,
        pairs=len(lengths),
        **detail,
    )


def _cost(lengths: Sequence[int], processes: int, padded: bool) -> dict[str, float]:
    schedule = Schedule(TrainConfig(global_batch=128, epochs=3), len(lengths))
    ratios, passes = [], []
    for step in range(schedule.steps):
        own = [lengths[index] for index in schedule.batch(step)]
        plan = micro_batches(own, processes, _BUDGET, padded)
        passes.append(len(plan[0]))
        if len(own) == schedule.config.global_batch:
            ratios.append(lockstep_tokens(plan, own, padded) / sum(own))
    figures = {"mean": statistics.mean(ratios), "worst": max(ratios)}
    return {name: round(figure, 3) for name, figure in figures.items()} | {
        "passes": round(statistics.mean(passes), 2)
    }


def lockstep_tokens(plan: list[list[list[int]]], lengths: Sequence[int], padded: bool) -> int:
    """Tokens of the largest pass of each turn, for every process."""
    turns = zip(*plan, strict=True)
    return len(plan) * sum(max(_tokens(one, lengths, padded) for one in turn) for turn in turns)


def _tokens(members: Sequence[int], lengths: Sequence[int], padded: bool) -> int:
    own = [lengths[index] for index in members]
    return len(own) * max(own, default=0) if padded else sum(own)


def _lengths(path: Path) -> list[int]:
    with path.open() as file:
        rows = [json.loads(line) for line in file]
    return [
        len(row["prompt"]) // 4
        + sum(min(len(row[side]) // 4, _LONGEST) for side in ("chosen", "rejected"))
        for row in rows
    ]


if __name__ == "__main__":
    main()
