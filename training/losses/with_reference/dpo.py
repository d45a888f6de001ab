"""DPO and conservative DPO."""

from collections.abc import Iterator
from typing import Literal

from training.losses.base import (
    LossInputs,
    NotNegative,
    PairLosses,
    Positive,
    ReferenceLoss,
    Smoothing,
    high_beta,
    smoothed,
    with_rewards,
)


class DPOConfig(ReferenceLoss):
    """DPO (arXiv 2305.18290)."""

    kind: Literal["dpo"] = "dpo"
    beta: Positive = 0.01
    """Scale of the reward (recipe, baselines: 0.01)."""
    label_smoothing: Smoothing = 0.0
    """Share of pairs taken to be labelled the wrong way round (conservative DPO)."""
    sft_weight: NotNegative = 0.0
    """Weight of the chosen response's mean negative log-prob."""

    def losses(self, inputs: LossInputs) -> PairLosses:
        """DPO (Rafailov et al. 2023, arXiv 2305.18290, equation 7); with smoothing conservative DPO
        (Mitchell 2023); its SFT term as in Pang et al. 2024 (arXiv 2404.19733).

        With z = beta * ((lp_w - ref_w) - (lp_l - ref_l)):

            -(1 - e) * log s(z) - e * log s(-z) - sft_weight * lp_w / |w|     e = label_smoothing
        """
        chosen, rejected = inputs.ratios
        loss = smoothed(self.beta * (chosen - rejected), self.label_smoothing)
        loss = loss - self.sft_weight * inputs.policy.chosen.mean
        return with_rewards(loss, self.beta, chosen, rejected)

    def advice(self) -> Iterator[str]:
        """A message for each knob that others had trouble with."""
        return high_beta(self.kind, self.beta)
