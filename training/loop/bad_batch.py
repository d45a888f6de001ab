"""Keeping the pairs of a step that went wrong, as a TOKENS table to look at."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from contracts.tables.parts import conform, write_atomic
from contracts.tables.schemas import TOKENS
from training.packed.packing import Pair


def keep_batch(folder: Path, step: int, rank: int, pairs: Sequence[Pair]) -> Path:
    """Write the pairs into `folder`; where they lie."""
    rows = [
        {
            "prompt_id": pair.pair_id,
            "prompt_ids": pair.prompt,
            "chosen_ids": pair.chosen,
            "rejected_ids": pair.rejected,
            "chosen_loss_start": pair.chosen_start,
            "rejected_loss_start": pair.rejected_start,
        }
        for pair in pairs
    ]
    path = folder / f"bad-step-{step + 1:08d}-rank-{rank}.parquet"
    sink = pa.BufferOutputStream()
    pq.write_table(conform(pa.Table.from_pylist(rows, TOKENS), TOKENS, str(path)), sink)
    write_atomic(path, sink.getvalue())
    return path
