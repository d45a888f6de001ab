"""A stage's process imports what it uses."""

import subprocess
import sys

STAGE = """
import sys
from runtime.lean_imports import spare_pandas
spare_pandas()
import pyarrow, pyarrow.parquet
table = pyarrow.Table.from_pylist([{"a": 1, "b": [1.5]}])
assert table["a"].to_pylist() == [pyarrow.scalar(1).as_py()]
print("pandas" in sys.modules)
import pandas
print(pyarrow.Table.from_pandas(pandas.DataFrame({"a": [1]})).to_pylist())
"""


def test_pyarrow_converts_values_without_pandas_and_pandas_tables_with_it() -> None:
    output = subprocess.check_output([sys.executable, "-c", STAGE], text=True)
    assert output.split("\n")[:2] == ["False", "[{'a': 1}]"]
