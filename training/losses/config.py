"""The preference methods and their knobs; what they compute is in training.losses.functions."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from contracts.config.base import Config

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Smoothing = Annotated[float, Field(ge=0, lt=0.5)]


class LossVariant(Config):
    """What every method has beside its knobs."""

    needs_reference: ClassVar[bool] = False
    """Whether it compares the policy with a fixed reference model."""


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


class DPOConfig(LossVariant):
    """DPO (arXiv 2305.18290)."""

    needs_reference: ClassVar[bool] = True
    kind: Literal["dpo"] = "dpo"
    beta: Positive = 0.01
    """Scale of the reward (recipe, baselines: 0.01)."""
    label_smoothing: Smoothing = 0.0
    """Share of pairs taken to be labelled the wrong way round (conservative DPO)."""
    sft_weight: NotNegative = 0.0
    """Weight of the chosen response's mean negative log-prob."""


class IPOConfig(LossVariant):
    """IPO (arXiv 2310.12036)."""

    needs_reference: ClassVar[bool] = True
    kind: Literal["ipo"] = "ipo"
    tau: Positive = 0.1
    """Strength of the pull to the reference; the log-ratios' target margin is 1 / (2 tau)."""
    length_normalized: bool = True
    """Log-ratios a token, as TRL has them on the authors' advice, not summed."""


class CPOConfig(LossVariant):
    """CPO (arXiv 2401.08417)."""

    kind: Literal["cpo"] = "cpo"
    beta: Positive = 0.1
    """Scale of the reward."""
    nll_weight: NotNegative = 1.0
    """Weight of the chosen response's mean negative log-prob; 0 leaves the term out."""
    label_smoothing: Smoothing = 0.0
    """Share of pairs taken to be labelled the wrong way round."""


class KTOConfig(LossVariant):
    """KTO (arXiv 2402.01306) on pairs: each response judged on its own."""

    needs_reference: ClassVar[bool] = True
    kind: Literal["kto"] = "kto"
    beta: Positive = 0.1
    """Scale of the reward."""
    chosen_weight: NotNegative = 1.0
    """Weight of desirable responses."""
    rejected_weight: NotNegative = 1.0
    """Weight of undesirable responses."""


class ORPOConfig(LossVariant):
    """ORPO (arXiv 2403.07691): the chosen response's likelihood and an odds ratio."""

    kind: Literal["orpo"] = "orpo"
    weight: NotNegative = 0.1
    """Weight of the odds ratio against the likelihood (the paper's lambda, TRL's beta)."""


class RDPOConfig(LossVariant):
    """R-DPO (arXiv 2403.19159): DPO with a length term."""

    needs_reference: ClassVar[bool] = True
    kind: Literal["r-dpo"] = "r-dpo"
    beta: Positive = 0.01
    """Scale of the reward."""
    alpha: NotNegative = 0.01
    """Reward a token that a longer chosen response is expected to have anyway."""


class RRHFConfig(LossVariant):
    """RRHF (arXiv 2304.05302) on pairs."""

    kind: Literal["rrhf"] = "rrhf"
    sft_weight: NotNegative = 1.0
    """Weight of the chosen response's negative log-prob (summed over its tokens)."""


class SLiCConfig(LossVariant):
    """SLiC-HF (arXiv 2305.10425), with the chosen response as its fine-tuning target."""

    kind: Literal["slic-hf"] = "slic-hf"
    delta: Positive = 1.0
    """Margin between the summed log-probs, in nats."""
    sft_weight: NotNegative = 1.0
    """Weight of the chosen response's negative log-prob (summed over its tokens)."""


class SFTConfig(LossVariant):
    """Likelihood of the chosen response alone: a base model's warm-up.

    The rejected response is not run, and has no metrics.
    """

    kind: Literal["sft"] = "sft"


LossConfig = Annotated[
    SimPOConfig
    | DPOConfig
    | IPOConfig
    | CPOConfig
    | KTOConfig
    | ORPOConfig
    | RDPOConfig
    | RRHFConfig
    | SLiCConfig
    | SFTConfig,
    Field(discriminator="kind"),
]
