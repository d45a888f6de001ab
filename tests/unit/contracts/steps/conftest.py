"""Fixtures of the steps' tests."""

from pathlib import Path

import pytest
from workshop import Workshop


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    source = tmp_path / "prompts.jsonl"
    source.write_text("one")
    return Workshop(source, tmp_path / "out")
