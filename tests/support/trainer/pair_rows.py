"""Pairs as tokens, as training reads them."""

from pathlib import Path
from typing import Any

import pyarrow as pa
from made_facts import made_facts

from contracts.steps.fingerprint import of_input
from contracts.steps.manifest import Result, write_manifest
from contracts.tables.parts import write_part
from contracts.tables.schemas import TOKENS


def write_tokens(folder: Path, policy: Path | str, rows: list[dict[str, Any]]) -> Path:
    folder.mkdir(parents=True)
    write_part(folder, 0, pa.Table.from_pylist(rows, schema=TOKENS), TOKENS)
    facts = {"formatted_for": of_input(str(policy))}
    write_manifest(folder, "training.format", Result(len(rows), facts=made_facts(facts)), 0.0)
    return folder


def row(number: int, chosen: int = 5, rejected: int = 3, **changes: Any) -> dict[str, Any]:
    """A pair whose chosen ids are even and whose rejected ids are odd: easy to learn."""
    return {
        "prompt_id": f"p{number}",
        "prompt_ids": [2, *range(10, 12 + number % 7)],
        "chosen_ids": [20 + 2 * ((number + place) % 30) for place in range(chosen)],
        "rejected_ids": [21 + 2 * ((number + place) % 30) for place in range(rejected)],
        "chosen_loss_start": 0,
        "rejected_loss_start": 0,
        **changes,
    }
