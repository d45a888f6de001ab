"""A config whose models, annotators and functions a check can look at, and the faults it finds."""

import json
from pathlib import Path
from typing import Any

from contracts.config.base import check
from flows.pipeline.checks.check import _inside, quick_faults
from flows.pipeline.checks.look_inside import found
from flows.pipeline.config import RunConfig
from flows.pipeline.folder.run_folder import steps_left

ARMORM = {"kind": "armorm", "name": "armorm", "path": "armorm"}


CLASSIFIER = {"kind": "classifier", "name": "class", "path": "classifier"}


FUNCTION = {"kind": "function", "name": "good", "function": "check_rewards:good"}


def config(*annotators: dict[str, Any], **more: Any) -> RunConfig:
    settings: dict[str, Any] = {
        "name": "test",
        "policy": {"path": "policy"},
        "prompts": {"path": "prompts.jsonl", "test_size": 4},
        "sampling": {"max_tokens": 8},
        "annotation": {"annotators": list(annotators or (ARMORM,))},
        "training": {"resources": {"strategy": "none"}},
        "evaluation": {"sampling": {"max_tokens": 8}, "annotators": [CLASSIFIER, FUNCTION]},
    }
    return check(RunConfig, settings | more, origin="test")


def amiss(*annotators: dict[str, Any], **more: Any) -> str:
    """What is told, quick and slow together."""
    settings = config(*annotators, **more)
    return "\n".join([*quick_faults(settings), *found(_inside(settings, steps_left(settings)))])


def edit(path: Path, **keys: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **keys}))
