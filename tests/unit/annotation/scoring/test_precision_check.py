"""How scores in bfloat16 agree with float32's, and that it is told without changing them."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from transformers import LlamaConfig

from annotation import score
from annotation.armorm.model import ArmoRM
from annotation.config import ScoreConfig
from annotation.scoring import part_scorer, precision_check
from annotation.scoring.precision_check import agreement_of
from contracts.steps.manifest import Manifest, Result, read_manifest, write_manifest
from contracts.steps.step import run_once
from contracts.tables.parts import read_table, write_part
from contracts.tables.schemas import PROMPTS, RESPONSES, SCORES

PROMPT_COUNT, SAMPLES = 12, 4


def scores(values: dict[str, float | None]) -> pa.Table:
    rows = [
        {"response_id": key, "prompt_id": key.partition("-")[0], "annotator": "a", "score": value}
        for key, value in values.items()
    ]
    return pa.Table.from_pylist(rows, SCORES)


def test_agreement_by_hand():
    exact = {"p-0": 1.0, "p-1": 2.0, "p-2": 3.0, "q-0": 4.0, "q-1": 5.0, "r-0": 9.0, "r-1": None}
    rough = {"q-1": 4.5, "q-0": 5.5, "p-2": 3.0, "p-1": 1.0, "p-0": 1.5, "r-0": 9.0, "r-1": 2.0}
    found = agreement_of(scores(rough), scores(exact))
    assert (found.prompts, found.responses) == (3, 6)
    assert found.mean_absolute_difference == pytest.approx((0.5 + 1 + 1.5 + 0.5) / 6)
    assert found.flipped_pairs == 1.0  # p's worst and q's both; r has one response
    # Ranks 1..6 against 2, 1, 3, 5, 4, 6: 1 - 6 * 4 / (6 * 35).
    assert found.rank_correlation == pytest.approx(1 - 24 / 210)
    again = agreement_of(scores(exact), scores(exact))
    assert (again.flipped_pairs, again.mean_absolute_difference) == (0.0, 0.0)
    assert again.rank_correlation == pytest.approx(1.0)


def test_equal_scores_share_their_rank():
    rough = scores({"p-0": 1.0, "p-1": 1.0, "p-2": 2.0})
    exact = scores({"p-0": 1.0, "p-1": 2.0, "p-2": 3.0})
    assert agreement_of(rough, exact).rank_correlation == pytest.approx(np.sqrt(3) / 2)


def test_nothing_in_common_says_nothing():
    found = agreement_of(scores({"p-0": 1.0}), scores({"p-0": None}))
    assert found.responses == 0
    assert found.rank_correlation is found.flipped_pairs is None
    assert found.mean_absolute_difference is None


@pytest.fixture(scope="module")
def inputs(tmp_path_factory, tiny_llama_tokenizer) -> dict[str, str]:
    """A small random ArmoRM, prompts in two parts and their responses in three."""
    root: Path = tmp_path_factory.mktemp("run")
    tiny_llama_tokenizer.save_pretrained(root / "model")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tiny_llama_tokenizer), hidden_size=64, intermediate_size=96,
        num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        pad_token_id=tiny_llama_tokenizer.pad_token_id, initializer_range=0.2, gating_hidden_dim=16,
    )  # fmt: skip
    ArmoRM(config).save_pretrained(root / "model")
    prompts = [
        {"prompt_id": f"p{i}", "source": "test", "split": "train",
         "messages": [{"role": "user", "content": f"Question {i}"}]}
        for i in range(PROMPT_COUNT)
    ]  # fmt: skip
    responses = [
        {"prompt_id": f"p{i}", "response_id": f"p{i}-{n}", "sample": n, "seed": n,
         "text": f"Answer {n * i} " + "and more " * n, "token_ids": [1], "finish_reason": "stop",
         "n_tokens": 1, "logprob": None, "policy": "x"}
        for i in range(PROMPT_COUNT) for n in range(SAMPLES)
    ]  # fmt: skip
    tables = (("prompts", prompts, PROMPTS, 2), ("responses", responses, RESPONSES, 3))
    for name, rows, schema, parts in tables:
        (root / name).mkdir()
        size = len(rows) // parts
        for part in range(parts):
            table = pa.Table.from_pylist(rows[part * size : (part + 1) * size], schema)
            write_part(root / name, part, table, schema)
        write_manifest(root / name, "test", Result(len(rows)), Manifest.clock())
    return {name: str(root / name) for name in ("prompts", "responses")} | {
        "models": {"armo": str(root / "model")}
    }


def scored(inputs: dict[str, str], out: Path, dtype: str, prompts: int) -> dict:
    """The annotator's facts."""
    config = ScoreConfig.model_validate(
        {
            "annotators": [{"kind": "armorm", "name": "armo", "path": "it", "dtype": dtype}],
            "resources": {"device": "cpu", "agreement_prompts": prompts},
        }
    )
    return run_once(score.STAGE, config, inputs, out).facts["annotators"]["armo"]


def test_bfloat16_scores_are_compared_with_float32s(inputs, tmp_path):
    facts = scored(inputs, tmp_path / "rough", "bfloat16", 1000)["agreement"]
    scored(inputs, tmp_path / "exact", "float32", 1000)
    rough, exact = (
        {row["response_id"]: row["score"] for row in read_table(tmp_path / name).to_pylist()}
        for name in ("rough", "exact")
    )
    apart = [abs(rough[key] - exact[key]) for key in exact]
    assert (facts["prompts"], facts["responses"]) == (PROMPT_COUNT, PROMPT_COUNT * SAMPLES)
    assert facts["mean_absolute_difference"] == pytest.approx(np.mean(apart)) != 0.0
    assert 0.9 < facts["rank_correlation"] < 1.0


def test_a_sample_is_the_same_each_time_and_changes_no_score(inputs, tmp_path):
    found = [scored(inputs, tmp_path / str(n), "bfloat16", 5)["agreement"] for n in range(2)]
    assert found[0] == found[1]
    assert (found[0]["prompts"], found[0]["responses"]) == (5, 5 * SAMPLES)
    assert scored(inputs, tmp_path / "none", "bfloat16", 0)["agreement"] is None
    made = [read_manifest(tmp_path / name) for name in ("0", "none")]
    assert made[0] and made[1] and made[0].files == made[1].files


def test_float32_is_compared_with_nothing(inputs, tmp_path):
    assert scored(inputs, tmp_path / "exact", "float32", 5)["agreement"] is None


def test_a_model_that_does_not_fit_in_float32_loses_no_scores(inputs, tmp_path, monkeypatch):
    scored(inputs, tmp_path / "rough", "bfloat16", 0)
    open_scorer = part_scorer.open_scorer

    def full(annotator, *others):
        if annotator.dtype == "float32":
            raise torch.OutOfMemoryError("CUDA out of memory")
        return open_scorer(annotator, *others)

    monkeypatch.setattr(precision_check, "open_scorer", full)
    found = scored(inputs, tmp_path / "full", "bfloat16", 5)
    assert found["count"] == PROMPT_COUNT * SAMPLES
    assert found["agreement"]["prompts"] == 0 and "not fit" in found["agreement"]["reason"]
