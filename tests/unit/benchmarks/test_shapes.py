"""Published sizes, and the work that they make, counted by hand."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from annotation.scorers.batches import Group
from benchmarks.annotation_limit import flops
from benchmarks.support.device import Device
from benchmarks.support.shapes import PUBLISHED, Shape, tiny_gemma
from benchmarks.train_memory import floor_mib

# Parameters beside the embedding, as Gemma 2's report counts them (arXiv 2408.00118, table 2), and
# all of the others' (their files on the hub).
GEMMA = {
    "gemma-2-2b": 2_024_517_888,
    "gemma-2-9b": 8_324_201_984,
    "gemma-2-27b": 26_047_480_320,
}
OTHERS = {"llama-3-8b": 8_030_261_248, "qwen2.5-7b": 7_615_616_512}

# 72 numbers in attention's matrices (24 + 12 + 12 + 24), 60 in the MLP's (3 x 20).
SMALL = {"vocabulary": 10, "hidden": 4, "heads": 2, "key_heads": 1, "head_size": 3,
         "intermediate": 5}  # fmt: skip


@pytest.mark.parametrize("name", GEMMA)
def test_a_gemma_shape_has_the_parameters_that_its_report_counts(name: str) -> None:
    shape = PUBLISHED[name]
    assert shape.parameters - shape.vocabulary * shape.hidden == GEMMA[name]


@pytest.mark.parametrize("name", OTHERS)
def test_another_shape_has_the_parameters_of_the_published_files(name: str) -> None:
    assert PUBLISHED[name].parameters == OTHERS[name]


@pytest.mark.parametrize("name", PUBLISHED)
def test_transformers_builds_a_model_of_that_many_parameters(name: str) -> None:
    shape = PUBLISHED[name]
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(shape.config(), dtype=torch.bfloat16)
    assert sum(weight.numel() for weight in model.parameters()) == shape.parameters
    attention = model.model.layers[0].self_attn
    assert attention.q_proj.out_features == shape.queries
    assert attention.k_proj.out_features == shape.keys
    assert attention.scaling == (shape.score_scale or shape.head_size) ** -0.5


def test_the_tiny_shape_is_the_one_of_the_recorded_figures() -> None:
    assert tiny_gemma() == Shape("gemma2", 32_000, 256, 6, 4, 2, 64, 1024)


def test_a_training_pass_counts_the_prompt_once_and_the_head_at_answers_only() -> None:
    shape = Shape("gemma2", layers=1, **SMALL)
    # Three tokens through 132 weights, one through a head of 40; attention sees 2 places of the
    # prompt (half of 2 x 2) and 2.5 of the answer, in two products over 6 numbers.
    forward = 2 * 3 * 132 + 2 * 1 * 40 + 4 * 4.5 * 6
    assert shape.training_flops(2, 1) == 3 * forward == 2940
    assert shape.matmul_parameters(with_head=True) == 132 + 40


def test_scoring_counts_the_last_layers_queries_where_they_are_read() -> None:
    config = Shape("llama", layers=2, **SMALL).config()
    first = 3 * 132 + 2 * 4.5 * 6
    # Keys and values of 3 tokens (24 weights), the rest (108) at two, which see 2 and 3 places.
    last = 3 * 24 + 2 * 108 + 2 * 5 * 6
    assert flops(config, Group([1, 2], [[3]], [0])) == 2 * (first + last) == 1596


def test_on_a_gpu_memory_is_counted_above_weights_gradients_and_moments() -> None:
    shape = tiny_gemma()
    assert floor_mib(shape, Device("cpu", "float32")) == 0
    assert floor_mib(shape, Device("cuda", "bfloat16")) == shape.parameters * 16 / 2**20


def test_the_matmul_rate_is_of_the_dtype() -> None:
    rates = Device("cpu", "bfloat16").matmul_rates(64, 3)
    assert len(rates) == 3 and min(rates) > 0
