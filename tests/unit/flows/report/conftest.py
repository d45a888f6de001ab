"""A run of one round, as a report reads it."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from reported_run import (
    EVIL,
    FORMATTED,
    GAINS,
    PAIR,
    PAIRED,
    RESPONSE,
    SCORE,
    SCORED,
    TOKEN,
    write,
)

from contracts.steps.step import save_step
from contracts.tables.schemas import METRICS, PAIRS, RESPONSES, SCORES, TOKENS


@pytest.fixture
def run(tmp_path: Path) -> Path:
    root = tmp_path / "run"
    round_one = root / "round-1"
    write(round_one / "pairs", PAIRS, PAIR, **PAIRED)
    write(round_one / "responses", RESPONSES, RESPONSE)
    write(round_one / "scores", SCORES, SCORE, annotators={EVIL: SCORED})
    write(round_one / "tokens", TOKENS, TOKEN, **FORMATTED)
    write(round_one / "evaluation" / "scores", SCORES, SCORE)
    write(round_one / "evaluation" / "comparison", SCORES, SCORE, gains={EVIL: GAINS})
    before = {"before_scores": str(root / "round-0" / "evaluation" / "scores")}
    step = {"stage": "x", "version": 1, "identity": {}, "config": {}, "inputs": before}
    save_step(round_one / "evaluation" / "comparison", step)
    (round_one / "policy").mkdir()
    metrics = pa.Table.from_pylist([{"step": 1, "name": "loss", "value": 0.5}], schema=METRICS)
    pq.write_table(metrics, round_one / "policy" / "metrics.parquet")
    (root / "config.yaml").write_text(f"policy: {{path: '{EVIL}'}}\n")
    return root
