"""Stage: an LLM judges a model's answers to a benchmark.

Inputs: `answers` (the model's, in the benchmark's own format), `baseline` (those it plays against;
not for MT-Bench), `questions` (`question.jsonl`; not for AlpacaEval) and `references` (MT-Bench's).
Output: JUDGEMENTS, and beside it the files that the benchmark's own tools read. The judge's replies
stay in `.replies.jsonl`: a kill at any point, the last included, pays for none of them again.
A judgement that cannot be had is a row with its reason; no score is ever made up.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa

from contracts.steps.manifest import Result
from contracts.steps.step import Inputs, Stage
from contracts.tables.parts import write_atomic, write_part
from contracts.tables.schemas import JUDGEMENTS
from evaluation.judging.asking import Asking
from evaluation.judging.benchmarks import MIDDLE, REFEREES, read_sides, with_repeats
from evaluation.judging.config import JudgingConfig
from evaluation.judging.game import Judged, Referee, Sides
from evaluation.judging.noise import between_orders, noise
from evaluation.judging.standing import PUBLISHED, Standing, judged_questions, not_comparable
from runtime.stage_process import main


def run(config: JudgingConfig, inputs: Inputs, out: Path) -> Result:
    """Judge what is not judged yet.

    Raises:
        UserError: a file is not what it should be, there is no key, or the endpoint refuses it.
        OnPolicyError: the endpoint is gone, its answers are no judgements, or `max_cost` is
            reached; every judgement that came is kept.
    """
    files = {name: Path(value) for name, value in inputs.items()}
    sides = read_sides(config.benchmark, **files)
    referee = REFEREES[config.benchmark]()
    games = with_repeats(referee.games(sides), config.judge.repeats)
    asking = Asking(referee, config.judge, out)
    judged = asking.judge_all(games)
    table = _table(config, referee, sides, judged)
    for name, text in referee.files(judged, sides, config.judge).items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        write_atomic(out / name, text.encode())
    write_part(out, 0, table, JUDGEMENTS)
    return Result(len(judged), facts=_facts(config, referee, sides, judged, asking))


def _table(
    config: JudgingConfig, referee: Referee, sides: Sides, judged: Sequence[Judged]
) -> pa.Table:
    """One row a judgement."""
    fixed = {
        "benchmark": config.benchmark,
        "generator": sides.model.generator,
        "answers_sha256": sides.model.sha256,
        "baseline": sides.baseline.generator if sides.baseline else None,
        "baseline_sha256": sides.baseline.sha256 if sides.baseline else None,
        "judge": config.judge.model,
        "decoding": json.dumps(referee.request(config.judge), sort_keys=True),
        "prompt_sha256": referee.prompt_sha256,
    }
    return pa.Table.from_pylist([{**fixed, **_row(one)} for one in judged], JUDGEMENTS)


def _row(one: Judged) -> Mapping[str, Any]:
    game, verdict = one.game, one.verdict
    return {
        "question_id": game.question_id,
        "turn": game.turn,
        "order": game.order,
        "repeat": game.repeat,
        "prompt": game.prompt,
        "score": verdict.score,
        "label": verdict.label,
        "weight": verdict.weight,
        "is_hard": verdict.is_hard,
        "text": one.text if one.replies else None,
        "prompt_tokens": sum(reply.prompt_tokens for reply in one.replies),
        "completion_tokens": sum(reply.completion_tokens for reply in one.replies),
        "error": verdict.error,
    }


def _facts(
    config: JudgingConfig, referee: Referee, sides: Sides, judged: Sequence[Judged], asking: Asking
) -> dict[str, Any]:
    standing = Standing(
        benchmark=config.benchmark,
        judge=config.judge.model,
        prompt_sha256=referee.prompt_sha256,
        decoding=referee.request(config.judge),
        questions=len(sides.questions),
        judged=judged_questions(judged),
        hard_labels=sum(one.verdict.is_hard for one in judged if not one.game.repeat),
        baseline_sha256=sides.baseline.sha256 if sides.baseline else None,
    )
    middle = MIDDLE[config.benchmark]
    errors = Counter(e.partition(":")[0] for one in judged if (e := one.verdict.error))
    return {
        "generator": sides.model.generator,
        "baseline": sides.baseline.generator if sides.baseline else None,
        "answers_sha256": sides.model.sha256,
        "standing": asdict(standing),
        "not_comparable": not_comparable(standing, PUBLISHED[config.benchmark]),
        "errors": dict(sorted(errors.items())),
        "noise": asdict(noise(judged, middle)),
        "between_orders": asdict(between_orders(judged, middle)),
        "cost": asking.budget.spent or None,
        "episodes": asking.episodes,
    }


STAGE = Stage(name="evaluation.judge", version=1, config=JudgingConfig, run=run)

if __name__ == "__main__":
    main(STAGE)
