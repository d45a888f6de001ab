"""Every hand-written config parses, and says where its numbers are from."""

from pathlib import Path

import pytest
from checkout import CHECKOUT

from contracts.config.base import load_config
from flows.pipeline.config import RunConfig
from flows.pipeline.folder.claimed import with_keys
from flows.pipeline.planning.plan import plan

CONFIGS = sorted((CHECKOUT / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_parses_and_plans(path: Path) -> None:
    config = load_config(RunConfig, path)
    assert config.name == path.stem
    assert plan(config)


def test_the_gemma_config_holds_the_recipes_numbers() -> None:
    config = load_config(RunConfig, CONFIGS[0].with_name("gemma2-9b-it-simpo.yaml"))
    loss, training = config.training.loss, config.training
    assert (loss.beta, loss.gamma_beta_ratio) == (10, 0.5)
    assert (training.learning_rate, training.global_batch, training.epochs) == (8e-7, 128, 1)
    assert (config.sampling.n, config.sampling.temperature, config.sampling.top_p) == (5, 0.8, 0.95)
    assert config.sampling.max_tokens == 4096
    assert (config.format.max_length, config.format.max_prompt_length) == (2048, 1800)


@pytest.mark.parametrize("key", [None, "a key"])
def test_the_gemma_config_answers_the_papers_benchmarks_and_has_them_judged_where_a_key_is(
    key: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    if key:
        monkeypatch.setenv("OPENAI_API_KEY", key)
    config = with_keys(load_config(RunConfig, CONFIGS[0].with_name("gemma2-9b-it-simpo.yaml")))
    papers = ["alpaca_eval", "arena_hard", "mt_bench"]
    assert [one.label for one in config.evaluation.benchmarks] == [*papers, "gsm8k"]
    assert {one.preset for one in config.evaluation.benchmarks} == {"recipe"}
    steps = {step.path for step in plan(config)}
    for evaluated in ("round-0/evaluation", "round-1/evaluation"):
        assert f"{evaluated}/answers" in steps
        for benchmark in papers:
            assert (f"{evaluated}/judgements/gpt-4.1/{benchmark}" in steps) == bool(key)
        assert (f"{evaluated}/win_rates" in steps) == bool(key)


# beta, gamma_beta_ratio, SimPO's and DPO's learning rate (recipe, section 2).
PUBLISHED = {
    "mistral-7b-base": (2.0, 0.8, 3e-7, 5e-7),
    "mistral-7b-instruct": (2.5, 0.1, 5e-7, 5e-7),
    "llama3-8b-base": (2.0, 0.5, 6e-7, 5e-7),
    "llama3-8b-instruct": (2.5, 0.55, 1e-6, 7e-7),
    "llama3-8b-instruct-v0.2": (10, 0.3, 1e-6, 3e-7),
    "gemma2-9b-it": (10, 0.5, 8e-7, 5e-7),
}


@pytest.mark.parametrize("setting", PUBLISHED)
def test_every_published_setting_has_its_numbers(setting: str) -> None:
    beta, ratio, simpo_rate, dpo_rate = PUBLISHED[setting]
    folder = CONFIGS[0].parent
    simpo, dpo = (
        load_config(RunConfig, folder / f"{setting}-{method}.yaml") for method in ("simpo", "dpo")
    )
    loss = simpo.training.loss
    assert (loss.kind, loss.beta, loss.gamma_beta_ratio) == ("simpo", beta, ratio)
    assert (dpo.training.loss.kind, dpo.training.loss.beta) == ("dpo", 0.01)
    assert (simpo.training.learning_rate, dpo.training.learning_rate) == (simpo_rate, dpo_rate)
    assert simpo.policy == dpo.policy
    assert {simpo.training.global_batch, dpo.training.global_batch} == {128}
