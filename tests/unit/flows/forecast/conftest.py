"""Runs whose files say no more than a forecast reads."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from minimal_run import MINIMAL, config

from benchmarks.support.shapes import PUBLISHED
from flows.pipeline.config import RunConfig


@pytest.fixture
def runs_with(tmp_path: Path) -> Callable[..., Callable[..., RunConfig]]:
    """Configs of runs over 30 prompts of which 4 are held out, 10 a round, by the `config.json` of
    their policy."""

    def with_policy(policy: dict[str, Any], **given: Any) -> Callable[..., RunConfig]:
        lines = [json.dumps({"prompt": f"Say {number}."}) for number in range(30)]
        (tmp_path / "prompts.jsonl").write_text("\n".join(lines))
        for model, sizes in (("policy", policy), ("reward", {})):
            (tmp_path / model).mkdir()
            (tmp_path / model / "config.json").write_text(json.dumps(sizes))
            (tmp_path / model / "model.safetensors").touch()
        reward = {"kind": "classifier", "name": "rm", "path": str(tmp_path / "reward")}
        own = {
            "runs_dir": str(tmp_path / "runs"), "policy": {"path": str(tmp_path / "policy")},
            "prompts": MINIMAL["prompts"] | {"path": str(tmp_path / "prompts.jsonl")},
            "annotation": {"annotators": [reward]}, "date": "2026-01-01", **given,
        }  # fmt: skip
        return lambda **changes: config(**(own | changes))

    return with_policy


@pytest.fixture
def settings(runs_with: Callable[..., Callable[..., RunConfig]]) -> Callable[..., RunConfig]:
    """Configs of runs whose policy has Gemma-2-9B's sizes."""
    return runs_with(PUBLISHED["gemma-2-9b"].settings)
