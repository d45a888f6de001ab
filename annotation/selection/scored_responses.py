"""Responses with an annotator's scores, part by part, for the stages that choose among them."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from annotation.selection.ranking import Candidates
from contracts.errors import UserError
from contracts.steps.facts import OfPolicy, read_facts
from contracts.tables.parts import part_paths, read_part
from contracts.tables.schemas import MESSAGES
from runtime.beside import made_ahead

_RESPONSES = ["prompt_id", "response_id", "text", "n_tokens", "finish_reason"]
_SCORES = ["response_id", "annotator", "score"]


def read_ahead(
    sources: list[tuple[Path, Path]], annotator: str
) -> Iterator[tuple[pa.Table, np.ndarray]]:
    """Each part of responses with its scores; the next part is read in the background.

    Raises:
        UserError: the annotator is not there, a response has no score, or a prompt's responses
            go on in the next part, where they could not be compared with each other.
    """

    def read(source: tuple[Path, Path]) -> tuple[pa.Table, np.ndarray]:
        responses = read_part(source[0], _RESPONSES, encoded=["prompt_id"])
        scores = read_part(source[1], _SCORES)
        return responses, scores_of(scores, annotator, responses["response_id"])

    last = None
    parts = made_ahead(map(read, sources))
    for (path, _), (responses, score) in zip(sources, parts, strict=True):
        last = _refuse_split(path, responses["prompt_id"], last)
        yield responses, score


def _refuse_split(path: Path, ids: pa.ChunkedArray, last: str | None) -> str | None:
    """A part's last prompt, which the next one may not begin with."""
    if not len(ids):
        return last
    if ids[0].as_py() == last:
        raise UserError(
            f"{path}: goes on with the responses of prompt {last}, which the part before ends "
            "with; all responses of a prompt belong in one part"
        )
    return str(ids[-1].as_py())


def candidates_of(responses: pa.Table, score: np.ndarray) -> tuple[Candidates, pa.StringArray]:
    """A part's responses as arrays, and the ids of its prompts in the order that they appear.

    Args:
        score: one float64 a response, NaN where there is none.
    """
    ids = responses["prompt_id"].combine_chunks().dictionary_encode()
    candidates = Candidates(
        prompt=ids.indices.to_numpy(),
        score=score,
        tokens=responses["n_tokens"].to_numpy().astype(np.int64),
        truncated=pc.equal(responses["finish_reason"], "length").to_numpy(),
        text=responses["text"].combine_chunks(),
    )
    return candidates, ids.dictionary


def scores_of(scores: pa.Table, annotator: str, response_ids: pa.ChunkedArray) -> np.ndarray:
    """An annotator's score for each response, NaN where it is null.

    Raises:
        UserError: the annotator is not there, or a response has no row.
    """
    rows = scores.filter(pc.equal(scores["annotator"], annotator))
    if scores.num_rows and not rows.num_rows:
        known = ", ".join(sorted(scores["annotator"].unique().to_pylist()))
        raise UserError(f"no annotator {annotator!r} in the scores; there is {known}")
    # By id, never by position alone: published data had responses at the wrong prompts (SimPO#62).
    if not rows["response_id"].equals(response_ids):
        at = pc.index_in(response_ids, rows["response_id"].combine_chunks())
        if at.null_count:
            absent = response_ids.filter(pc.is_null(at))[0].as_py()
            raise UserError(
                f"response {absent} has no row in the scores; make pairs from the responses that "
                "were scored"
            )
        rows = rows.take(at)
    return pc.fill_null(rows["score"], float("nan")).to_numpy()


def sources_of(responses: Path, scores: Path) -> list[tuple[Path, Path]]:
    """Each part of responses with the part of its scores.

    Raises:
        UserError: the two tables have other parts.
    """
    ours, theirs = part_paths(responses), part_paths(scores)
    if [path.name for path in ours] != [path.name for path in theirs]:
        raise UserError(
            f"{scores}: has {len(theirs)} parts where {responses} has {len(ours)}; make pairs "
            "from the responses that were scored"
        )
    return list(zip(ours, theirs, strict=True))


def only_annotator(sources: list[tuple[Path, Path]]) -> str:
    """The one annotator of these scores; empty where there are no scores.

    Raises:
        UserError: there are several.
    """
    for names in _annotators(sources):
        if len(names) > 1:
            raise UserError(
                f"the scores are of {', '.join(names)}; say under `pairs.annotator` whose decide"
            )
        if names:
            return names[0]
    return ""


def _annotators(sources: list[tuple[Path, Path]]) -> Iterator[list[str]]:
    for _, path in sources:
        yield read_part(path, ["annotator"])["annotator"].unique().to_pylist()


class DecidedBy(OfPolicy):
    """Facts of a table that was selected by an annotator's scores."""

    annotator: str
    """Whose scores decided."""


def policy_of(responses: Path) -> str | None:
    """Which policy a folder of responses was sampled from, where that is known."""
    facts = read_facts(responses, OfPolicy)
    return facts.policy if facts else None


def conversations(prompts: pa.ChunkedArray, answers: pa.ChunkedArray) -> pa.Array:
    """Each prompt's messages, then the answer's."""
    rows = zip(prompts.to_pylist(), answers.to_pylist(), strict=True)
    return pa.array([[*prompt, *answer] for prompt, answer in rows], MESSAGES)
