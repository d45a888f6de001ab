"""Stage: score every response with every annotator.

One part of scores for each part of responses, in the responses' order, annotators one after
another; so a part that exists is done, and what it holds depends on no other part.
"""

import importlib
import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from annotation.config import (
    ArmoRMConfig,
    ClassifierConfig,
    EnsembleConfig,
    FunctionConfig,
    JudgeConfig,
    PairwiseConfig,
    ScoreConfig,
    ScoreResources,
)
from annotation.ensemble import combine
from annotation.prompts import Prompts
from annotation.scorer import Conversation, FunctionScorer, Score, Scorer
from contracts.errors import OnPolicyError, UserError
from contracts.manifest import Result, read_manifest
from contracts.parts import iter_parts, part_path, part_paths, read_part, write_part
from contracts.process import main
from contracts.progress import Progress
from contracts.step import Inputs, Stage
from contracts.tables import SCORES

log = logging.getLogger(__name__)

ModelAnnotator = ArmoRMConfig | ClassifierConfig | PairwiseConfig


def run(config: ScoreConfig, inputs: Inputs, out: Path) -> Result:
    """Score the parts that are not scored yet.

    Raises:
        UserError: an annotator cannot be used, or responses and prompts do not belong together.
        OnPolicyError: not one response was scored by any annotator.
    """
    responses = Path(inputs["responses"])
    sources = list(enumerate(part_paths(responses)))
    open_parts = [(i, path) for i, path in sources if not part_path(out, i).exists()]
    rows = [pq.read_metadata(path).num_rows for _, path in sources]
    resumed = sum(rows) - sum(rows[i] for i, _ in open_parts)
    scorers = {
        a.name: open_scorer(a, inputs, config.resources)
        for a in config.annotators
        if not isinstance(a, EnsembleConfig)
    }
    prompts = Prompts(Path(inputs["prompts"]))
    progress = Progress(sum(rows), "responses", resumed)
    for index, path in open_parts:
        table = read_part(path, ["prompt_id", "response_id", "text"])
        write_part(out, index, score_part(table, prompts, scorers, config.ensembles), SCORES)
        progress.advance(table.num_rows)
    facts = {name: scorer.facts for name, scorer in scorers.items()}
    facts |= {e.name: {"members": [m.name for m in e.members]} for e in config.ensembles}
    return Result(rows=sum(rows) * len(facts), facts=_facts(out, responses, facts))


def open_scorer(
    annotator: ModelAnnotator | JudgeConfig | FunctionConfig,
    inputs: Inputs,
    resources: ScoreResources,
) -> Scorer:
    """The annotator, its model loaded.

    Raises:
        UserError: it cannot be used; says why.
    """
    if isinstance(annotator, FunctionConfig):
        return FunctionScorer(_import(annotator))
    if annotator.kind == "judge":
        from annotation.judge import open_judge

        return open_judge(annotator)
    reference = inputs.get(f"model:{annotator.name}", annotator.reference)
    if annotator.kind == "armorm" and annotator.engine == "vllm":
        from annotation.armorm_vllm import open_vllm

        return open_vllm(annotator, reference, resources)
    if annotator.kind == "armorm":
        from annotation.armorm_scorer import open_armorm

        return open_armorm(annotator, reference, resources)
    if annotator.kind == "pairwise":
        from annotation.pairwise import open_pairwise

        return open_pairwise(annotator, reference, resources)
    from annotation.classifier import open_classifier

    return open_classifier(annotator, reference, resources)


def score_part(
    responses: pa.Table,
    prompts: Prompts,
    scorers: dict[str, Scorer],
    ensembles: Sequence[EnsembleConfig] = (),
) -> pa.Table:
    """SCORES rows for a part of responses (prompt_id, response_id, text)."""
    conversations, order = _conversations(responses, prompts)
    found = {name: scorer.score(conversations) for name, scorer in scorers.items()}
    for ensemble in ensembles:
        found[ensemble.name] = combine(ensemble, conversations, found)
    places = np.argsort(order, kind="stable")
    blocks = [
        _block(responses, name, [scores[i] for i in places]) for name, scores in found.items()
    ]
    return pa.concat_tables(blocks)


def _conversations(responses: pa.Table, prompts: Prompts) -> tuple[list[Conversation], np.ndarray]:
    """Conversations in the order in which prompts first appear, and their responses' rows."""
    ids = responses["prompt_id"].combine_chunks().dictionary_encode()
    messages = prompts.take(ids.dictionary)["messages"].to_pylist()
    codes = ids.indices.to_numpy()
    order = np.argsort(codes, kind="stable")
    texts = responses["text"].take(pa.array(order)).to_pylist()
    bounds = np.searchsorted(codes[order], np.arange(len(messages) + 1))
    return [
        Conversation(messages[i], texts[bounds[i] : bounds[i + 1]]) for i in range(len(messages))
    ], order


def _block(responses: pa.Table, name: str, scores: Sequence[Score]) -> pa.Table:
    columns = {
        "response_id": responses["response_id"],
        "prompt_id": responses["prompt_id"],
        "annotator": pa.array([name] * len(scores), pa.string()),
        "score": pa.array([s.score for s in scores], pa.float64()),
        "objectives": pa.array([s.objectives for s in scores], SCORES.field("objectives").type),
        "gate": pa.array([s.gate for s in scores], SCORES.field("gate").type),
        "disagreement": pa.array([s.disagreement for s in scores], pa.float64()),
        "error": pa.array([s.error for s in scores], pa.string()),
    }
    return pa.table([columns[field] for field in SCORES.names], schema=SCORES)


def _facts(out: Path, responses: Path, annotators: dict[str, Any]) -> dict[str, Any]:
    manifest = read_manifest(responses)
    facts: dict[str, Any] = {"policy": (manifest.facts if manifest else {}).get("policy")}
    tables = list(iter_parts(out, ["annotator", "score", "error"]))
    facts["annotators"] = {
        name: {**_summary(name, tables), **own} for name, own in annotators.items()
    }
    if not any(found["count"] for found in facts["annotators"].values()):
        errors = (error for table in tables for error in table["error"].drop_null().to_pylist())
        raise OnPolicyError(
            f"{responses}: not one response was scored; the first error: "
            f"{next(errors, 'there is no response')}. "
            "Delete this stage's folder after the cause is gone"
        )
    return facts


def _summary(name: str, parts: Sequence[pa.Table]) -> dict[str, Any]:
    """Count, mean and standard deviation of an annotator's scores, and its errors by reason."""
    own = [part.filter(pc.equal(part["annotator"], name)) for part in parts]
    scores = np.concatenate([t["score"].drop_null().to_numpy() for t in own] or [np.empty(0)])
    errors = Counter(e.partition(":")[0] for t in own for e in t["error"].drop_null().to_pylist())
    return {
        "count": len(scores),
        "mean": float(scores.mean()) if len(scores) else None,
        "std": float(scores.std()) if len(scores) else None,
        "errors": dict(sorted(errors.items())),
    }


def _import(annotator: FunctionConfig) -> Any:
    module, _, name = annotator.function.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UserError(
            f"annotator {annotator.name!r}: {annotator.function} cannot be imported: {error}"
        ) from None


STAGE = Stage(name="annotation.score", version=2, config=ScoreConfig, run=run)

if __name__ == "__main__":
    main(STAGE)
