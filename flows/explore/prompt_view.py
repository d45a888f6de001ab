"""One prompt with all its responses and their scores, best first."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow.compute as pc
from rich.console import Console, Group
from rich.table import Table

from contracts.errors import UserError
from contracts.tables.parts import part_paths, read_table
from flows.explore.plain import plain

_UNSCORED = float("-inf")
_SHOWN_IDS = 5


def show_prompt(console: Console, folder: Path, prompt_id: str) -> None:
    """Print the prompt of a round's folder whose id begins with `prompt_id`.

    Raises:
        UserError: the folder is no round, or no prompt, or more than one, has that id.
    """
    if not prompt_id:
        raise UserError("--prompt: give the beginning of a prompt_id, e.g. --prompt 3f2a91")
    if not part_paths(folder / "responses"):
        raise UserError(f"{folder}: no responses lie here; name a round, e.g. runs/demo/round-1")
    prompts = read_table(folder / "prompts", ["prompt_id", "messages"])
    matches = prompts.filter(pc.starts_with(prompts["prompt_id"], prompt_id)).to_pylist()
    if len(matches) != 1:
        raise UserError(
            f"{folder}: {len(matches)} prompts have an id that begins with {prompt_id!r}; "
            + _way_on(folder, [match["prompt_id"] for match in matches])
        )
    match = matches[0]
    turns = [
        f"[bold]{plain(turn['role'])}[/]: {plain(turn['content'])}" for turn in match["messages"]
    ]
    console.print(Group(*turns, _responses(folder, match["prompt_id"])))


def _way_on(folder: Path, found: Sequence[str]) -> str:
    if not found:
        return f"`onpolicy inspect {folder / 'prompts'}` shows some ids"
    more = ", ..." if len(found) > _SHOWN_IDS else ""
    return f"give more of it: {', '.join(found[:_SHOWN_IDS])}{more}"


def _responses(folder: Path, prompt_id: str) -> Table:
    responses = _rows(folder / "responses", prompt_id)
    scores: dict[str, dict[str, str]] = {}
    order: dict[str, float] = {}
    for row in _rows(folder / "scores", prompt_id):
        shown = f"{row['score']:.4f}" if row["score"] is not None else str(row["error"])
        scores.setdefault(row["response_id"], {})[row["annotator"]] = shown
        order.setdefault(row["response_id"], _UNSCORED if row["score"] is None else row["score"])
    roles = {
        pair[f"{role}_id"]: role
        for pair in _rows(folder / "pairs", prompt_id)
        for role in ("chosen", "rejected")
    }
    annotators = sorted({name for shown_scores in scores.values() for name in shown_scores})
    table = Table("", *map(plain, annotators), "tokens", "finish", "response")
    for row in sorted(responses, key=lambda row: -order.get(row["response_id"], _UNSCORED)):
        shown_scores = scores.get(row["response_id"], {})
        table.add_row(
            roles.get(row["response_id"], ""),
            *(plain(shown_scores.get(name, "")) for name in annotators),
            str(row["n_tokens"]),
            row["finish_reason"],
            plain(row["text"]),
        )
    return table


def _rows(folder: Path, prompt_id: str) -> list[dict]:
    if not part_paths(folder):
        return []
    table = read_table(folder)
    return table.filter(pc.field("prompt_id") == prompt_id).to_pylist()
