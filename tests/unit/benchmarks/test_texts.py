"""The training benchmarks run wherever a GPU is, beside the public rows or without them."""

from pathlib import Path

import pytest

from benchmarks.gpu_check import FIGURES
from benchmarks.support import texts
from benchmarks.support.shapes import tiny_gemma
from benchmarks.support.training_rows import MAX_LENGTH, prepare, read_rows


@pytest.fixture
def no_public_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "SOURCE", tmp_path / "not here.jsonl")


def asked_for() -> int:
    """The most pairs that a step of `make gpu-check` trains on."""
    given = [dict(part[2:].split("=") for part in step.command if "=" in part) for step in FIGURES]
    return max((int(one["steps"]) + 1) * int(one["batch"]) for one in given if "batch" in one)


def test_without_the_public_rows_random_texts_of_their_lengths_are_trained_on(
    tmp_path: Path, no_public_rows: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert texts.source_of_texts() == "recorded UltraFeedback lengths"
    monkeypatch.setattr(texts, "_ROWS", 30)
    prepare(tmp_path, tiny_gemma(hidden=128, layers=1), 12)
    rows = read_rows(tmp_path)
    assert len(rows) == 12 and all(row["chosen"] != row["rejected"] for row in rows)
    letters = sum(len(row[name]) for row in rows for name in texts.FIELDS)
    tokens = sum(len(row[f"{name}_ids"]) for row in rows for name in texts.FIELDS)
    assert 3 < letters / tokens < 6  # as real texts


def test_enough_random_rows_are_short_enough_for_every_step_of_a_gpu_check() -> None:
    def longest(row: texts.Row) -> int:
        return len(row["prompt"]) + max(len(row["chosen"]), len(row["rejected"]))

    assert sum(longest(row) < 3 * MAX_LENGTH for row in texts.random_rows()) > asked_for()


def test_random_rows_are_the_same_ones_whenever_they_are_drawn() -> None:
    first = texts.random_rows()
    assert first == texts.random_rows() and len({row["prompt"] for row in first}) > 990
