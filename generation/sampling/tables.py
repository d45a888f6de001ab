"""Outcomes as tables: responses, and the requests that have none."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from contracts.tables.parts import read_part, write_table
from contracts.tables.schemas import RESPONSES, VERSION
from generation.engines.requests import Failure, Outcome, Request, Sample

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ERRORS_NAME = "_errors.parquet"
"""Datasets, pandas and Spark pass over a file whose name begins so: it is no part."""

ERRORS = pa.schema(
    [
        pa.field(name, kind, nullable=False, metadata={"doc": doc})
        for name, kind, doc in (
            ("prompt_id", pa.string(), "the prompt asked"),
            ("response_id", pa.string(), "prompt_id, then the sample's index"),
            ("sample", pa.int32(), "index of the sample"),
            ("seed", pa.int64(), "the request's own seed"),
            ("error", pa.string(), "why there is no response"),
        )
    ],
    metadata={"table": "ERRORS", "version": VERSION},
)


class Writer:
    """Turns samples into rows."""

    def __init__(
        self, tokenizer: "PreTrainedTokenizerBase", stop: Sequence[str], policy: str
    ) -> None:
        self._tokenizer = tokenizer
        self._stop = stop
        self._policy = policy

    def table(self, requests: Sequence[Request], outcomes: Sequence[Outcome]) -> pa.Table:
        """RESPONSES rows in the order of the requests; a failure has no row."""
        answered = [
            (request, outcome)
            for request, outcome in zip(requests, outcomes, strict=True)
            if isinstance(outcome, Sample)
        ]
        requests = [request for request, _ in answered]
        samples = [sample for _, sample in answered]
        columns = {
            "prompt_id": [request.prompt_id for request in requests],
            "response_id": [request.response_id for request in requests],
            "sample": [request.sample for request in requests],
            "seed": [request.seed for request in requests],
            "text": self.texts([sample.tokens for sample in samples]),
            "token_ids": [sample.tokens for sample in samples],
            "finish_reason": [sample.finish_reason for sample in samples],
            "n_tokens": [len(sample.tokens) for sample in samples],
            "logprob": [sample.logprob for sample in samples],
            "policy": [self._policy] * len(samples),
        }
        return pa.Table.from_pydict(columns, schema=RESPONSES)

    def texts(self, answers: list[list[int]]) -> list[str]:
        """The answers without special tokens, cut before the first stop string."""
        if not answers:
            return []  # the tokenizer makes one empty text of no answer
        texts = self._tokenizer.batch_decode(
            answers, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return [self._cut(text) for text in texts]

    def _cut(self, text: str) -> str:
        ends = [place for string in self._stop if (place := text.find(string)) >= 0]
        return text[: min(ends, default=len(text))]


def read_samples(path: Path) -> list[Sample]:
    """The samples in a part."""
    table = read_part(path, ["response_id", "token_ids", "finish_reason", "logprob"])
    return [Sample(*row) for row in zip(*(column.to_pylist() for column in table), strict=True)]


def write_errors(out: Path, failures: Iterable[tuple[Request, Failure]]) -> int:
    """Write a row for each failed request, and return their number; no file if none failed."""
    rows = [
        {
            "prompt_id": request.prompt_id,
            "response_id": request.response_id,
            "sample": request.sample,
            "seed": request.seed,
            "error": failure.error,
        }
        for request, failure in failures
    ]
    rows.sort(key=lambda row: (row["prompt_id"], row["sample"]))
    if rows:
        write_table(out / ERRORS_NAME, pa.Table.from_pylist(rows, schema=ERRORS), ERRORS)
    else:
        (out / ERRORS_NAME).unlink(missing_ok=True)
    return len(rows)
