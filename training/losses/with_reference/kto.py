"""KTO on pairs."""

from typing import ClassVar, Literal

from training.losses.base import (
    LossInputs,
    NotNegative,
    PairLosses,
    Positive,
    ReferenceLoss,
    with_rewards,
)


class KTOConfig(ReferenceLoss):
    """KTO (arXiv 2402.01306) on pairs: each response judged on its own."""

    needs_divergence: ClassVar[bool] = True
    weighs: ClassVar[bool] = False
    kind: Literal["kto"] = "kto"
    beta: Positive = 0.1
    """Scale of the reward."""
    chosen_weight: NotNegative = 1.0
    """Weight of desirable responses."""
    rejected_weight: NotNegative = 1.0
    """Weight of undesirable responses."""

    def losses(self, inputs: LossInputs) -> PairLosses:
        """KTO (Ethayarajh et al. 2024, arXiv 2402.01306, equation 8) on pairs.

        With r_w = lp_w - ref_w, r_l = lp_l - ref_l and k_w, k_l their means over the global batch,
        not below 0 and without gradient, the mean over the pair's two responses of

            chosen:   chosen_weight * (1 - s(beta * (r_w - k_l)))
            rejected: rejected_weight * (1 - s(beta * (k_w - r_l)))

        The reference point of one half is estimated from the other half, as in the authors' paired
        variant (HALOs, `kto_pair`), which needs no pass over mismatched prompts.
        """
        chosen, rejected = inputs.ratios
        divergence = inputs.divergence
        assert divergence is not None
        desirable = (-self.beta * (chosen - divergence.rejected)).sigmoid()
        undesirable = (-self.beta * (divergence.chosen - rejected)).sigmoid()
        loss = (self.chosen_weight * desirable + self.rejected_weight * undesirable) / 2
        return with_rewards(loss, self.beta, chosen, rejected)
