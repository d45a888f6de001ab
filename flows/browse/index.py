"""The index of a run's responses: all but the texts, which stay in their parts on the disk.

DuckDB may read the run's folder and nothing else, and every value of a request is bound, never
part of a query. It takes a folder above by the name of `text=1` for a column unless told not to
(`hive_partitioning`).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb

from contracts.errors import UserError, first_line
from flows.browse.search import Search, Searches
from flows.browse.tables import Responses, objectives_of, prompts_of, responses_of

# Of 1,000,000 responses of one annotator with their pairs the index takes 171 MB, and what makes it
# 512 MB at most, i.e. 230 bytes a row of all three; of three annotators 170. A limit, not taken.
_MEMORY = 256_000_000
_MEMORY_A_ROW = 300
_LONGEST_SHOWN = 2_000

_RESPONSES = """
CREATE TABLE responses (
    row INTEGER, round USMALLINT, held_out BOOLEAN, prompt_id VARCHAR, response_id VARCHAR,
    n_tokens INTEGER, finish_reason VARCHAR, file INTEGER, place INTEGER, role VARCHAR)
"""
_SCORES = "CREATE TABLE scores (row INTEGER, annotator VARCHAR, score DOUBLE)"
_PAIRS = """
CREATE TABLE pairs (
    round USMALLINT, prompt_id VARCHAR, chosen_id VARCHAR, rejected_id VARCHAR,
    chosen_score DOUBLE, rejected_score DOUBLE, margin DOUBLE)
"""
_ROWS = """
SELECT (SELECT count(*) FROM responses) + (SELECT count(*) FROM scores)
    + (SELECT count(*) FROM pairs)
