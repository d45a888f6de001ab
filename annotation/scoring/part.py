"""A part of responses through every annotator: first what needs no model, then the rest."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from annotation.annotators.base import AnnotatorVariant
from annotation.scorers.protocol import Conversation, Score, Scorer, Scoring, prepared
from annotation.scoring.prompt_lookup import Prompts
from contracts.tables.schemas import SCORES

COLUMNS = ["prompt_id", "response_id", "text"]
"""What is read of responses."""


@dataclass(frozen=True)
class PreparedPart:
    """A part that only the annotators' own work is left of."""

    responses: pa.Table
    conversations: list[Conversation]
    order: np.ndarray
    """The responses' rows, in the order of the conversations."""
    scorings: Mapping[str, Scoring]
    """By annotator; those left out that combine others."""


def prepare_part(
    responses: pa.Table, prompts: Prompts, scorers: Mapping[str, Scorer]
) -> PreparedPart:
    """Look up a part's prompts and tokenise it.

    Raises:
        UserError: a response's prompt is not among the prompts.
    """
    talks, order = conversations_of(responses, prompts)
    scorings = {name: prepared(scorer, talks) for name, scorer in scorers.items()}
    return PreparedPart(responses, talks, order, scorings)


def score_part(part: PreparedPart, ensembles: Sequence[AnnotatorVariant] = ()) -> pa.Table:
    """A part's SCORES rows."""
    by_annotator = {name: scoring() for name, scoring in part.scorings.items()}
    for ensemble in ensembles:
        by_annotator[ensemble.name] = ensemble.combine(part.conversations, by_annotator)
    places = np.argsort(part.order, kind="stable")
    blocks = [
        _block(part.responses, name, [scores[i] for i in places])
        for name, scores in by_annotator.items()
    ]
    return pa.concat_tables(blocks)


def conversations_of(
    responses: pa.Table, prompts: Prompts
) -> tuple[list[Conversation], np.ndarray]:
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
        "gating": pa.array([s.gating for s in scores], SCORES.field("gating").type),
        "disagreement": pa.array([s.disagreement for s in scores], pa.float64()),
        "cut": pa.array([s.cut for s in scores], pa.int32()),
        "error": pa.array([s.error for s in scores], pa.string()),
    }
    return pa.table([columns[field] for field in SCORES.names], schema=SCORES)
