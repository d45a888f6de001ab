"""Every hand-written config parses, and says where its numbers are from."""

from pathlib import Path

import pytest

from contracts.config import load_config
from flows.config import RunConfig
from flows.plan import plan

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))


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
