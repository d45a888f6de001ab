"""WPO's weights of pairs: the paper's formula, without a gradient."""

import math
from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError
from tiny_logprobs import POLICY, REFERENCE, value

from training.config import TrainConfig
from training.losses.base import (
    PairLogprobs,
    ResponseLogprobs,
    pair_losses,
)
from training.losses.reference_free.orpo import ORPOConfig
from training.losses.reference_free.simpo import SimPOConfig
from training.losses.with_reference.dpo import DPOConfig
from training.losses.wpo import weighted


def collided(response: ResponseLogprobs, by_token: float) -> ResponseLogprobs:
    """Where the policy's own tokens have the log-prob `by_token`."""
    return replace(response, collisions=by_token * response.tokens)


def test_wpo_weighs_a_pair_by_how_likely_the_policy_is_to_say_it() -> None:
    # Means -2 and -4 where the policy's own tokens have -2.5 and -3: exp(0.5 - 1).
    policy = PairLogprobs(collided(POLICY.chosen, -2.5), collided(POLICY.rejected, -3.0))
    for config in (SimPOConfig(), DPOConfig(), ORPOConfig()):
        losses = pair_losses(config, policy, REFERENCE)
        result = weighted(losses, policy)
        assert result.weights is not None
        assert result.weights.item() == pytest.approx(math.exp(-0.5))
        assert value(result) == pytest.approx(math.exp(-0.5) * value(losses))
        assert result.chosen_rewards == losses.chosen_rewards


def test_wpos_weight_has_no_gradient() -> None:
    total = torch.tensor([-6.0], dtype=torch.float64, requires_grad=True)
    policy = PairLogprobs(
        collided(replace(POLICY.chosen, total=total), -2.0), collided(POLICY.rejected, -4.0)
    )
    losses = pair_losses(SimPOConfig(), policy)
    (plain,) = torch.autograd.grad(losses.loss.sum(), total, retain_graph=True)
    (slope,) = torch.autograd.grad(weighted(losses, policy).loss.sum(), total)
    assert slope == pytest.approx(plain)  # the weight is exp(0 + 0)


@pytest.mark.parametrize("loss", ["sft", "kto"])
def test_a_weight_of_pairs_is_refused_where_a_loss_is_of_single_responses(loss: str) -> None:
    with pytest.raises(ValidationError, match=f"weighting `wpo` .* loss `{loss}` is of single"):
        TrainConfig.model_validate({"loss": loss, "weighting": "wpo"})
