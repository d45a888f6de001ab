"""Fixtures of several unit tests."""

import sys
from pathlib import Path

import pytest
from annotation_steps import REWARDS, write_run


@pytest.fixture
def run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """6 prompts with 3 responses each, and a module of the user's with two reward functions."""
    (tmp_path / "annotation_rewards.py").write_text(REWARDS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "annotation_rewards", raising=False)
    write_run(tmp_path)
    return tmp_path
