"""RRHF on pairs."""

from typing import Literal

from training.losses.base import (
    LossInputs,
    LossVariant,
    NotNegative,
    PairLosses,
    with_rewards,
)


class RRHFConfig(LossVariant):
    """RRHF (arXiv 2304.05302) on pairs."""

    kind: Literal["rrhf"] = "rrhf"
    sft_weight: NotNegative = 1.0
    """Weight of the chosen response's negative log-prob (summed over its tokens)."""

    def losses(self, inputs: LossInputs) -> PairLosses:
        """RRHF (Yuan et al. 2023, arXiv 2304.05302; as in SimPO's table 3).

        relu(lp_l / |l| - lp_w / |w|) - sft_weight * lp_w
        """
        policy = inputs.policy
        chosen, rejected = policy.chosen.mean, policy.rejected.mean
        loss = (rejected - chosen).relu() - self.sft_weight * policy.chosen.total
        return with_rewards(loss, 1.0, chosen, rejected)
