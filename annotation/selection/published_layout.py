"""Pairs in the column layout of the published datasets (recipe, section 1).

`prompt, all_generated_responses, all_rm_scores, chosen, rejected`, as
princeton-nlp/gemma2-ultrafeedback-armorm has them; chosen and rejected are whole
conversations. `prompt_id` comes first, so that rows can be joined with the run's tables.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from annotation.selection.scored_responses import DecidedBy, conversations, scores_of, sources_of
from contracts.errors import UserError
from contracts.steps.facts import read_facts
from contracts.tables.json_lines import json_line
from contracts.tables.parts import part_path, read_part
from contracts.tables.schemas import MESSAGES

PUBLISHED = pa.schema(
    [
        pa.field("prompt_id", pa.string()),
        pa.field("prompt", pa.string()),
        pa.field("all_generated_responses", pa.list_(pa.string())),
        pa.field("all_rm_scores", pa.list_(pa.float64())),
        pa.field("chosen", MESSAGES),
        pa.field("rejected", MESSAGES),
    ]
)


def published(pairs: pa.Table, responses: pa.Table, score: np.ndarray) -> pa.Table:
    """Pairs, all their prompts' responses and scores, in the published layout.

    Args:
        pairs: PAIRS rows.
        responses: the rows (prompt_id, text) of at least these pairs' prompts.
        score: one float64 a response, NaN where there is none (null in the result).
    """
    ids = pairs["prompt_id"].combine_chunks().dictionary_encode()
    count = len(ids.dictionary)
    of_prompt = pc.index_in(responses["prompt_id"], ids.dictionary)
    at = pc.fill_null(of_prompt, count).to_numpy()
    order = np.argsort(at, kind="stable")
    order = order[: np.searchsorted(at[order], count)]
    bounds = pa.array(np.searchsorted(at[order], np.arange(count + 1)), pa.int32())
    texts = responses["text"].combine_chunks().take(pa.array(order))
    scores = pa.array(score[order], from_pandas=True)
    prompts = pairs["prompt"].combine_chunks()
    last = np.cumsum(pc.list_value_length(prompts).to_numpy()) - 1
    contents = pc.struct_field(prompts.flatten(), "content")
    columns = [
        pairs["prompt_id"],
        contents.take(pa.array(last)),
        pa.ListArray.from_arrays(bounds, texts).take(ids.indices),
        pa.ListArray.from_arrays(bounds, scores).take(ids.indices),
        conversations(prompts, pairs["chosen"].combine_chunks()),
        conversations(prompts, pairs["rejected"].combine_chunks()),
    ]
    return pa.table(columns, schema=PUBLISHED)


def write_published(pairs: Path, responses: Path, scores: Path, split: str, target: Path) -> int:
    """Write one split of finished pairs as a parquet or JSON-lines file; returns the row count.

    Raises:
        UserError: the pairs are not finished, or the file's name ends in neither.
    """
    facts = read_facts(pairs, DecidedBy)
    if facts is None:
        raise UserError(f"{pairs}: these pairs are not finished; run the flow first")
    if target.suffix not in (".parquet", ".jsonl"):
        raise UserError(f"{target}: name a .parquet or a .jsonl file")
    tables = [PUBLISHED.empty_table()]
    for index, (path, score_path) in enumerate(sources_of(responses, scores)):
        table = read_part(path, ["prompt_id", "response_id", "text"])
        score_table = read_part(score_path, ["response_id", "annotator", "score"])
        score = scores_of(score_table, facts.annotator, table["response_id"])
        rows = read_part(part_path(pairs, index))
        rows = rows.filter(pc.equal(rows["split"], split))
        tables.append(published(rows, table, score))
    return _write(pa.concat_tables(tables), target)


def _write(table: pa.Table, target: Path) -> int:
    if target.suffix == ".parquet":
        pq.write_table(table, target, compression="zstd")
    else:
        with target.open("w", encoding="utf-8") as file:
            file.writelines(map(json_line, table.to_pylist()))
    return table.num_rows
