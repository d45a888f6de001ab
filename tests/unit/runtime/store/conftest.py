"""Stores of the tests: a folder, and a real S3 server."""

from pathlib import Path

import pytest


@pytest.fixture(params=["file", "s3"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty store: each test holds for a shared folder and for a bucket."""
    if request.param == "s3":
        return f"{request.getfixturevalue('s3').bucket}/prefix"
    (tmp_path / "store").mkdir()
    return f"file://{tmp_path}/store"
