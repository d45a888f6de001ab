"""The chunked head: log-probs of targets without whole rows of logits."""

import pytest
import torch

from training.packed.head import ResponseHead, _Plan, target_logprobs, with_collisions


@pytest.mark.parametrize("softcap", [None, 1.5])
@pytest.mark.parametrize("columns", [1, 3, 4, 100])
def test_the_chunked_head_agrees_with_finite_differences(
    softcap: float | None, columns: int
) -> None:
    """Nothing kept, a part of the logits kept for the backward pass, all of them kept."""
    budget = 4 * 7 * columns
    torch.manual_seed(0)
    hidden = torch.randn(7, 4, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(9, 4, dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([0, 8, 3, 3, 1, 2, 7])
    assert torch.autograd.gradcheck(
        lambda h, w: target_logprobs(h, w, targets, softcap, budget), (hidden, weight)
    )


@pytest.mark.parametrize("softcap", [None, 1.5, 60.0])
@pytest.mark.parametrize("columns", [1, 4, 100])
def test_the_chunked_head_knows_how_likely_two_draws_are_the_same(
    softcap: float | None, columns: int
) -> None:
    torch.manual_seed(0)
    hidden = (3 * torch.randn(7, 4, dtype=torch.float64)).requires_grad_()
    weight = torch.randn(9, 4, dtype=torch.float64)
    targets = torch.tensor([0, 8, 3, 3, 1, 2, 7])
    logits = hidden @ weight.T
    logits = logits if softcap is None else softcap * (logits / softcap).tanh()
    probs = logits.softmax(-1)
    logprobs, collisions = with_collisions(hidden, weight, targets, softcap, 4 * 7 * columns)
    torch.testing.assert_close(collisions, probs.square().sum(-1).log())
    plain = target_logprobs(hidden, weight, targets, softcap, 4 * 7 * columns)
    assert torch.equal(logprobs, plain)
    slopes = (torch.autograd.grad(y.sum(), hidden, retain_graph=True)[0]
              for y in (logprobs + collisions, plain))  # fmt: skip
    assert torch.equal(*slopes)  # the second has none of its own


def test_bfloat16_states_give_float32_log_probs() -> None:
    hidden, weight = torch.randn(3, 4).bfloat16(), torch.randn(9, 4).bfloat16()
    logprobs = target_logprobs(hidden, weight, torch.tensor([0, 1, 2]), None, 2)
    assert logprobs.dtype == torch.float32


def test_log_probs_of_bfloat16_states_are_those_of_float32_logits() -> None:
    """A model of 1,024 that is sure: its logits reach 30, and bfloat16 knows those to 0.1."""
    torch.manual_seed(0)
    weight = torch.randn(4096, 1024).bfloat16()
    targets = torch.arange(0, 4096, 16)
    hidden = (0.02 * weight[targets].float() + 0.2 * torch.randn(256, 1024)).bfloat16()
    exact, rounded = (
        (hidden.to(dtype) @ weight.to(dtype).T).double().log_softmax(-1)
        for dtype in (torch.float64, torch.bfloat16)
    )
    found = target_logprobs(hidden, weight, targets, None, 1 << 20)
    error, before = (
        float((logprobs - exact.gather(1, targets[:, None])[:, 0]).abs().max())
        for logprobs in (found, rounded.gather(1, targets[:, None])[:, 0])
    )
    print(f"largest error of a log-prob: {error:.1e} nats, with rounded logits {before:.1e}")
    assert error < 1e-5 < 1e-2 < before


def test_autocast_leaves_the_heads_logits_in_float32() -> None:
    torch.manual_seed(0)
    head = ResponseHead(torch.nn.Linear(64, 300, bias=False), None, 1 << 20)
    states, targets = 8 * torch.randn(20, 64), torch.arange(20)
    with torch.autocast("cpu", torch.bfloat16):
        found = head(states, targets)
    halves = states.bfloat16().double(), head.weight.detach().bfloat16().double()
    expected = (halves[0] @ halves[1].T).log_softmax(-1)[range(20), targets]
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("tokens", [1, 100, 3000, 8192])
def test_blocks_of_the_vocabulary_are_whole_tiles(tokens: int) -> None:
    for device in ("cpu", "cuda"):
        plan = _Plan.of(tokens, 256_000, 256 << 20, torch.device(device))
        assert plan.block % 128 == 0
