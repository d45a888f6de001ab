"""Another global batch: what else changes. LoRA: rank, alpha and rate by the model's shape."""

import pytest

from contracts.errors import UserError
from training.advice.batch_scaling import rescale, steps
from training.advice.lora import Shape, lora_advice, shape_of
from training.config import LoraConfig, TrainConfig

GEMMA_9B = Shape(42, 3584, 14336, 4096, 2048, 256_000, tied=True)
GEMMA_2B = Shape(26, 2304, 9216, 2048, 1024, 256_000, tied=True)
MISTRAL_7B = Shape(32, 4096, 14336, 4096, 1024, 32_000, tied=False)


def test_the_square_root_rule_scales_rate_averages_and_epsilon() -> None:
    scaled = rescale(TrainConfig(), 512, "sqrt").config
    assert scaled.global_batch == 512
    assert scaled.learning_rate == 1.6e-6
    assert scaled.adam_betas == (0.6, 0.996)
    assert scaled.adam_epsilon == 5e-9


def test_the_linear_rule_scales_the_rate_alone_and_warns_of_adam() -> None:
    found = rescale(TrainConfig(), 64, "linear")
    assert found.config == TrainConfig(global_batch=64, learning_rate=4e-7)
    assert "prefer sqrt" in found.notes[0]


@pytest.mark.parametrize("rule", ["sqrt", "linear"])
def test_the_same_batch_changes_nothing(rule: str) -> None:
    assert rescale(TrainConfig(), 128, rule).config == TrainConfig()


def test_the_square_root_rule_ends_where_an_average_would_keep_nothing() -> None:
    rescale(TrainConfig(), 1280, "sqrt")
    with pytest.raises(UserError, match="ends at 1280 pairs"):
        rescale(TrainConfig(), 1281, "sqrt")


def test_no_batch_is_refused() -> None:
    with pytest.raises(UserError, match="--batch 0"):
        rescale(TrainConfig(), 0, "sqrt")


def test_steps_and_warm_up_are_those_of_the_schedule() -> None:
    assert steps(TrainConfig(), 60_000) == (469, 47)
    notes = rescale(TrainConfig(), 1024, "sqrt", pairs=60_000).notes
    assert any("59 steps are few" in note for note in notes)
    notes = rescale(TrainConfig(), 1280, "sqrt", pairs=6000).notes
    assert any("warm-up is a single step" in note for note in notes)


def test_shapes_count_as_the_published_models() -> None:
    assert GEMMA_9B.parameters == pytest.approx(9.24e9, rel=0.01)
    assert MISTRAL_7B.parameters == pytest.approx(7.24e9, rel=0.01)


@pytest.mark.parametrize(("shape", "rank"), [(MISTRAL_7B, 16), (GEMMA_9B, 16), (GEMMA_2B, 32)])
def test_smaller_models_get_a_higher_rank_for_as_many_trained_parameters(
    shape: Shape, rank: int
) -> None:
    found = lora_advice(shape, TrainConfig())
    assert (found.rank, found.alpha, found.learning_rate) == (rank, rank, 5e-6)
    assert found.parameters == pytest.approx(42e6, rel=0.3)


def test_many_response_tokens_ask_for_a_parameter_each() -> None:
    found = lora_advice(GEMMA_2B, TrainConfig(), response_tokens=150_000_000)
    assert found.rank == 128
    assert "150,000,000 response tokens" in found.reasons[0]
    assert lora_advice(GEMMA_2B, TrainConfig(), response_tokens=10**11).rank == 256


def test_adapters_on_attention_alone_are_advised_against() -> None:
    training = TrainConfig(lora=LoraConfig(targets=["q_proj", "v_proj"]))
    assert "on attention alone" in lora_advice(GEMMA_2B, training).reasons[-1]


def test_a_tiny_model_gets_a_low_rank_and_no_published_rate() -> None:
    found = lora_advice(Shape(2, 96, 256, 64, 32, 1000, tied=True), TrainConfig())
    assert (found.rank, found.learning_rate) == (16, None)
    assert "onpolicy tune lr" in found.reasons[-1]


def test_targets_that_no_layer_has_are_refused() -> None:
    with pytest.raises(UserError, match="none of c_attn"):
        lora_advice(GEMMA_2B, TrainConfig(lora=LoraConfig(targets=["c_attn"])))


def test_a_models_shape_is_read_from_its_config(tiny_gemma: object) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_gemma)
    norms = sum(p.numel() for name, p in model.named_parameters() if "norm" in name)
    assert shape_of(str(tiny_gemma)).parameters == model.num_parameters() - norms


def test_a_model_that_is_not_there_is_one_message() -> None:
    with pytest.raises(UserError, match=r"no/such/model: its config cannot be read"):
        shape_of("no/such/model")
