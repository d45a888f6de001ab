"""On a CUDA device: ArmoRM's packed rows through compiled FlexAttention."""

import logging
from collections.abc import Sequence

import pytest
import torch
from torch._dynamo.utils import counters
from transformers import LlamaConfig

from annotation.armorm import shared_prompt
from annotation.armorm.model import ArmoRM, Rewards
from annotation.armorm.shared_prompt import pack
from annotation.scorers import batches
from annotation.scorers.batches import Group

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def groups(count: int) -> list[Group]:
    """Prompts and responses of many lengths, so that rows of several lengths are compiled for."""
    return [
        Group(
            list(range(10, 60 + 7 * n)),
            [list(range(5, 20 + 31 * ((n + r) % 6))) for r in range(5)],
            [5 * n + r for r in range(5)],
            gating_at=40 + 7 * n,
        )
        for n in range(count)
    ]


@pytest.fixture(scope="module", params=[64, 128])
def model(request: pytest.FixtureRequest) -> ArmoRM:
    """With heads of 64, and of 128 as Llama-3 has them."""
    shared_prompt.register()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=512, hidden_size=512, intermediate_size=1024, num_hidden_layers=4,
        num_attention_heads=8, num_key_value_heads=2, head_dim=request.param,
        gating_hidden_dim=64,
    )  # fmt: skip
    config._attn_implementation = shared_prompt.ATTENTION
    return ArmoRM(config).cuda().eval()


def score(model: ArmoRM, count: int, whole: bool) -> Rewards:
    with torch.inference_mode():
        return model.forward_shared(pack(groups(count), model.device, whole))


@pytest.mark.parametrize("count", [1, 3, 8, 20])
def test_packed_rows_equal_attention_response_by_response(model: ArmoRM, count: int) -> None:
    packed, apart = score(model, count, whole=True), score(model, count, whole=False)
    torch.testing.assert_close(packed.scores, apart.scores, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(packed.gates, apart.gates, atol=1e-4, rtol=1e-4)
    assert packed.scores.std() > 1e-3  # the comparison can fail


def test_bfloat16_stays_near_float32(model: ArmoRM) -> None:
    exact = score(model, 8, whole=True).scores
    model.model.to(torch.bfloat16)
    rough = score(model, 8, whole=True).scores
    model.model.float()
    assert torch.corrcoef(torch.stack([exact, rough]))[0, 1] > 0.98


def test_rows_of_other_lengths_compile_nothing_anew(model: ArmoRM) -> None:
    for count in (1, 3):
        score(model, count, whole=True)
    compiled = counters["stats"]["unique_graphs"]
    for count in range(4, 19):
        score(model, count, whole=True)
    assert counters["stats"]["unique_graphs"] == compiled


def test_a_batch_that_does_not_fit_the_memory_is_halved_to_the_same_scores(
    model: ArmoRM, caplog: pytest.LogCaptureFixture
) -> None:
    members, whole = groups(40), sum(group.tokens for group in groups(40))

    def forward(batch: Sequence[Group]) -> list[float]:
        packed = pack(batch, model.device, whole=True)
        return model.forward_shared(packed).scores.tolist()

    def scores() -> dict[int, float]:
        with torch.inference_mode():
            return dict(batches.in_batches(members, whole, batches.packed_tokens, forward))

    torch.cuda.empty_cache()
    held = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    expected = scores()
    needed = torch.cuda.max_memory_allocated() - held
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(
        (torch.cuda.memory_reserved() + 0.75 * needed) / total
    )
    try:
        with caplog.at_level(logging.WARNING):
            found = scores()
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert "out of memory" in caplog.text
    assert found.keys() == expected.keys()
    assert [found[row] for row in expected] == pytest.approx([*expected.values()], abs=1e-3)
