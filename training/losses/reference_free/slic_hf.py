"""SLiC-HF."""

from typing import Literal

from training.losses.base import (
    LossInputs,
    LossVariant,
    NotNegative,
    PairLosses,
    Positive,
    with_rewards,
)


class SLiCConfig(LossVariant):
    """SLiC-HF (arXiv 2305.10425), with the chosen response as its fine-tuning target."""

    kind: Literal["slic-hf"] = "slic-hf"
    delta: Positive = 1.0
    """Margin between the summed log-probs, in nats."""
    sft_weight: NotNegative = 1.0
    """Weight of the chosen response's negative log-prob (summed over its tokens)."""

    def losses(self, inputs: LossInputs) -> PairLosses:
        """SLiC-HF (Zhao et al. 2023, arXiv 2305.10425, equation 1; as in SimPO's table 3).

        relu(delta - lp_w + lp_l) - sft_weight * lp_w
        """
        policy = inputs.policy
        chosen, rejected = policy.chosen.total, policy.rejected.total
        loss = (self.delta - chosen + rejected).relu() - self.sft_weight * chosen
        return with_rewards(loss, 1.0, chosen, rejected)
