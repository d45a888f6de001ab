"""A policy's responses to benchmark questions, as the sampling stage leaves them."""

from pathlib import Path
from typing import Any

import pyarrow as pa

from contracts.steps.manifest import Manifest, Result, write_manifest
from contracts.tables.parts import write_part, write_table
from contracts.tables.schemas import RESPONSES
from generation.sampling.tables import ERRORS, ERRORS_NAME


def respond(folder: Path, rows: list[dict[str, Any]], texts: dict[str, str]) -> None:
    """Responses to the questions whose `benchmark/question_id/turn` is named; errors to others."""
    (folder / "responses").mkdir(parents=True)
    written, errors = [], []
    for row in rows:
        base = {"prompt_id": row["prompt_id"], "response_id": f"{row['prompt_id']}-0", "sample": 0}
        text = texts.get(f"{row['benchmark']}/{row['question_id']}/{row['turn']}")
        if text is None:
            errors.append({**base, "seed": 1, "error": "crashed"})
        else:
            written.append(
                {**base, "seed": 1, "text": text, "token_ids": [1, 2], "finish_reason": "stop",
                 "n_tokens": 2, "logprob": None, "policy": "p"}
            )  # fmt: skip
    table = pa.Table.from_pylist(written, schema=RESPONSES)
    write_part(folder / "responses", 0, table, RESPONSES)
    if errors:
        failed = pa.Table.from_pylist(errors, schema=ERRORS)
        write_table(folder / "responses" / ERRORS_NAME, failed, ERRORS)
    write_manifest(folder / "responses", "test", Result(rows=len(written)), Manifest.clock())
