"""The prompts of a table, as sampling asks them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from contracts.tables.parts import part_paths, read_part, unreadable
from generation.engines.requests import DECODING, Prompt

_ALWAYS = ("prompt_id", "messages")
_OWN = ("n", *DECODING, "follows")
"""Columns that a table may have beside those of PROMPTS; null is the config's."""


def read_prompts(folder: Path) -> Iterator[Prompt]:
    """All prompts in order; only a few at a time are in memory as Python objects."""
    for path in part_paths(folder):
        columns = [*_ALWAYS, *(name for name in _columns(path) if name in _OWN)]
        for batch in read_part(path, columns).to_batches(max_chunksize=1024):
            rows = zip(*(column.to_pylist() for column in batch.columns), strict=True)
            if len(columns) == len(_ALWAYS):
                yield from (Prompt(*row) for row in rows)
            else:
                yield from (_with_own(dict(zip(columns, row, strict=True))) for row in rows)


def _columns(path: Path) -> list[str]:
    try:
        return list(pq.read_schema(path).names)
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from None


def _with_own(row: dict[str, Any]) -> Prompt:
    decoding = {name: row[name] for name in DECODING if row.get(name) is not None}
    return Prompt(row["prompt_id"], row["messages"], row.get("n"), decoding, row.get("follows"))
