"""On a CUDA device: ArmoRM's packed rows through compiled FlexAttention."""

import pytest
import torch
from transformers import LlamaConfig

from annotation.armorm import shared_prompt
from annotation.armorm.model import ArmoRM, Rewards
from annotation.armorm.shared_prompt import pack
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


@pytest.fixture(scope="module")
def model() -> ArmoRM:
    shared_prompt.register()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=512, hidden_size=512, intermediate_size=1024, num_hidden_layers=4,
        num_attention_heads=8, num_key_value_heads=2, head_dim=64, gating_hidden_dim=64,
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
