"""Fixtures of the pipeline's tests."""

from collections.abc import Callable
from pathlib import Path

import pytest
from minimal_run import MINIMAL, config

from flows.pipeline.config import RunConfig


@pytest.fixture
def settings(tmp_path: Path) -> Callable[..., RunConfig]:
    """A run's config in a folder of the test's own."""
    (tmp_path / "prompts.jsonl").write_text("List two fruits.")
    for model in ("policy", "reward"):
        (tmp_path / model).mkdir()
    reward = {"kind": "classifier", "name": "rm", "path": str(tmp_path / "reward")}
    own = {
        "runs_dir": str(tmp_path / "runs"),
        "policy": {"path": str(tmp_path / "policy")},
        "prompts": MINIMAL["prompts"] | {"path": str(tmp_path / "prompts.jsonl")},
        "annotation": {"annotators": [reward]},
    }
    return lambda **changes: config(**(own | changes))
