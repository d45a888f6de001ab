"""A part of responses in, a part of scores out: every annotator, ready, in this process."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from annotation.annotators.base import AnnotatorVariant, ScoreResources, Setting
from annotation.config import ScoreConfig
from annotation.scorers.judge.answers import JudgeAnswers
from annotation.scorers.protocol import Conversation, Score, Scorer
from annotation.scoring.inputs import ScoreInputs
from annotation.scoring.prompt_lookup import Prompts
from contracts.tables.parts import encode, read_part
from contracts.tables.schemas import SCORES

Parts = Mapping[int, Path]
"""Parts of responses, by their index."""


class PartScorer:
    """All annotators of a config, their models loaded."""

    def __init__(self, config: ScoreConfig, inputs: ScoreInputs, out: Path) -> None:
        """
        Raises:
            UserError: an annotator cannot be used, or there are no prompts.
        """
        keep = any(annotator.keeps_answers for annotator in config.annotators)
        self._answers = JudgeAnswers(out) if keep else None
        self._scorers = {
            annotator.name: open_scorer(annotator, inputs, config.resources, self._answers)
            for annotator in config.annotators
            if not annotator.combines
        }
        self._ensembles = [one for one in config.annotators if one.combines]
        self._prompts = Prompts(inputs.prompts)

    @property
    def facts(self) -> dict[str, Any]:
        """What the manifest records of each annotator."""
        return {name: scorer.facts for name, scorer in self._scorers.items()}

    def score(self, parts: Parts) -> Iterator[tuple[int, bytes]]:
        """Each part's SCORES, as the bytes of its file."""
        for index, path in parts.items():
            yield index, self.part(index, path)

    def part(self, index: int, path: Path) -> bytes:
        """One part's SCORES, as the bytes of its file."""
        responses = read_part(path, ["prompt_id", "response_id", "text"])
        with self._answers.part(index) if self._answers else nullcontext():
            table = score_part(responses, self._prompts, self._scorers, self._ensembles)
        return encode(table, SCORES, str(path))

    def one_by_one(self, index: int, path: Path) -> Iterator[str]:
        """Score a part's conversations one by one to find the one that crashes; the scores are
        thrown away, and each step is announced before it begins."""
        responses = read_part(path, ["prompt_id", "response_id", "text"])
        conversations, _ = _conversations(responses, self._prompts)
        names = responses["prompt_id"].unique().to_pylist()
        with self._answers.part(index) if self._answers else nullcontext():
            for prompt_id, conversation in zip(names, conversations, strict=True):
                for name, scorer in self._scorers.items():
                    yield f"annotator {name!r} on prompt {prompt_id}"
                    scorer.score([conversation])

    def close(self) -> None:
        """Let go of the models."""
        self._scorers.clear()


def open_scorer(
    annotator: AnnotatorVariant,
    inputs: ScoreInputs,
    resources: ScoreResources,
    answers: JudgeAnswers | None = None,
) -> Scorer:
    """The annotator, its model loaded.

    Raises:
        UserError: it cannot be used; says why.
    """
    return annotator.build(Setting(resources, inputs.model_of(annotator), answers))


def score_part(
    responses: pa.Table,
    prompts: Prompts,
    scorers: dict[str, Scorer],
    ensembles: Sequence[AnnotatorVariant] = (),
) -> pa.Table:
    """SCORES rows for a part of responses (prompt_id, response_id, text)."""
    conversations, order = _conversations(responses, prompts)
    by_annotator = {name: scorer.score(conversations) for name, scorer in scorers.items()}
    for ensemble in ensembles:
        by_annotator[ensemble.name] = ensemble.combine(conversations, by_annotator)
    places = np.argsort(order, kind="stable")
    blocks = [
        _block(responses, name, [scores[i] for i in places])
        for name, scores in by_annotator.items()
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
        "gating": pa.array([s.gating for s in scores], SCORES.field("gating").type),
        "disagreement": pa.array([s.disagreement for s in scores], pa.float64()),
        "cut": pa.array([s.cut for s in scores], pa.int32()),
        "error": pa.array([s.error for s in scores], pa.string()),
    }
    return pa.table([columns[field] for field in SCORES.names], schema=SCORES)
