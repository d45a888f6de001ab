"""What a training process is told: a JSON file beside its output."""

import json
from pathlib import Path
from typing import Any

from contracts.config.base import Config
from contracts.tables.parts import write_atomic


def write_job(
    path: Path,
    config: Config,
    tokens: Path,
    policy: str,
    out: Path,
    reference: Path | None = None,
    **more: Any,
) -> Path:
    """Write what the workers read, and return its path; folders are absolute in it, for the
    workers of another machine may start elsewhere.

    Args:
        tokens: folder of the pairs' ids.
        policy: model to load, a folder or a hub id.
        reference: folder of the reference's log-probs.
        more: what one kind of worker reads beside these.
    """
    job = {
        "config": config.model_dump(mode="json"),
        "tokens": str(tokens.resolve()),
        "policy": policy,
        "reference": str(reference.resolve()) if reference else None,
        "out": str(out.resolve()),
        **more,
    }
    write_atomic(path, json.dumps(job).encode())
    return path
