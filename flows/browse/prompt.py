"""One prompt: its conversation, and its responses side by side, round by round."""

from typing import Any

from flows.browse.index import Index
from flows.browse.tables import Responses

_LONGEST = 200_000


def prompt_view(index: Index, prompt_id: str, only: int | None) -> dict[str, Any] | None:
    """What the page of a prompt shows; None where the run has no such prompt.

    Args:
        only: the one round to show; all of them unless given.
    """
    found = index.rows(
        "SELECT row, round, held_out, response_id, n_tokens, finish_reason, role FROM responses"
        " WHERE prompt_id = ? ORDER BY round, held_out, row", [prompt_id]
    )  # fmt: skip
    if not found:
        return None
    rounds = sorted({row[1] for row in found})
    shown = [row for row in found if only is None or row[1] == only]
    texts = index.texts([row[0] for row in shown], _LONGEST)
    sections = []
    for table in index.tables:
        rows = [row for row in shown if (row[1], row[2]) == (table.round, table.held_out)]
        if rows:
            sections.append(_section(index, table, prompt_id, rows, texts))
    messages = index.prompts([prompt_id]).get(prompt_id, [])
    return {"prompt_id": prompt_id, "messages": messages, "rounds": rounds, "only": only,
            "sections": sections}  # fmt: skip


def _section(
    index: Index, table: Responses, prompt_id: str, rows: list[Any], texts: dict[int, str]
) -> dict[str, Any]:
    scores = _scores(index, table, prompt_id)
    responses = [
        {"id": name, "text": texts[row], "tokens": tokens, "finish": finish, "role": role,
         "scores": scores.get(name, [])}
        for row, _, _, name, tokens, finish, role in rows
    ]  # fmt: skip
    responses.sort(key=lambda one: -max((s["score"] for s in one["scores"][:1]
                                         if s["score"] is not None), default=-1e300))  # fmt: skip
    return {"round": table.round, "held_out": table.held_out, "responses": responses}


def _scores(index: Index, table: Responses, prompt_id: str) -> dict[str, list[dict[str, Any]]]:
    """Every annotator's word on each response of a prompt, with its objectives by name."""
    if not (parts := table.parts("scores")):
        return {}
    told: dict[str, list[dict[str, Any]]] = {}
    found = index.rows(
        "SELECT response_id, annotator, score, objectives, gating, disagreement, cut, error"
        " FROM read_parquet(?, hive_partitioning=false) WHERE prompt_id = ? ORDER BY annotator",
        [parts, prompt_id],
    )
    for name, annotator, score, objectives, gating, disagreement, cut, error in found:
        names = index.objectives.get(annotator) or []
        values = objectives or []
        named = [*names, *(f"objective {n + 1}" for n in range(len(names), len(values)))]
        weights = gating or [None] * len(values)
        told.setdefault(name, []).append({
            "annotator": annotator, "score": score, "error": error, "cut": cut,
            "disagreement": disagreement,
            "objectives": list(zip(named, values, weights, strict=False)),
        })  # fmt: skip
    return told
