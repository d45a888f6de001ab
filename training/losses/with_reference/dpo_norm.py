"""Length-normalised DPO."""

from collections.abc import Iterator
from typing import Literal

from training.losses.base import (
    LossInputs,
    NotNegative,
    PairLosses,
    Positive,
    ReferenceLoss,
    Smoothing,
    smoothed,
    with_rewards,
)


class DPONormConfig(ReferenceLoss):
    """DPO of log-ratios a token (Tulu 3, arXiv 2411.15124): no reward for length alone."""

    kind: Literal["dpo_norm"] = "dpo_norm"
    beta: Positive = 5.0
    """Scale of the reward (Tulu 3: 5)."""
    label_smoothing: Smoothing = 0.0
    """Share of pairs taken to be labelled the wrong way round."""
    sft_weight: NotNegative = 0.0
    """Weight of the chosen response's mean negative log-prob."""

    def losses(self, inputs: LossInputs) -> PairLosses:
        """Length-normalised DPO (Lambert et al. 2024, arXiv 2411.15124; `dpo_norm` in
        open-instruct, `sigmoid_norm` in TRL).

        With z = beta * ((lp_w - ref_w) / |w| - (lp_l - ref_l) / |l|):

            -(1 - e) * log s(z) - e * log s(-z) - sft_weight * lp_w / |w|     e = label_smoothing
        """
        policy = inputs.policy
        chosen, rejected = inputs.ratios
        chosen, rejected = chosen / policy.chosen.tokens, rejected / policy.rejected.tokens
        loss = smoothed(self.beta * (chosen - rejected), self.label_smoothing)
        loss = loss - self.sft_weight * policy.chosen.mean
        return with_rewards(loss, self.beta, chosen, rejected)

    def advice(self) -> Iterator[str]:
        """A message for each knob that others had trouble with."""
        if self.beta < 1:
            yield (
                f"loss.beta {self.beta:g} is low for dpo_norm, whose log-ratios are a token's: "
                "Tulu 3 has 5; DPO's 0.01 to 0.1 is of summed log-ratios"
            )
