"""Stage: score every response with every annotator.

One part of scores for each part of responses, in the responses' order, annotators one after
another; so a part that exists is done, and what it holds depends on no other part.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from annotation.config import ScoreConfig, scored_alone
from annotation.scorers.judge.answers import answers_of
from annotation.scoring.inputs import ScoreInputs
from annotation.scoring.part_scorer import PartScorer
from annotation.scoring.precision_check import Agreement, agreements
from annotation.scoring.prompt_lookup import refuse_split_prompts
from annotation.selection.scored_responses import policy_of
from annotation.workers.placement import placement_for, warm_up
from annotation.workers.pool import WorkerPool
from contracts.errors import OnPolicyError
from contracts.models.fetch import fetch_models
from contracts.steps.facts import OfPolicy
from contracts.steps.manifest import Result
from contracts.steps.step import Stage
from contracts.tables.parts import iter_parts, part_path, part_paths, write_atomic
from contracts.tables.schemas import SCORES
from runtime.beside import OneBehind
from runtime.progress import Progress
from runtime.stage_process import main


class AnnotatorFacts(BaseModel):
    """One annotator's scores, and what it says of itself: device, dtype, its objectives ..."""

    model_config = ConfigDict(frozen=True, extra="allow")

    count: int
    """Responses with a score."""
    mean: float | None
    std: float | None
    cut: int
    """Responses of which a part alone was scored."""
    errors: dict[str, int]
    """Reason to number of responses without a score."""
    members: list[str] = []
    """Of an ensemble."""
    agreement: Agreement | None = None
    """With float32, of a model that ran in less."""


class ScoreFacts(OfPolicy):
    """What came of the scoring."""

    annotators: dict[str, AnnotatorFacts]


def run(config: ScoreConfig, inputs: ScoreInputs, out: Path) -> Result:
    """Score the parts that are not scored yet.

    Raises:
        UserError: an annotator cannot be used, or responses and prompts do not belong together.
        OnPolicyError: not one response was scored by any annotator, or something in a part
            crashes the workers.
    """
    placement = placement_for(config)
    warm_up(placement, config)
    responses = inputs.responses
    sources = dict(enumerate(part_paths(responses)))
    if len(scored_alone(config.annotators)) < len(config.annotators):
        refuse_split_prompts(sources.values())
    parts = {i: path for i, path in sources.items() if not part_path(out, i).exists()}
    rows = [pq.read_metadata(path).num_rows for path in sources.values()]
    resumed = sum(rows) - sum(rows[i] for i in parts)
    models = [inputs.model_of(a) for a in config.annotators if a.reference]
    fetch_models(models)
    placement.require(models, [out / "_step.json"])
    scorers = (
        WorkerPool(placement, config, inputs, out)
        if placement.workers
        else PartScorer(config, inputs, out)
    )
    progress = Progress(sum(rows), "responses", resumed, "loading the models")
    try:
        with OneBehind() as behind:
            for index, data in scorers.score(parts):
                behind(write_atomic, part_path(out, index), data)
                progress.advance(rows[index])
        facts = scorers.facts
    finally:
        scorers.close()
    facts |= {a.name: {"members": list(a.combines)} for a in config.annotators if a.combines}
    del scorers  # and with them the models: what comes next needs the memory
    for name, agreement in agreements(config, inputs, out).items():
        facts[name]["agreement"] = agreement
    return Result(rows=sum(rows) * len(facts), facts=_facts(out, responses, facts))


def _facts(out: Path, responses: Path, annotators: dict[str, Any]) -> ScoreFacts:
    tables = list(iter_parts(out, ["annotator", "score", "cut", "error"]))
    summaries = {
        name: AnnotatorFacts(**_summary(name, tables), **facts)
        for name, facts in annotators.items()
    }
    if not any(summary.count for summary in summaries.values()):
        errors = (error for table in tables for error in table["error"].drop_null().to_pylist())
        # Nothing of them is worth keeping, nor of what a judge said: all is asked again.
        for index, part in enumerate(part_paths(out)):
            answers_of(out, index).remove()
            part.unlink()
        raise OnPolicyError(
            f"{responses}: not one response was scored; the first error: "
            f"{next(errors, 'there is no response')}. No part of it is kept: once its cause is "
            "gone, or another annotator named, the same command scores all responses"
        )
    return ScoreFacts(policy=policy_of(responses), annotators=summaries)


def _summary(name: str, parts: Sequence[pa.Table]) -> dict[str, Any]:
    """An annotator's count, mean, deviation, number of cut responses, and errors by reason."""
    tables = [part.filter(pc.equal(part["annotator"], name)) for part in parts]
    scores = np.concatenate([t["score"].drop_null().to_numpy() for t in tables] or [np.empty(0)])
    errors = Counter(
        e.partition(":")[0] for t in tables for e in t["error"].drop_null().to_pylist()
    )
    return {
        "count": len(scores),
        "mean": float(scores.mean()) if len(scores) else None,
        "std": float(scores.std()) if len(scores) else None,
        "cut": sum(len(table) - table["cut"].null_count for table in tables),
        "errors": dict(sorted(errors.items())),
    }


def here(config: ScoreConfig) -> dict[str, str]:
    """What of this machine decides the scores: the annotators' functions and `auto` dtypes.

    Raises:
        UserError: an annotator's function is in no module.
    """
    device = config.resources.device
    return {key: value for one in config.annotators for key, value in one.here(device).items()}


STAGE = Stage(
    name="annotation.score", version=4, config=ScoreConfig, inputs=ScoreInputs,
    output=SCORES, facts=ScoreFacts, run=run, here=here,
)  # fmt: skip

if __name__ == "__main__":
    main(STAGE)
