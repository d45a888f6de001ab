"""CPO."""

from collections.abc import Iterator
from typing import Literal

from training.losses.base import (
    LossInputs,
    LossVariant,
    NotNegative,
    PairLosses,
    Positive,
    Smoothing,
    high_beta,
    smoothed,
    with_rewards,
)


class CPOConfig(LossVariant):
    """CPO (arXiv 2401.08417)."""

    kind: Literal["cpo"] = "cpo"
    beta: Positive = 0.1
    """Scale of the reward."""
    nll_weight: NotNegative = 1.0
    """Weight of the chosen response's mean negative log-prob; 0 leaves the term out."""
    label_smoothing: Smoothing = 0.0
    """Share of pairs taken to be labelled the wrong way round."""

    def losses(self, inputs: LossInputs) -> PairLosses:
        """CPO (Xu et al. 2024, arXiv 2401.08417, equations 3 and 5).

        With z = beta * (lp_w - lp_l):

            -(1 - e) * log s(z) - e * log s(-z) - nll_weight * lp_w / |w|     e = label_smoothing

        The likelihood term is each pair's own mean, where TRL's is a mean over the tokens of a
        micro-batch (prompt included): it may not depend on how pairs are batched.
        """
        policy = inputs.policy
        z = self.beta * (policy.chosen.total - policy.rejected.total)
        loss = smoothed(z, self.label_smoothing) - self.nll_weight * policy.chosen.mean
        return with_rewards(loss, self.beta, policy.chosen.total, policy.rejected.total)

    def advice(self) -> Iterator[str]:
        """A message for each knob that others had trouble with."""
        return high_beta(self.kind, self.beta)
