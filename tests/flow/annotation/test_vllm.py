"""ArmoRM in a real vLLM, each time in a process of its own, against our own batches."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from checkout import CHECKOUT
from made_facts import made_facts
from safetensors.torch import load_file, save_file
from tiny_armorm import write_armorm

from annotation import score
from annotation.config import ScoreConfig
from contracts.steps.manifest import Manifest, Result, read_manifest, write_manifest
from contracts.steps.step import claim, run_once
from contracts.tables.parts import part_path, read_table, write_part
from contracts.tables.schemas import PROMPTS, RESPONSES

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TOLERANCE = {"cpu": 1e-5, "cuda": 1e-3}[DEVICE]
PARTS, PROMPTS_A_PART, SAMPLES = 3, 4, 5


ONE_ROW = Result(1, facts=made_facts({"policy": "x"}))


@pytest.fixture(scope="module")
def reward_model(tmp_path_factory, tiny_llama_tokenizer) -> Path:
    """A small random ArmoRM with heads of the width that vLLM's CPU attention takes."""
    path = tmp_path_factory.mktemp("armorm")
    shape = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32}
    model = write_armorm(path, tiny_llama_tokenizer, max_position_embeddings=512, **shape)
    torch.nn.init.normal_(model.reward_transform_matrix, std=0.3)
    torch.nn.init.constant_(model.gating.logit_scale, 1.3)
    model.save_pretrained(path)
    settings = json.loads((path / "config.json").read_text())
    settings["architectures"] = ["LlamaForRewardModelWithGating"]  # as it is published
    settings["auto_map"] = {"AutoModelForSequenceClassification": "modeling_custom.Refused"}
    (path / "config.json").write_text(json.dumps(settings))
    return path


@pytest.fixture(scope="module")
def inputs(tmp_path_factory, reward_model) -> dict[str, str]:
    """Prompts of one to many KV blocks, each with several responses; one does not fit."""
    root = tmp_path_factory.mktemp("run")
    for part in range(PARTS):
        prompts, responses = [], []
        for number in range(part * PROMPTS_A_PART, (part + 1) * PROMPTS_A_PART):
            text = f"Question {number}: " + "what is red, blue or green? " * number
            message = {"role": "user", "content": text}
            own = {"prompt_id": f"p{number}", "source": "made here", "split": "train"}
            prompts.append({**own, "messages": [message]})
            responses += [response(number, sample) for sample in range(SAMPLES)]
        for name, rows, schema in (
            ("prompts", prompts, PROMPTS),
            ("responses", responses, RESPONSES),
        ):
            (root / name).mkdir(exist_ok=True)
            write_part(root / name, part, pa.Table.from_pylist(rows, schema), schema)
    for name in ("prompts", "responses"):
        write_manifest(
            root / name, "test", Result(1, facts=made_facts({"policy": "x"})), Manifest.clock()
        )
    return {
        "prompts": str(root / "prompts"),
        "responses": str(root / "responses"),
        "models": {"armo": str(reward_model)},
    }


def response(number: int, sample: int) -> dict:
    words = 600 if (number, sample) == (1, 2) else 3 + 4 * sample + number
    return {
        "prompt_id": f"p{number}", "response_id": f"p{number}-{sample}", "sample": sample,
        "seed": sample, "text": f"Answer {sample}" + " red" * words, "token_ids": [1],
        "finish_reason": "stop", "n_tokens": 1, "logprob": None, "policy": "x",
    }  # fmt: skip


def config_of(reward_model: Path, **annotator: object) -> ScoreConfig:
    armorm = {"kind": "armorm", "name": "armo", "path": str(reward_model), "max_length": 512}
    armorm |= {"dtype": "float32", **annotator}
    # The device that vLLM was built for.
    return ScoreConfig.model_validate({"annotators": [armorm], "resources": {"batch_tokens": 700}})


def run_in_a_process(config: ScoreConfig, inputs, out: Path) -> subprocess.CompletedProcess:
    out.mkdir(exist_ok=True)
    claim(score.STAGE, config, inputs, out)
    return subprocess.run(
        [sys.executable, "-m", "annotation.score", str(out / "_step.json")],
        cwd=CHECKOUT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        env={k: v for k, v in os.environ.items() if k != "ONPOLICY_PARENT"},
    )  # fmt: skip


@pytest.fixture(scope="module")
def scored(tmp_path_factory, inputs, reward_model) -> Path:
    out = tmp_path_factory.mktemp("vllm") / "scores"
    process = run_in_a_process(config_of(reward_model, engine="vllm"), inputs, out)
    assert process.returncode == 0, process.stderr
    return out


@pytest.mark.engine
def test_vllm_gives_the_native_scores(scored, inputs, reward_model, tmp_path):
    run_once(score.STAGE, config_of(reward_model), inputs, tmp_path / "native")
    got, want = (read_table(folder).to_pylist() for folder in (scored, tmp_path / "native"))
    assert [row["response_id"] for row in got] == [row["response_id"] for row in want]
    for row, native in zip(got, want, strict=True):
        assert row["error"] == native["error"]
        for name in ("score", "objectives", "gating"):
            assert row[name] == (native[name] and pytest.approx(native[name], abs=TOLERANCE))
    scores = [row["score"] for row in want if row["score"] is not None]
    assert len({round(value, 4) for value in scores}) > len(scores) // 2  # it can fail
    facts = read_manifest(scored).facts["annotators"]["armo"]
    assert facts["errors"] == {"too_long": 1}
    assert (facts["engine"], facts["dtype"], facts["device"]) == ("vllm", "torch.float32", DEVICE)


@pytest.mark.engine
def test_a_resumed_run_gives_the_same_bytes(scored, inputs, reward_model, tmp_path):
    out = tmp_path / "scores"
    shutil.copytree(scored, out)
    (out / "_manifest.json").unlink()
    for part in (0, 2):
        part_path(out, part).unlink()
    config = config_of(reward_model, engine="vllm")
    assert run_in_a_process(config, inputs, out).returncode == 0
    assert read_manifest(out).files == read_manifest(scored).files


@pytest.mark.engine
def test_a_model_without_its_heads_is_refused(inputs, reward_model, tmp_path):
    headless = tmp_path / "headless"
    shutil.copytree(reward_model, headless)
    weights = load_file(headless / "model.safetensors")
    del weights["gating.layers.1.weight"]
    save_file(weights, headless / "model.safetensors", metadata={"format": "pt"})
    config = config_of(headless, engine="vllm")
    process = run_in_a_process(
        config, {**inputs, "models": {"armo": str(headless)}}, tmp_path / "out"
    )
    assert process.returncode == 2
    assert "its reward heads are missing" in process.stderr
    assert "gating.layers.1.weight" in process.stderr
