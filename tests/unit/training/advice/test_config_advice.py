"""What is said of a config before it runs, and of a run that is going wrong."""

from typing import Any

import pytest

from training.advice.config_advice import advice, unadvised
from training.config import FormatConfig, LoraConfig, TrainConfig
from training.losses.reference_free.sft import SFTConfig
from training.losses.reference_free.simpo import SimPOConfig
from training.losses.with_reference.dpo import DPOConfig


def said(**changes: Any) -> str:
    return "\n".join(advice(TrainConfig(**changes)))


def test_the_published_defaults_need_no_advice() -> None:
    assert advice(TrainConfig(), FormatConfig()) == []
    assert advice(TrainConfig(loss=DPOConfig(), learning_rate=5e-7)) == []


@pytest.mark.parametrize(("changes", "message"), [
    ({"learning_rate": 2e-6}, "learning_rate 2e-06 is above every published setting"),
    ({"learning_rate": 1e-5}, "one of supervised fine-tuning"),
    ({"global_batch": 256}, "took AlpacaEval LC from 50.3 to 39.2"),
    ({"loss": SimPOConfig(beta=10, gamma_beta_ratio=5)}, "simpo_gamma, write 0.5"),
    ({"loss": SimPOConfig(beta=0.1)}, "loss.beta 0.1 is low for SimPO"),
    ({"loss": SimPOConfig(sft_weight=1)}, "keeps reasoning, and costs chat quality"),
    ({"loss": SimPOConfig(beta=30)}, "loss.beta 30 is above every published setting"),
    ({"lora": LoraConfig()}, "with LoRA is one of full tuning"),
    ({"lora": LoraConfig(), "learning_rate": 2e-4}, "with LoRA is one of supervised fine-tuning"),
    ({"loss": DPOConfig(beta=2.5)}, "loss.beta 2.5 with dpo: it scales summed log-probs"),
])  # fmt: skip
def test_a_setting_that_others_had_trouble_with_is_named_with_its_reason(
    changes: dict[str, Any], message: str
) -> None:
    assert message in said(**changes)


def test_published_rates_say_nothing_of_a_tiny_model() -> None:
    tiny = TrainConfig(learning_rate=3e-4, global_batch=16)
    assert len(advice(tiny)) == 2
    assert advice(tiny, parameters=4e5) == []
    assert unadvised(tiny, None) is None
    said = unadvised(tiny, parameters=4e5)
    assert said and "are not judged" in said and "a policy of 400,000 parameters" in said


def test_published_rates_say_nothing_of_supervised_fine_tuning() -> None:
    assert advice(TrainConfig(loss=SFTConfig(), learning_rate=2e-5)) == []


def test_adapters_at_their_own_rate_need_no_advice() -> None:
    assert advice(TrainConfig(lora=LoraConfig(), learning_rate=5e-6)) == []


def test_the_recipes_truncation_says_what_it_leaves() -> None:
    (message,) = advice(TrainConfig(), FormatConfig(truncation="recipe"))
    assert "to 248 tokens" in message
