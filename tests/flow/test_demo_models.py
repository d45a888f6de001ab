"""The demo's models in the real stages: vLLM samples the policy, ArmoRM tells the samples apart."""

import json
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
from checkout import CHECKOUT

from annotation import score
from annotation.annotators.armorm import ArmoRMConfig
from annotation.annotators.function import FunctionConfig
from annotation.config import ScoreConfig
from contracts.steps.step import claim, run_once
from contracts.tables.parts import read_table
from generation import prompts, sample
from generation.config import PromptsConfig, SampleConfig

pytestmark = pytest.mark.engine

N = 5


@pytest.fixture(scope="module")
def rewards(demo_models: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[float]]:
    """Learned and true reward of five answers to each of 40 prompts, in the same order."""
    folder = tmp_path_factory.mktemp("demo-models")
    source = str(demo_models / "prompts.jsonl")
    policy = str(demo_models / "policy")
    asked, responses = folder / "prompts", folder / "responses"
    run_once(prompts.STAGE, PromptsConfig(path=source, limit=40), {"sources": [source]}, asked)
    sampling = SampleConfig(n=N, temperature=0.8, top_p=1.0, max_tokens=48, max_model_len=512)
    claim(sample.STAGE, sampling, {"prompts": str(asked), "policy": policy}, responses)
    step = [sys.executable, "-m", "generation.sample", str(responses / "_step.json")]
    subprocess.run(step, cwd=CHECKOUT, check=True)
    model = str(demo_models / "reward_model")
    annotators = [
        ArmoRMConfig(name="armorm", path=model),
        FunctionConfig(name="truth", function="demo.rubric:score"),
    ]
    inputs = {"prompts": str(asked), "responses": str(responses), "models": {"armorm": model}}
    run_once(score.STAGE, ScoreConfig(annotators=annotators), inputs, folder / "scores")
    scores = read_table(folder / "scores").sort_by("response_id").to_pylist()
    assert not [row for row in scores if row["error"]]
    return {
        name: [row["score"] for row in scores if row["annotator"] == name]
        for name in ("armorm", "truth")
    }


def test_samples_of_one_prompt_differ_in_quality(rewards: dict[str, list[float]]) -> None:
    true = rewards["truth"]
    groups = [true[first : first + N] for first in range(0, len(true), N)]
    assert len(groups) == 40
    assert statistics.mean(max(group) - min(group) for group in groups) > 0.15
    assert 0.5 < statistics.mean(true) < 0.85  # good enough to learn from, with room above


def test_the_learned_reward_follows_the_true_one(rewards: dict[str, list[float]]) -> None:
    assert statistics.correlation(rewards["armorm"], rewards["truth"]) > 0.88


def test_the_build_says_how_well_the_learned_reward_follows(demo_models: Path) -> None:
    facts = json.loads((demo_models / "_manifest.json").read_text())["facts"]
    assert facts["agreement"] >= 0.9
