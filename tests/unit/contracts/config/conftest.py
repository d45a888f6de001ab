"""Fixtures of the configs' tests."""

from pathlib import Path

import pytest


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    return tmp_path / "run.yaml"
