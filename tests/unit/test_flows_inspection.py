"""`onpolicy inspect`: what it shows of a table, and what it says where it cannot."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from contracts.errors import UserError
from flows.inspection import View, show


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """A table in two parts."""
    folder = tmp_path / "pairs"
    folder.mkdir()
    for number, margins in enumerate(([0.0, -0.5], [0.9])):
        pq.write_table(
            pa.table({"margin": margins, "text": ["x"] * len(margins)}),
            folder / f"part-{number:05d}.parquet",
        )
    return folder


def margins(path: Path, capsys: pytest.CaptureFixture[str], **view: str | int) -> list[float]:
    show(path, View(**view))  # type: ignore[arg-type]
    lines = capsys.readouterr().out.splitlines()
    return [float(line.split(": ")[1]) for line in lines if line.startswith("  margin: ")]


def test_rows_are_filtered_and_sorted_over_all_parts_of_a_table(
    pairs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert margins(pairs, capsys, sort="-margin") == [0.9, 0.0, -0.5]
    assert margins(pairs, capsys, sort="text, margin DESC", rows=1) == [0.9]
    assert margins(pairs, capsys, where="margin > -0.1", sort="margin") == [0.0, 0.9]


def test_one_file_is_filtered_and_sorted_like_a_table(
    pairs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    part = pairs / "part-00000.parquet"
    assert margins(part, capsys, sort="margin") == [-0.5, 0.0]
    assert margins(part, capsys, where="margin < 0") == [-0.5]


@pytest.mark.parametrize(
    ("view", "said"),
    [
        (View(where="widht > 1"), '--where: Binder Error: Referenced column "widht" not found'),
        (View(where=""), "--where: "),
        (View(where="margin > 0", sort="-widht"), "--sort: Binder Error: Referenced column "),
        (View(sort=""), "--sort: "),
        (View(where="CAST(text AS int) > 1"), "--where: Conversion Error: "),
    ],
)
def test_an_expression_that_is_wrong_is_named_by_its_option(
    pairs: Path, view: View, said: str
) -> None:
    with pytest.raises(UserError) as refused:
        show(pairs, view)
    assert str(refused.value).startswith(said)
    assert str(refused.value).endswith("; columns: margin, text")
