"""Finished work on disk, line by line."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from contracts.tables.journal import Journal


@dataclass(frozen=True)
class Record:
    """Something that was done."""

    name: str
    value: int


def journal(folder: Path) -> Journal[Record]:
    return Journal(folder / "journal.jsonl", lambda fields: Record(**fields))


def written(folder: Path, count: int) -> list[Record]:
    records = [Record(f"r{i}", i) for i in range(count)]
    with journal(folder) as one:
        one.append(records)
        one.sync()
    return records


def test_records_come_back_in_order_until_they_are_removed(tmp_path: Path) -> None:
    records = written(tmp_path, 3)
    assert journal(tmp_path).records() == records
    journal(tmp_path).remove()
    assert journal(tmp_path).records() == []
    journal(tmp_path).remove()


@pytest.mark.parametrize("torn", range(1, 25))
def test_a_line_torn_anywhere_is_cut_off_and_written_again(tmp_path: Path, torn: int) -> None:
    records = written(tmp_path, 3)
    path = tmp_path / "journal.jsonl"
    path.write_bytes(path.read_bytes()[:-torn])
    with journal(tmp_path) as again:
        assert again.records() == records[:2]
        again.append(records[2:])
    assert journal(tmp_path).records() == records


@pytest.mark.parametrize(
    "line", [b"\0" * 30, b"{", b'"text"', b"[]", b"\xff\xfe", b'{"name": "x"}', b'{"other": 1}']
)
def test_a_line_that_is_no_record_is_left_out(tmp_path: Path, line: bytes) -> None:
    records = written(tmp_path, 2)
    path = tmp_path / "journal.jsonl"
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + line + b"\n" + second)
    assert journal(tmp_path).records() == records
