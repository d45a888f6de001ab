"""IPO."""

from typing import Literal

from training.losses.base import (
    LossInputs,
    PairLosses,
    Positive,
    ReferenceLoss,
    with_rewards,
)


class IPOConfig(ReferenceLoss):
    """IPO (arXiv 2310.12036)."""

    kind: Literal["ipo"] = "ipo"
    tau: Positive = 0.1
    """Strength of the pull to the reference; the log-ratios' target margin is 1 / (2 tau)."""
    length_normalized: bool = True
    """Log-ratios a token, as TRL has them on the authors' advice, not summed."""

    def losses(self, inputs: LossInputs) -> PairLosses:
        """IPO (Azar et al. 2023, arXiv 2310.12036, equation 17).

            ((lp_w - ref_w) - (lp_l - ref_l) - 1 / (2 * tau)) ** 2

        With `length_normalized` each log-ratio is divided by its response's tokens.
        """
        chosen, rejected = inputs.ratios
        if self.length_normalized:
            chosen, rejected = (
                chosen / inputs.policy.chosen.tokens,
                rejected / inputs.policy.rejected.tokens,
            )
        loss = (chosen - rejected - 1 / (2 * self.tau)).square()
        return with_rewards(loss, self.tau, chosen, rejected)
