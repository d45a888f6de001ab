"""SimPO and CPO-SimPO."""

from collections.abc import Iterator
from typing import Literal, Self

from pydantic import model_validator

from training.losses.base import (
    LossInputs,
    LossVariant,
    NotNegative,
    PairLosses,
    Positive,
    Smoothing,
    smoothed,
    with_rewards,
)


class SimPOConfig(LossVariant):
    """SimPO (arXiv 2405.14734): no reference, length-normalised log-probs, a target margin.

    With `sft_weight` above 0 it is CPO-SimPO.
    """

    kind: Literal["simpo"] = "simpo"
    beta: Positive = 10.0
    """Scale of the reward (recipe, Gemma: 10)."""
    gamma_beta_ratio: NotNegative = 0.5
    """Target margin over beta, in nats a token; the margin is their product (Gemma: 0.5)."""
    variant: Literal["sigmoid", "hinge"] = "sigmoid"
    """Shape of the loss over the margin."""
    label_smoothing: Smoothing = 0.0
    """Share of pairs taken to be labelled the wrong way round; for `sigmoid`."""
    sft_weight: NotNegative = 0.0
    """Weight of the chosen response's mean negative log-prob; above 0 keeps reasoning, costs
    chat quality (recipe, section 2)."""

    @model_validator(mode="after")
    def _smoothing_has_a_meaning(self) -> Self:
        if self.variant == "hinge" and self.label_smoothing:
            raise ValueError("label_smoothing belongs to variant `sigmoid`")
        return self

    def losses(self, inputs: LossInputs) -> PairLosses:
        """SimPO (Meng et al. 2024, arXiv 2405.14734, equation 6; hinge and smoothing as published
        in princeton-nlp/SimPO, `simpo_loss`; recipe, section 2).

        With m = lp_w / |w| - lp_l / |l| and z = beta * (m - gamma_beta_ratio):

            sigmoid: -(1 - e) * log s(z) - e * log s(-z)     e = label_smoothing
            hinge:   relu(1 - z)

        plus sft_weight * (-lp_w / |w|). The target margin beta * gamma_beta_ratio is subtracted
        from beta * m, so it is beta times the ratio, not beta squared times it.
        The SFT term is a mean over pairs of each pair's mean, where the published one is a mean
        over the tokens of a micro-batch: it may not depend on how pairs are batched.
        """
        policy = inputs.policy
        margin = policy.chosen.mean - policy.rejected.mean
        # Gemma's beta 10 and ratio 0.5 ask for a margin of 5, which is TRL's absolute simpo_gamma.
        z = self.beta * (margin - self.gamma_beta_ratio)
        hinge = self.variant == "hinge"
        loss = (1 - z).relu() if hinge else smoothed(z, self.label_smoothing)
        loss = loss - self.sft_weight * policy.chosen.mean
        return with_rewards(loss, self.beta, policy.chosen.mean, policy.rejected.mean)

    def advice(self) -> Iterator[str]:
        """A message for each knob that others had trouble with."""
        if self.gamma_beta_ratio > 1:
            absolute = self.gamma_beta_ratio
            yield (
                f"loss.gamma_beta_ratio {absolute:g} is above 1 and asks for a margin of "
                f"{self.beta * absolute:g}: it is a ratio. If this is TRL's absolute simpo_gamma, "
                f"write {absolute / self.beta:g}"
            )
        if self.beta > 10:
            yield (
                f"loss.beta {self.beta:g} is above every published setting (2 to 10): the loss "
                "is steep at smaller differences of log-prob, and so is a wrong label's pull"
            )
        if self.beta < 2:
            yield (
                f"loss.beta {self.beta:g} is low for SimPO, whose log-probs are a token's: "
                "published settings have 2 to 10; DPO's 0.01 to 0.1 is of summed log-probs"
            )
        if self.sft_weight:
            yield (
                f"loss.sft_weight {self.sft_weight:g} keeps reasoning, and costs chat quality; the "
                "published models have 0"
            )
