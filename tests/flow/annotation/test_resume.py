"""Scoring as a process of its own: killed at several moments, it ends with the same tables."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pytest
from checkout import CHECKOUT
from made_facts import made_facts
from tiny_armorm import write_armorm

from annotation import pairs, score
from annotation.config import PairsConfig, ScoreConfig
from contracts.steps.manifest import Manifest, Result, read_manifest, write_manifest
from contracts.steps.step import claim, run_once
from contracts.tables.parts import part_paths, read_table, write_part
from contracts.tables.schemas import PROMPTS, RESPONSES

PART = 20


@pytest.fixture(scope="module")
def reward_model(tmp_path_factory, tiny_llama_tokenizer) -> Path:
    """A small random ArmoRM."""
    path = tmp_path_factory.mktemp("armorm")
    write_armorm(path, tiny_llama_tokenizer)
    return path


@pytest.fixture(scope="module")
def inputs(tmp_path_factory, reward_model, shared_data) -> dict[str, str]:
    """Real UltraFeedback prompts and both their answers, as a run's tables."""
    root = tmp_path_factory.mktemp("run")
    lines = (shared_data / "ultrafeedback" / "train_1000.jsonl").read_text().splitlines()
    rows = {row["prompt"]: row for row in map(json.loads, lines)}
    rows = [row for row in rows.values() if row["prompt"].strip()]
    prompts = [
        {
            "prompt_id": f"p{i:04}",
            "messages": [{"role": "user", "content": row["prompt"]}],
            "source": "ultrafeedback",
            "split": "train",
        }
        for i, row in enumerate(rows)
    ]
    responses = [
        {
            "prompt_id": f"p{i:04}",
            "response_id": f"p{i:04}-{sample}",
            "sample": sample,
            "seed": sample,
            "text": row[name] if isinstance(row[name], str) else row[name][-1]["content"],
            "token_ids": [1],
            "finish_reason": "stop",
            "n_tokens": 1,
            "logprob": None,
            "policy": "real answers",
        }
        for i, row in enumerate(rows)
        for sample, name in enumerate(("chosen", "rejected"))
    ]
    for name, table, schema in (("prompts", prompts, PROMPTS), ("responses", responses, RESPONSES)):
        folder = root / name
        folder.mkdir()
        step = len(table) // PART
        for part in range(PART):
            end = None if part == PART - 1 else (part + 1) * step
            chunk = pa.Table.from_pylist(table[part * step : end], schema)
            write_part(folder, part, chunk, schema)
        finished = Result(rows=len(table), facts=made_facts({"policy": "real answers"}))
        write_manifest(folder, "test", finished, Manifest.clock())
    return {
        "prompts": str(root / "prompts"),
        "responses": str(root / "responses"),
        "models": {"armo": str(reward_model)},
    }


def config_of(reward_model: Path) -> ScoreConfig:
    armorm = {"kind": "armorm", "name": "armo", "path": str(reward_model), "max_length": 512}
    return ScoreConfig.model_validate(
        {"annotators": [armorm], "resources": {"device": "cpu", "batch_tokens": 2048}}
    )


@pytest.mark.engine
def test_a_step_killed_again_and_again_ends_with_the_same_bytes(inputs, reward_model, tmp_path):
    config = config_of(reward_model)
    whole = run_once(score.STAGE, config, inputs, tmp_path / "whole")
    out = tmp_path / "killed"
    claim(score.STAGE, config, inputs, out)
    kills = 0
    for wanted in (1, 10):
        process = start(out)
        while process.poll() is None and len(part_paths(out)) < wanted:
            time.sleep(0.01)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            kills += 1
        process.wait()
    assert kills == 2
    assert read_manifest(out) is None
    assert start(out).wait() == 0
    again = read_manifest(out)
    assert (again.files, again.facts, again.rows) == (whole.files, whole.facts, whole.rows)


def start(out: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "annotation.score", str(out / "_step.json")],
        cwd=CHECKOUT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env={k: v for k, v in os.environ.items() if k != "ONPOLICY_PARENT"},
        start_new_session=True,
    )


@pytest.mark.engine
def test_real_rows_are_all_scored_paired_or_counted(inputs, reward_model, tmp_path):
    scored = run_once(score.STAGE, config_of(reward_model), inputs, tmp_path / "scores")
    rows = read_table(tmp_path / "scores").to_pylist()
    assert all((row["score"] is None) == (row["error"] is not None) for row in rows)
    errors = scored.facts["annotators"]["armo"]["errors"]
    assert errors.keys() <= {"too_long", "special_token_in_text", "empty_response"}
    assert errors["too_long"] > 0
    assert sum(errors.values()) == sum(row["error"] is not None for row in rows)
    paired = run_once(
        pairs.STAGE,
        PairsConfig(),
        {
            "prompts": inputs["prompts"],
            "responses": inputs["responses"],
            "scores": str(tmp_path / "scores"),
        },
        tmp_path / "pairs",
    )
    count = read_manifest(Path(inputs["prompts"])).rows
    assert paired.rows + sum(paired.dropped.values()) == count
    table = read_table(tmp_path / "pairs").to_pylist()
    assert len(table) == paired.rows
    assert all(row["chosen_score"] > row["rejected_score"] for row in table)
    assert all(row["chosen"] != row["rejected"] for row in table)
    assert 1 <= paired.dropped["identical_texts"] <= 5
