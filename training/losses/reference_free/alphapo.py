"""AlphaPO."""

from collections.abc import Iterator
from typing import Literal, Self

from pydantic import model_validator

from training.losses.base import (
    LossInputs,
    LossVariant,
    NotNegative,
    PairLosses,
    Pairs,
    Positive,
    Smoothing,
    smoothed,
    with_rewards,
)

# exp(50) times any beta is a float32, as are the loss and its gradient.
_STEEPEST = 50.0


class AlphaPOConfig(LossVariant):
    """AlphaPO (arXiv 2501.03884): SimPO with a reward of another shape than the log-prob."""

    kind: Literal["alphapo"] = "alphapo"
    alpha: float = 0.25
    """Shape of the reward: above 0 it is steeper at unlikely responses than the log-prob, below 0
    flatter (paper, Mistral-Instruct: 0.25). 0 is SimPO."""
    beta: Positive = 2.5
    """Scale of the reward (paper, Mistral-Instruct: 2.5)."""
    gamma_beta_ratio: NotNegative = 0.1
    """Target margin over beta; the margin is their product."""
    label_smoothing: Smoothing = 0.0
    """Share of pairs taken to be labelled the wrong way round."""

    @model_validator(mode="after")
    def _alpha_has_a_shape(self) -> Self:
        if not self.alpha:
            raise ValueError("alpha 0 is SimPO: use loss `simpo`, or another alpha")
        return self

    def losses(self, inputs: LossInputs) -> PairLosses:
        """AlphaPO (Gupta et al. 2025, arXiv 2501.03884; TRL's CPO trainer with `alpha`).

        With p = exp(lp / tokens), r = (1 - p ** -alpha) / alpha and
        z = beta * (r_w - r_l - gamma_beta_ratio):

            -(1 - e) * log s(z) - e * log s(-z)     e = label_smoothing

        For alpha near 0 r is lp / tokens, SimPO's. p ** -alpha counts as at most e ** 50.
        """
        policy = inputs.policy
        chosen, rejected = self._reward(policy.chosen.mean), self._reward(policy.rejected.mean)
        z = self.beta * (chosen - rejected - self.gamma_beta_ratio)
        return with_rewards(smoothed(z, self.label_smoothing), self.beta, chosen, rejected)

    def _reward(self, mean: Pairs) -> Pairs:
        return -(-self.alpha * mean).clamp(max=_STEEPEST).expm1() / self.alpha

    def advice(self) -> Iterator[str]:
        """A message for each knob that others had trouble with."""
        if abs(self.alpha) > 1:
            yield (
                f"loss.alpha {self.alpha:g}: the paper's are near 0 (0.25); further out the steps "
                "are of the least or the most likely responses alone"
            )
        if self.gamma_beta_ratio > 1:
            yield (
                f"loss.gamma_beta_ratio {self.gamma_beta_ratio:g} is above 1: it is a ratio. If "
                "this is TRL's absolute simpo_gamma, write "
                f"{self.gamma_beta_ratio / self.beta:g}"
            )
