"""One round of a run, every table with a single row, as a report reads it."""

from pathlib import Path
from typing import Any

import pyarrow as pa
from made_facts import made_facts

from contracts.steps.manifest import Manifest, Result, write_manifest
from contracts.tables.parts import write_part

EVIL = "<script>alert(1)</script>"


def say(role: str) -> list[dict[str, str]]:
    return [{"role": role, "content": EVIL}]


PAIR: dict[str, Any] = {
    "prompt_id": "p", "prompt": say("user"), "chosen": say("assistant"),
    "rejected": say("assistant"), "chosen_id": "p-0", "rejected_id": "p-1", "chosen_score": 1.0,
    "rejected_score": 0.5, "margin": 0.5, "split": "train",
}  # fmt: skip


RESPONSE: dict[str, Any] = {
    "prompt_id": "p", "response_id": "p-0", "sample": 0, "seed": 1, "text": EVIL, "token_ids": [1],
    "finish_reason": "stop", "n_tokens": 1, "logprob": None, "policy": "x",
}  # fmt: skip


SCORE = {"response_id": "p-0", "prompt_id": "p", "annotator": EVIL, "score": 1.0}


TOKEN = {"prompt_id": "p", "prompt_ids": [1], "chosen_ids": [2], "rejected_ids": [3],
         "chosen_loss_start": 0, "rejected_loss_start": 0}  # fmt: skip


GAIN = {"mean": 0.1, "low": 0.05, "high": 0.2, "confidence": 0.95, "prompts": 12,
        "at_lowest": 0.05, "at_highest": 0.2, "verdict": "better"}  # fmt: skip


SHARES = {name: {"start": 0.0, "before": 0.0, "after": 0.0} for name in ("unscored", "cut")}


GAINS: dict[str, Any] = {"start": 0.1, "before": 0.1, "after": 0.2, "over_start": GAIN,
                         "over_before": GAIN, **SHARES}  # fmt: skip


LENGTHS = {name: {"max": 1234.0} for name in ("prompt", "chosen", "rejected")}


FORMATTED = {"formatted_for": "x", "lengths": LENGTHS, "truncated": 2,
             "retokenized_equal": 0.98765, "differs_from_recipe": None}  # fmt: skip


PAIRED = {"annotator": "x", "prompts": 1, "margin_mean": 0.5, "margin_quantiles": {},
          "chosen_tokens_mean": 40.0, "rejected_tokens_mean": 30.5, "chosen_longer_share": 1.0,
          "length_penalty": 0.00125}  # fmt: skip


SAMPLED = {"requests": 1, "tokens": 1, "truncated": 0, "tokens_per_second": None}


SCORED = {"count": 1, "mean": 1.0, "std": 0.0, "cut": 0, "errors": {}}


def write(folder: Path, schema: pa.Schema, row: dict[str, Any], **facts: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_part(folder, 0, pa.Table.from_pylist([row], schema=schema), schema)
    dropped = {EVIL: 3}
    write_manifest(folder, "stage", Result(1, dropped, made_facts(facts)), Manifest.clock())