"""


class Index:
    """What is known of every response of a run, and how to get at its text."""

    def __init__(self, run: Path) -> None:
        """
        Raises:
            UserError: there are no responses, or a table cannot be read.
        """
        self.run = run.absolute()
        self.tables = responses_of(self.run)
        self.objectives = objectives_of(self.run)
        self.files: list[str] = []
        self._prompts = prompts_of(self.run)
        self._searches = Searches(self.rows)
        try:
            self._connection = _closed(self.run)
            self._fill()
            self._lock()
        except duckdb.Error as error:
            raise UserError(f"{run}: a table of this run cannot be read: {first_line(error)}; "
                            f"`onpolicy inspect {run}` says what to do") from None  # fmt: skip
        self.annotators: list[str] = [
            name
            for (name,) in self.rows("SELECT DISTINCT annotator FROM scores ORDER BY annotator")
        ]
        self.rounds = sorted({table.round for table in self.tables})

    def rows(self, sql: str, values: Any = None) -> list[tuple[Any, ...]]:
        """A query's rows; each call has a cursor of its own, for requests come side by side."""
        return self._connection.cursor().execute(sql, values).fetchall()

    def count(self) -> int:
        """Number of responses."""
        return int(self.rows("SELECT count(*) FROM responses")[0][0])

    def texts(self, rows: list[int], longest: int = _LONGEST_SHOWN) -> dict[int, str]:
        """The texts of some responses, by row; only the parts that hold them are read."""
        if not rows:
            return {}
        places = self.rows(
            "SELECT row, file, response_id FROM responses WHERE row IN (SELECT unnest(?))", [rows]
        )
        files = sorted({self.files[file] for _, file, _ in places})
        read = self.rows(
            "SELECT response_id, filename, text[:?]"
            " FROM read_parquet(?, filename=true, hive_partitioning=false)"
            " WHERE response_id IN (SELECT unnest(?))",
            [longest, files, [name for _, _, name in places]],
        )
        by_name = {(file, name): text for name, file, text in read}
        return {row: by_name.get((self.files[file], name), "") for row, file, name in places}

    def prompts(self, ids: list[str]) -> dict[str, list[dict[str, str]]]:
        """The conversations of some prompts."""
        if not ids or not self._prompts:
            return {}
        return dict(
            self.rows(
                "SELECT prompt_id, messages FROM read_parquet(?, hive_partitioning=false)"
                " WHERE prompt_id IN (SELECT unnest(?))",
                [self._prompts, sorted(set(ids))],
            )
        )

    def search(self, words: str, where: str) -> Search:
        """The responses whose text (or whose prompt's) holds `words`, in any case."""
        if where == "prompts":
            return self._searches.begin(words, where, self._prompts, self._in_prompts)
        return self._searches.begin(words, where, self.files, self._in_responses)

    def _in_responses(self, files: Sequence[str], pattern: str, hits: str) -> None:
        self.rows(
            f"INSERT INTO {hits} SELECT r.row FROM (SELECT filename, file_row_number AS place"  # noqa: S608 - a name of ours
            " FROM read_parquet(?, filename=true, file_row_number=true, hive_partitioning=false)"
            " WHERE text ILIKE ? ESCAPE '\\') AS hit"
            " JOIN files ON files.name = hit.filename"
            " JOIN responses AS r ON r.file = files.file AND r.place = hit.place",
            [files, pattern],
        )

    def _in_prompts(self, files: Sequence[str], pattern: str, hits: str) -> None:
        self.rows(
            f"INSERT INTO {hits} SELECT row FROM responses WHERE prompt_id IN ("  # noqa: S608 - a name of ours
            " SELECT prompt_id FROM read_parquet(?, hive_partitioning=false)"
            " WHERE array_to_string(list_transform(messages, lambda m: m.content), ' ')"
            " ILIKE ? ESCAPE '\\')",
            [files, pattern],
        )

    def _fill(self) -> None:
        for create in (_RESPONSES, _SCORES, _PAIRS):
            self._connection.execute(create)
        for table in self.tables:
            self._add(table)
        self._connection.execute(
            "CREATE TABLE files AS SELECT unnest(?) AS name, unnest(range(?)) AS file",
            [self.files, len(self.files)],
        )

    def _lock(self) -> None:
        """Set the room that requests have, which no query may change. Not before the index is
        made: to count the rows first, every part's footer is read twice, a third of the start."""
        [(rows,)] = self.rows(_ROWS)
        self._connection.execute(f"SET memory_limit = '{_MEMORY + _MEMORY_A_ROW * rows}B'")
        self._connection.execute("SET lock_configuration = true")

    def _add(self, table: Responses) -> None:
        parts = table.parts("responses")
        first = len(self.files)
        self.files += parts
        of = [table.round, table.held_out]
        self._connection.execute(
            "CREATE OR REPLACE TEMP TABLE part_files AS SELECT unnest(?) AS name,"
            " unnest(range(?, ?)) AS file", [parts, first, len(self.files)]
        )  # fmt: skip
        if pairs := table.parts("pairs"):
            self._connection.execute(
                "INSERT INTO pairs SELECT ?, prompt_id, chosen_id, rejected_id, chosen_score,"
                " rejected_score, margin FROM read_parquet(?, hive_partitioning=false)",
                [table.round, pairs],
            )
        self._connection.execute(
            "INSERT INTO responses WITH roles AS ("
            "  SELECT chosen_id AS id, 'chosen' AS role FROM pairs WHERE round = $1 AND NOT $2"
            "  UNION SELECT rejected_id, 'rejected' FROM pairs WHERE round = $1 AND NOT $2),"
            " one AS (SELECT id, min(role) AS role FROM roles GROUP BY id)"
            " SELECT $3 + row_number() OVER () - 1, $1, $2, prompt_id, response_id, n_tokens,"
            " finish_reason, part_files.file, file_row_number, one.role"
            " FROM read_parquet($4, filename=true, file_row_number=true,"
            " hive_partitioning=false) AS r"
            " JOIN part_files ON part_files.name = r.filename"
            " LEFT JOIN one ON one.id = r.response_id",
            {"1": of[0], "2": of[1], "3": self.count(), "4": parts},
        )
        if scores := table.parts("scores"):
            self._connection.execute(
                "INSERT INTO scores SELECT r.row, s.annotator, s.score"
                " FROM read_parquet($1, hive_partitioning=false) AS s"
                " JOIN responses AS r ON r.response_id = s.response_id"
                " AND r.round = $2 AND r.held_out = $3",
                {"1": scores, "2": of[0], "3": of[1]},
            )


def _closed(run: Path) -> duckdb.DuckDBPyConnection:
    """A database in memory that reads below `run` and nothing else, and loads no extension."""
    connection = duckdb.connect(":memory:", config={"threads": 2})
    # Nothing is written or loaded, and nothing is read but the run; `Index._lock` keeps any query
    # from changing that.
    connection.execute("SET temp_directory = ''")
    connection.execute("SET python_enable_replacements = false")
    connection.execute("SET autoinstall_known_extensions = false")
    connection.execute("SET autoload_known_extensions = false")
    connection.execute("SET parquet_metadata_cache = true")
    connection.execute(f"SET allowed_directories = ['{str(run).replace(chr(39), 2 * chr(39))}/']")
    connection.execute("SET enable_external_access = false")
    return connection
