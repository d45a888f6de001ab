"""Stage: an LLM judges a model's answers to a benchmark.

Beside the table lie the files that the benchmark's own tools read. The judge's replies stay in
`.replies.jsonl`: a kill at any point, the last included, pays for none of them again.
A judgement that cannot be had is a row with its reason; no score is ever made up.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa

from contracts.steps.facts import Facts
from contracts.steps.inputs import Data, Inputs
from contracts.steps.manifest import Manifest, Result
from contracts.steps.step import Stage
from contracts.tables.parts import write_atomic, write_part
from contracts.tables.schemas import JUDGEMENTS, QUESTIONS
from evaluation.judging.asking import Asking
from evaluation.judging.config import JudgingConfig
from evaluation.judging.files import PinnedFile
from evaluation.judging.noise import between_orders, noise
from evaluation.judging.referees.benchmarks import REFEREES, SideFiles, read_sides, with_repeats
from evaluation.judging.referees.game import Judged, Sides, judged_questions
from evaluation.judging.referees.referee import Referee
from evaluation.judging.standing import Standing, not_comparable
from evaluation.win_rates.agreement import Agreement
from evaluation.win_rates.records import texts_sha256
from runtime.stage_process import main


class JudgingInputs(Inputs):
    """A model's answers in the benchmark's own format, and what they are judged by."""

    answers: Data
    """A file, or the folder of a run's ANSWERS."""
    baseline: Data | None = None
    """The answers that they play against; not for MT-Bench."""
    questions: Data | None = None
    """`question.jsonl`; not for AlpacaEval, nor where `asked` is given."""
    references: Data | None = None
    """MT-Bench's."""
    asked: Annotated[Path, QUESTIONS] | None = None
    """A run's questions: they alone are judged."""


class JudgingFacts(Facts):
    """What the judgements are worth."""

    generator: str
    baseline: str | None
    answers_sha256: str
    standing: Standing
    not_comparable: list[str]
    """Why the result must not stand in a column with the published ones."""
    asked: int
    """Judgements that the judge was asked for."""
    errors: dict[str, int]
    """Reason to number of judgements that could not be had."""
    noise: Agreement | None
    """Of the same games judged twice."""
    between_orders: Agreement | None
    """Of the same two answers in both orders."""
    cost: float | None
    """Null where no price is known."""
    episodes: int
    """Times that the endpoint was found too busy."""


def run(config: JudgingConfig, inputs: JudgingInputs, out: Path) -> Result:
    """Judge what is not judged yet.

    Raises:
        UserError: a file is not what it should be, there is no key, or the endpoint refuses it.
        OnPolicyError: the endpoint is gone, or left more unanswered than
            `max_unanswered_share`, its answers are no judgements, or `max_cost` is reached;
            every judgement that came is kept.
    """
    files = {
        name: config.files.get(name, PinnedFile()).locate(value)
        for name, value in inputs.by_name.items()
        if name not in ("answers", "asked")
    }
    answers = SideFiles(Path(inputs.answers), asked=inputs.asked, **files)
    sides = read_sides(config.benchmark, answers)
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
        "error": str(verdict.error) if verdict.error else None,
    }


def _standing(
    config: JudgingConfig, referee: Referee, sides: Sides, judged: Sequence[Judged]
) -> Standing:
    references = {one.key: one.reference for one in sides.questions if one.reference}
    return Standing(
        benchmark=config.benchmark,
        judge=config.judge.model,
        prompt_sha256=referee.prompt_sha256,
        decoding=referee.request(config.judge),
        questions=len(sides.questions),
        judged=judged_questions(judged),
        questions_sha256=texts_sha256([one.turns for one in sides.questions]),
        answered=sides.answered,
        hard_labels=sum(one.verdict.is_hard for one in judged if not one.game.repeat),
        baseline_sha256=sides.baseline.texts_sha256 if sides.baseline else None,
        references_sha256=texts_sha256(references) if references else None,
    )


def _facts(
    config: JudgingConfig, referee: Referee, sides: Sides, judged: Sequence[Judged], asking: Asking
) -> JudgingFacts:
    standing = _standing(config, referee, sides, judged)
    errors = Counter(error.reason for one in judged if (error := one.verdict.error))
    return JudgingFacts(
        generator=sides.model.generator,
        baseline=sides.baseline.generator if sides.baseline else None,
        answers_sha256=sides.model.sha256,
        standing=standing,
        not_comparable=not_comparable(standing, referee.published),
        asked=sum(bool(one.game.messages) for one in judged),
        errors=dict(sorted(errors.items())),
        noise=noise(judged, referee.middle()),
        between_orders=between_orders(judged, referee.middle()),
        cost=asking.budget.spent or None,
        episodes=asking.episodes,
    )


def refuse(config: JudgingConfig, manifest: Manifest) -> str | None:
    """Why what was finished under a larger `max_unanswered_share` does not do."""
    facts = JudgingFacts.model_validate(manifest.facts)
    unanswered = facts.errors.get("unanswered", 0)
    if unanswered <= config.judge.resources.max_unanswered_share * facts.asked:
        return None
    return (
        f"{unanswered:,} of its {facts.asked:,} judgements are unanswered, more than the judge's "
        "`resources.max_unanswered_share` admits now: raise it"
    )


STAGE = Stage(
    name="evaluation.judge", version=3, config=JudgingConfig, inputs=JudgingInputs,
    output=JUDGEMENTS, facts=JudgingFacts, run=run, refuse=refuse,
)  # fmt: skip

if __name__ == "__main__":
    main(STAGE)
