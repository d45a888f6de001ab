"""Two files of thirty answers, for the judging stage's tests."""

from pathlib import Path

import pytest
from judging_files import write_outputs


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    asked = [f"question {n}" for n in range(30)]
    mine = {text: f"mine {text}" for text in asked}
    base = {text: f"base {text}" for text in asked}
    return {
        "answers": str(write_outputs(tmp_path / "mine.json", mine, "mine")),
        "baseline": str(write_outputs(tmp_path / "base.json", base, "base")),
    }
