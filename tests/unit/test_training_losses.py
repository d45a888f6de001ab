"""Losses against numbers worked by hand, and their gradients in float64."""

import math

import pytest
import torch

from training.config import SimPOConfig
from training.losses import PairLogprobs, ResponseLogprobs, pair_losses


def logprobs(chosen: list[float], rejected: list[float], tokens: int = 2) -> PairLogprobs:
    """Responses of `tokens` tokens with the given mean log-probs."""

    def side(means: list[float]) -> ResponseLogprobs:
        total = torch.tensor(means, dtype=torch.float64) * tokens
        return ResponseLogprobs(total, torch.full_like(total, tokens))

    return PairLogprobs(side(chosen), side(rejected))


def test_the_margin_is_beta_times_the_ratio_and_is_subtracted_once() -> None:
    # beta 10, ratio 0.5: z = 10 * (-1 - -1.2) - 5 = -3
    result = pair_losses(SimPOConfig(), logprobs([-1.0], [-1.2]))
    assert result.loss.item() == pytest.approx(math.log(1 + math.exp(3)))


def test_rewards_are_beta_times_the_mean_log_prob() -> None:
    result = pair_losses(SimPOConfig(beta=2.0), logprobs([-1.0], [-1.5], tokens=7))
    assert (result.chosen_rewards.item(), result.rejected_rewards.item()) == (-2.0, -3.0)


def test_hinge_is_flat_once_the_margin_is_won() -> None:
    config = SimPOConfig(beta=2.0, gamma_beta_ratio=0.5, variant="hinge")
    # z = 2 * 0.2 - 1 = -0.6 and 2 * 3 - 1 = 5
    loss = pair_losses(config, logprobs([-1.0, -1.0], [-1.2, -4.0])).loss
    assert loss.tolist() == pytest.approx([1.6, 0.0])


def test_label_smoothing_mixes_in_the_opposite_label() -> None:
    config = SimPOConfig(beta=1.0, gamma_beta_ratio=0.0, label_smoothing=0.25)
    loss = pair_losses(config, logprobs([-1.0], [-2.0])).loss.item()
    right, wrong = math.log(1 + math.exp(-1)), math.log(1 + math.exp(1))
    assert loss == pytest.approx(0.75 * right + 0.25 * wrong)


def test_the_sft_term_adds_the_chosen_negative_mean_log_prob() -> None:
    plain, weighted = (
        pair_losses(SimPOConfig(sft_weight=weight), logprobs([-1.5], [-1.0])).loss.item()
        for weight in (0.0, 0.4)
    )
    assert weighted - plain == pytest.approx(0.4 * 1.5)


@pytest.mark.parametrize(
    "config",
    [
        SimPOConfig(),
        SimPOConfig(beta=2.0, label_smoothing=0.1, sft_weight=0.3),
        SimPOConfig(beta=0.3, variant="hinge"),
    ],
)
def test_gradients_agree_with_finite_differences(config: SimPOConfig) -> None:
    generator = torch.Generator().manual_seed(0)
    totals = [-4 * torch.rand(6, generator=generator, dtype=torch.float64) for _ in range(2)]
    tokens = torch.tensor([1.0, 2, 3, 4, 5, 6], dtype=torch.float64)

    def loss(chosen: torch.Tensor, rejected: torch.Tensor) -> torch.Tensor:
        sides = ResponseLogprobs(chosen, tokens), ResponseLogprobs(rejected, tokens)
        return pair_losses(config, PairLogprobs(*sides)).loss

    assert torch.autograd.gradcheck(loss, [total.requires_grad_() for total in totals])
