"""Preference losses: pure functions of log-probs, one value a pair.

Shape legend: n = pairs. Every tensor is [n], float32 or float64, in nats.
"""

from dataclasses import dataclass

import torch
from torch.nn import functional

from training.config import LossConfig, SimPOConfig


@dataclass(frozen=True)
class ResponseLogprobs:
    """Log-probs of n responses under one model."""

    total: torch.Tensor
    """[n] sum over the response's tokens."""
    tokens: torch.Tensor
    """[n] number of those tokens, in the dtype of `total`; never 0."""

    @property
    def mean(self) -> torch.Tensor:
        """[n] log-prob a token."""
        return self.total / self.tokens


@dataclass(frozen=True)
class PairLogprobs:
    """What a preference loss sees of n pairs."""

    chosen: ResponseLogprobs
    rejected: ResponseLogprobs


@dataclass(frozen=True)
class PairLosses:
    """The loss of each pair, and the rewards that it implies (without gradient)."""

    loss: torch.Tensor
    chosen_rewards: torch.Tensor
    rejected_rewards: torch.Tensor


def pair_losses(config: LossConfig, logprobs: PairLogprobs) -> PairLosses:
    """The configured method applied to n pairs."""
    return simpo(config, logprobs)


def simpo(config: SimPOConfig, logprobs: PairLogprobs) -> PairLosses:
    """SimPO (Meng et al. 2024, arXiv 2405.14734, equation 6; hinge and smoothing as published
    in princeton-nlp/SimPO, `simpo_loss`; recipe, section 2).

    With m = mean log-prob of chosen - mean log-prob of rejected and
    z = beta * (m - gamma_beta_ratio):

        sigmoid: -(1 - s) * logsigmoid(z) - s * logsigmoid(-z)     s = label_smoothing
        hinge:   relu(1 - z)

    plus sft_weight * (-mean log-prob of chosen). The target margin beta * gamma_beta_ratio is
    subtracted from beta * m, so it is beta times the ratio, not beta squared times it.
    The SFT term is a mean over pairs of each pair's mean, where the published one is a mean
    over the tokens of a micro-batch: it may not depend on how pairs are batched.
    """
    margin = logprobs.chosen.mean - logprobs.rejected.mean
    z = config.beta * (margin - config.gamma_beta_ratio)
    if config.variant == "hinge":
        loss = functional.relu(1 - z)
    else:
        right, wrong = functional.logsigmoid(z), functional.logsigmoid(-z)
        loss = -(1 - config.label_smoothing) * right - config.label_smoothing * wrong
    loss = loss - config.sft_weight * logprobs.chosen.mean
    return PairLosses(
        loss,
        config.beta * logprobs.chosen.mean.detach(),
        config.beta * logprobs.rejected.mean.detach(),
    )
