"""The report of what was taken out of the prompts, and why."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa

from contracts.chat import Message
from contracts.tables.parts import write_table
from contracts.tables.schemas import VERSION
from generation.sources.ngrams import asked

REMOVED_NAME = "_removed.parquet"
"""Datasets, pandas and Spark pass over a file whose name begins so: it is no part."""

_EXCERPT = 200


def _column(name: str, doc: str) -> pa.Field:
    return pa.field(name, pa.string(), nullable=False, metadata={"doc": doc})


REMOVED = pa.schema(
    [
        _column("prompt_id", "the prompt taken out"),
        _column("excerpt", "its first 200 characters"),
        _column("reason", "near_duplicate or contaminated"),
        _column("source", "dataset or file that the prompt came from"),
        _column("match", "the kept prompt's id, or the benchmark's folder and file name"),
        _column("evidence", "start of the kept prompt, or the words shared with the question"),
        pa.field(
            "overlap",
            pa.float64(),
            nullable=False,
            metadata={"doc": "Jaccard index, or share of the question's n-grams in the prompt"},
        ),
    ],
    metadata={"table": "REMOVED", "version": VERSION},
)


@dataclass(frozen=True)
class Removed:
    """One prompt taken out, as in REMOVED."""

    prompt_id: str
    excerpt: str
    reason: str
    source: str
    match: str
    evidence: str
    overlap: float


def excerpt(messages: Sequence[Message]) -> str:
    """The start of what a prompt asks."""
    return "\n".join(asked(messages))[:_EXCERPT]


def write_removed(folder: Path, removed: Sequence[Removed]) -> None:
    """Write the report beside the prompts' parts."""
    table = pa.Table.from_pylist([asdict(row) for row in removed], schema=REMOVED)
    write_table(folder / REMOVED_NAME, table, REMOVED)
