"""Supervised fine-tuning on the chosen responses."""

from typing import ClassVar, Literal

from training.losses.base import (
    LossInputs,
    LossVariant,
    PairLosses,
    with_rewards,
)


class SFTConfig(LossVariant):
    """Likelihood of the chosen response alone: a base model's warm-up.

    The rejected response is not run, and has no metrics.
    """

    reads_rejected: ClassVar[bool] = False
    weighs: ClassVar[bool] = False
    kind: Literal["sft"] = "sft"

    def losses(self, inputs: LossInputs) -> PairLosses:
        """-lp_w / |w|. The rejected ones' rewards mean nothing where they were not run."""
        policy = inputs.policy
        chosen, rejected = policy.chosen.mean, policy.rejected.mean
        return with_rewards(-chosen, 1.0, chosen, rejected)
