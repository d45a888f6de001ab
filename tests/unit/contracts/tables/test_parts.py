"""Parts: a file that exists is whole, and holds what its schema says."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from checkout import CHECKOUT

from contracts.errors import OnPolicyError, UserError
from contracts.tables import schemas
from contracts.tables.parts import (
    conform,
    iter_parts,
    part_path,
    part_paths,
    read_part,
    read_table,
    write_atomic,
    write_part,
)
from contracts.tables.schemas import METRICS, PROMPTS, SCORES, TOKENS
from runtime.stage_process import describe

PROMPT = {
    "prompt_id": "p0",
    "messages": [{"role": "user", "content": "Hello \N{WAVING HAND SIGN}"}],
    "source": "here",
    "split": "train",
}


def metrics(*steps: int) -> pa.Table:
    return pa.table(
        {"step": list(steps), "name": ["loss"] * len(steps), "value": [0.5] * len(steps)}
    )


def test_a_part_comes_back_as_it_was_written_with_its_schema_and_docs(tmp_path: Path) -> None:
    path = write_part(tmp_path, 3, pa.Table.from_pylist([PROMPT]), PROMPTS)
    assert path == part_path(tmp_path, 3)
    table = read_part(path)
    assert table.to_pylist() == [PROMPT]
    assert table.schema.equals(PROMPTS, check_metadata=True)
    assert b"unique" in pq.read_schema(path).field("prompt_id").metadata[b"doc"]


def test_every_table_explains_itself() -> None:
    for name, schema in schemas.ALL.items():
        assert schema.metadata == {b"table": name.encode(), b"version": b"2"}
        assert all(field.metadata[b"doc"] for field in schema)


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    first = write_part(tmp_path, 0, metrics(1, 2, 3), METRICS).read_bytes()
    chunked = pa.concat_tables([metrics(1), metrics(2, 3)])
    assert write_part(tmp_path, 1, chunked.combine_chunks(), METRICS).read_bytes() == first


def test_parts_are_read_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for index in (10, 2, 0):
        write_part(tmp_path, index, metrics(index), METRICS)
    assert read_table(tmp_path)["step"].to_pylist() == [0, 2, 10]
    assert [part.num_rows for part in iter_parts(tmp_path, ["step"])] == [1, 1, 1]


def test_columns_come_in_the_schemas_order_and_further_ones_are_left_out() -> None:
    table = (
        metrics(1).append_column("note", pa.array(["x"])).select(["note", "value", "name", "step"])
    )
    assert conform(table, METRICS, "here").column_names == ["step", "name", "value"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"split": None}, "field 'split' with null"),
        ({"messages": None}, "field 'messages' with null"),
        ({"messages": [None]}, "column 'messages.element' holds nulls"),
        ({"messages": [{"role": "user", "content": None}]}, "'content'"),
        ({"messages": [{"content": "no role"}]}, "'role'|`role`"),
        ({"messages": ["text"]}, "does not fit its schema"),
        ({"source": [1]}, "does not fit its schema"),
    ],
)
def test_rows_that_break_the_schema_are_never_written(
    tmp_path: Path, change: dict, said: str
) -> None:
    with pytest.raises(OnPolicyError, match=said) as refused:
        write_part(tmp_path, 0, pa.Table.from_pylist([{**PROMPT, **change}]), PROMPTS)
    assert "part-00000.parquet" in str(refused.value)
    assert not list(tmp_path.iterdir())


def test_a_null_between_token_ids_is_refused() -> None:
    row = {"prompt_id": "p", "prompt_ids": [1], "chosen_ids": [2, None], "rejected_ids": [3]}
    starts = {"chosen_loss_start": 0, "rejected_loss_start": 0}
    with pytest.raises(OnPolicyError, match=r"'chosen_ids\.element' holds nulls"):
        conform(pa.Table.from_pylist([{**row, **starts}]), TOKENS, "here")


def test_a_missing_column_is_named() -> None:
    with pytest.raises(OnPolicyError, match="here: column 'value' is missing"):
        conform(metrics(1).drop_columns("value"), METRICS, "here")


def test_a_number_too_large_for_its_column_is_refused_not_wrapped() -> None:
    starts = {"chosen_loss_start": [2**31], "rejected_loss_start": [0]}
    ids = {"prompt_ids": [[1]], "chosen_ids": [[1]], "rejected_ids": [[1]]}
    with pytest.raises(OnPolicyError, match="not in range"):
        conform(pa.table({"prompt_id": ["p"], **ids, **starts}), TOKENS, "here")


def test_columns_that_may_be_null_may() -> None:
    row = {"response_id": "r", "prompt_id": "p", "annotator": "a", "error": "too long", "cut": None}
    table = pa.Table.from_pylist(
        [{**row, "score": None, "objectives": None, "gating": None, "disagreement": None}]
    )
    assert conform(table, SCORES, "here")["score"].null_count == 1


def test_a_truncated_part_is_named_with_the_way_out(tmp_path: Path) -> None:
    path = write_part(tmp_path, 0, metrics(*range(100)), METRICS)
    whole = path.read_bytes()
    for length in (0, 3, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"part-00000\.parquet: is no whole parquet file"):
            read_table(tmp_path)


def test_a_flipped_bit_in_a_parts_values_is_noticed(tmp_path: Path) -> None:
    path = write_part(tmp_path, 0, metrics(*range(0, 5000, 7)), METRICS)
    whole = path.read_bytes()
    column = pq.ParquetFile(path).metadata.row_group(0).column(0)
    end = (column.dictionary_page_offset or column.data_page_offset) + column.total_compressed_size
    for place in range(end - 200, end, 20):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        with pytest.raises(UserError, match="is no whole parquet file"):
            read_part(path)


def test_a_column_that_a_part_lacks_is_named(tmp_path: Path) -> None:
    path = write_part(tmp_path, 0, metrics(1), METRICS)
    with pytest.raises(UserError, match="no column reward"):
        read_part(path, ["step", "reward"])


def test_a_folder_without_parts_and_a_missing_part_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no part-\*\.parquet"):
        read_table(tmp_path)
    with pytest.raises(UserError, match="no such file"):
        read_part(tmp_path / "part-00000.parquet")


def test_an_older_part_stands_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = write_part(tmp_path, 0, metrics(1), METRICS)
    with pytest.raises(OnPolicyError):
        write_part(tmp_path, 0, metrics(1).drop_columns("name"), METRICS)
    assert read_part(path)["step"].to_pylist() == [1]
    write_part(tmp_path, 0, metrics(2), METRICS)
    assert read_part(path)["step"].to_pylist() == [2]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full on this system")
def test_a_full_disk_leaves_no_part_and_says_which_file_and_what_to_do(tmp_path: Path) -> None:
    path = part_path(tmp_path, 0)
    # The temporary file is a link to the device on which every write fails with ENOSPC.
    (tmp_path / f".tmp-{os.getpid()}-{path.name}").symlink_to("/dev/full")
    with pytest.raises(OSError) as failed:
        write_atomic(path, b"x" * 100_000)
    assert failed.value.errno == errno.ENOSPC
    assert describe(failed.value) == (
        f"the disk is full ({path}); free some space and run the same command again: "
        "what was finished is kept"
    )
    assert not list(tmp_path.iterdir())
    assert part_paths(tmp_path) == []


# `ulimit -f`, as clusters set it. safetensors and tokenizers write in Rust, and name no file.
LIMITED = """
import resource, sys
from pathlib import Path
import numpy
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models
from contracts.config.base import Config
from runtime.stage_process import exit_code_of
from contracts.steps.inputs import Inputs
from contracts.steps.step import Stage, run_once

words = Tokenizer(models.WordLevel({f"word {n}": n for n in range(9_999)}, unk_token="word 0"))
writers = {
    "weights": lambda path: save_file({"w": numpy.zeros(10**6)}, path),
    "tokenizer": lambda path: words.save(str(path)),
    "journal": lambda path: path.write_bytes(b"x" * 10**6),
}
resource.setrlimit(resource.RLIMIT_FSIZE, (10**5, 10**5))
for name, write in writers.items():
    stage = Stage(name, 1, Config, Inputs, "a file", lambda _, inputs, out: write(out / "file"))
    exit_code_of(lambda: run_once(stage, Config(), {}, Path(sys.argv[1]) / name))
"""


def test_a_stage_whose_files_may_not_grow_says_where_and_what_to_do(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path)],
        capture_output=True, text=True, check=True, cwd=CHECKOUT,
    )  # fmt: skip
    assert ended.stderr.splitlines() == [
        f"File too large ({tmp_path}/{name}); raise the limit (`ulimit -f`) and run the same "
        "command again: what was finished is kept"
        for name in ("weights", "tokenizer", "journal")
    ]
