"""A training run's metrics: a line a step while it runs, a METRICS table at its end."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from contracts.tables.parts import conform, write_atomic
from contracts.tables.schemas import METRICS

FILE = "metrics.jsonl"


class MetricsLog:
    """Appends one JSON line a step: `{"step": 1, "loss": 0.69, ...}`."""

    def __init__(self, folder: Path, done: int) -> None:
        """Keep the first `done` steps of an earlier process; its later lines are made again."""
        self._path = folder / FILE
        self.before = _lines(self._path)
        """The lines of all steps that an earlier process took."""
        # Steps after the checkpoint are taken again: their lines would be there twice.
        write_atomic(self._path, "".join(self.before[:done]).encode())
        self._file = self._path.open("a", encoding="utf-8")

    def add(self, step: int, values: dict[str, float]) -> None:
        """The metrics of a step, counted from 1."""
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        self._file.flush()

    def write_table(self, path: Path) -> dict[str, float]:
        """Write every step's metrics as a METRICS table; the last step's."""
        self._file.close()
        rows = [json.loads(line) for line in _lines(self._path)]
        table = pa.Table.from_pylist(
            [
                {"step": row["step"], "name": name, "value": value}
                for row in rows
                for name, value in row.items()
                if name != "step"
            ],
            schema=METRICS,
        )
        sink = pa.BufferOutputStream()
        pq.write_table(conform(table, METRICS, str(path)), sink, compression="zstd")
        write_atomic(path, sink.getvalue())
        return {name: value for name, value in rows[-1].items() if name != "step"}


def _lines(path: Path) -> list[str]:
    """The whole lines of a file; a torn last one is left out."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [line for line in lines if line.endswith("\n")]
