"""The smallest config of a run; nothing that it names is looked at."""

from typing import Any

from contracts.config.base import check
from flows.pipeline.config import RunConfig

MINIMAL: dict[str, Any] = {
    "name": "test",
    "rounds": 2,
    "policy": {"path": "owner/policy", "revision": "abc"},
    "prompts": {"path": "prompts.jsonl", "test_size": 4},
    "prompts_per_round": 10,
    "sampling": {"n": 4},
    "annotation": {"annotators": [{"kind": "armorm", "name": "rm", "path": "owner/reward"}]},
    "training": {},
    "evaluation": {"sampling": {"n": 1, "temperature": 0}},
}


def config(**changes: Any) -> RunConfig:
    return check(RunConfig, MINIMAL | changes, origin="test")
