"""R-DPO."""

from collections.abc import Iterator
from typing import Literal

from training.losses.base import (
    LossInputs,
    NotNegative,
    PairLosses,
    Positive,
    ReferenceLoss,
    high_beta,
    smoothed,
    with_rewards,
)


class RDPOConfig(ReferenceLoss):
    """R-DPO (arXiv 2403.19159): DPO with a length term."""

    kind: Literal["r-dpo"] = "r-dpo"
    beta: Positive = 0.01
    """Scale of the reward."""
    alpha: NotNegative = 0.01
    """Reward a token that a longer chosen response is expected to have anyway."""

    def losses(self, inputs: LossInputs) -> PairLosses:
        """R-DPO (Park et al. 2024, arXiv 2403.19159; as in SimPO's table 3).

            -log s(beta * ((lp_w - ref_w) - (lp_l - ref_l)) + alpha * (|w| - |l|))

        A pair whose chosen response is the longer one counts as partly won: it pushes less.
        """
        chosen, rejected = inputs.ratios
        longer = inputs.policy.chosen.tokens - inputs.policy.rejected.tokens
        loss = smoothed(self.beta * (chosen - rejected) + self.alpha * longer, 0.0)
        return with_rewards(loss, self.beta, chosen, rejected)

    def advice(self) -> Iterator[str]:
        """A message for each knob that others had trouble with."""
        return high_beta(self.kind, self.beta)
