"""SQL over a run: it reads the run's tables, and touches nothing."""

import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from contracts.errors import UserError
from flows.explore.sql import query


def write(folder: Path, **columns: list) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"part-{len(list(folder.iterdir())):05d}.parquet"
    pq.write_table(pa.table(columns), part)
    return part


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Two rounds, the first one's pairs in two parts."""
    folder = tmp_path / "demo"
    write(folder / "round-1" / "pairs", margin=[0.5, 0.1], prompt=["a", "b"])
    write(folder / "round-1" / "pairs", margin=[0.3], prompt=["c"])
    write(folder / "round-2" / "pairs", margin=[0.9], prompt=["a"])
    write(folder / "round-1" / "evaluation" / "scores", score=[1.0])
    return folder


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def refusal(folder: Path, sql: str) -> str:
    with pytest.raises(UserError) as refused:
        query(folder, sql)
    return str(refused.value)


def test_a_rounds_table_is_read_by_its_path_and_all_rounds_by_its_name(run: Path) -> None:
    one = query(run, "SELECT count(*) AS n FROM round_1_pairs").to_pylist()
    every = query(run, "SELECT round, max(margin) AS widest FROM pairs GROUP BY round ORDER BY 1")
    assert one == [{"n": 3}]
    assert every.to_pylist() == [{"round": 1, "widest": 0.5}, {"round": 2, "widest": 0.9}]
    assert query(run, "PIVOT pairs ON prompt USING count(*)").num_rows == 4


@pytest.mark.parametrize(
    "sql",
    [
        "COPY (SELECT 1) TO '{part}' (FORMAT parquet)",
        "SELECT 1; COPY (SELECT 1) TO '{part}' (FORMAT parquet)",
        "COPY (SELECT 1) TO '.tmp/beside.csv'",
        "COPY (SELECT 1) TO '{outside}'",
        "EXPORT DATABASE '{outside}'",
        "ATTACH '{outside}' AS other",
        "CREATE TABLE t AS SELECT 1",
        "DROP VIEW pairs",
        "INSTALL httpfs",
        "SET enable_external_access = true",
        "PRAGMA enable_profiling = 'json'",
        "CALL enable_logging(storage = 'file', storage_path = '{outside}')",
        "",
        "-- nothing",
    ],
)
def test_what_is_no_query_is_refused_and_no_file_changes(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sql: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".tmp").mkdir()
    before = contents(tmp_path)
    part = run / "round-1" / "pairs" / "part-00000.parquet"
    said = refusal(run, sql.format(part=part, outside=tmp_path / "outside"))
    assert "--sql: only reads: SELECT, WITH, DESCRIBE, SUMMARIZE" in said
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    "source",
    [
        "read_csv('/etc/passwd')",
        "read_text('/etc/passwd')",
        "'/etc/passwd'",
        "glob('/etc/*')",
        "sniff_csv('/etc/passwd')",
        "enable_logging(storage = 'file')",
        "read_text('https://example.org/')",
        "secret",
    ],
)
def test_a_query_sees_no_file_no_network_and_no_variable_of_the_program(
    run: Path, source: str
) -> None:
    secret = pa.table({"a": [1]})
    assert "--sql: " in refusal(run, f"SELECT * FROM {source}") and secret.num_rows == 1


def test_a_table_that_is_not_there_is_answered_with_all_that_are(run: Path) -> None:
    assert refusal(run, "SELECT * FROM pears").endswith(
        "; tables: evaluation_scores, pairs, round_1_evaluation_scores, round_1_pairs, "
        "round_2_pairs"
    )


def test_no_querys_result_is_dropped(run: Path) -> None:
    assert refusal(run, "SELECT 1; SELECT 2").startswith("--sql: these are 2 queries")
    assert query(run, "SELECT 1 AS n;").to_pylist() == [{"n": 1}]


def test_a_part_is_answered_with_the_folder_to_name(run: Path) -> None:
    part = run / "round-2" / "pairs" / "part-00000.parquet"
    assert refusal(part, "SELECT 1").endswith(f"; name its folder, {part.parent}")


def test_a_part_with_other_columns_is_named(run: Path) -> None:
    other = write(run / "round-1" / "pairs", margin=["wide"])
    assert f"{other}: its columns differ from" in refusal(run, "SELECT * FROM pairs")


def test_two_folders_of_one_name_are_told_apart(run: Path) -> None:
    write(run / "round-1" / "evaluation scores", score=[1.0])
    said = refusal(run, "SELECT 1")
    assert "evaluation/scores" in said and "evaluation scores" in said
