"""Slices of prompts for the rounds."""

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import UserError
from contracts.tables.parts import read_table, write_part
from contracts.tables.schemas import PROMPTS
from generation.config import SelectConfig
from generation.select import SelectInputs, run, select


def prompts(count: int, split: str = "train") -> pa.Table:
    rows = [
        {"prompt_id": f"{split}-{i}", "messages": [], "source": "here", "split": split}
        for i in range(count)
    ]
    return pa.Table.from_pylist(rows, schema=PROMPTS)


def ids(table: pa.Table) -> list[str]:
    return table["prompt_id"].to_pylist()


@settings(deadline=None)
@given(st.integers(1, 200), st.integers(1, 50), st.integers(0, 9))
def test_slices_cover_every_prompt_exactly_once(total: int, count: int, seed: int) -> None:
    table = prompts(total)
    slices = [
        ids(select(table, SelectConfig(start=start, count=count, seed=seed)))
        for start in range(0, total, count)
    ]
    assert sorted(i for part in slices for i in part) == sorted(ids(table))


def test_a_slice_mixes_the_source_but_keeps_its_order() -> None:
    chosen = ids(select(prompts(100), SelectConfig(count=10)))
    places = [int(i.removeprefix("train-")) for i in chosen]
    assert places == sorted(places) != list(range(10))


def test_the_slice_of_a_round_does_not_depend_on_the_rows_order() -> None:
    table = prompts(100)
    turned = table.take(pa.array(range(99, -1, -1)))
    config = SelectConfig(start=10, count=10)
    assert set(ids(select(table, config))) == set(ids(select(turned, config)))


def test_only_the_wanted_splits_are_taken() -> None:
    table = pa.concat_tables([prompts(5), prompts(3, "test")])
    chosen = select(table, SelectConfig(splits=["test"]))
    assert set(chosen["split"].to_pylist()) == {"test"}
    assert len(chosen) == 3


def test_an_empty_slice_says_how_many_prompts_there_are() -> None:
    with pytest.raises(
        UserError, match=r"there are 5 prompts in train, none from place 6 on.*`rounds`"
    ):
        select(prompts(5), SelectConfig(start=6, count=3))


def test_the_stage_writes_its_slice(tmp_path: Path) -> None:
    (tmp_path / "prompts").mkdir()
    write_part(tmp_path / "prompts", 0, prompts(5), PROMPTS)
    inputs = SelectInputs(prompts=tmp_path / "prompts")
    assert run(SelectConfig(count=2), inputs, tmp_path).rows == 2
    assert read_table(tmp_path).num_rows == 2
