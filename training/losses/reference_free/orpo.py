"""ORPO."""

from typing import Literal

from training.losses.base import (
    LossInputs,
    LossVariant,
    NotNegative,
    PairLosses,
    Pairs,
    smoothed,
    with_rewards,
)

# Nats by which a mean log-prob stays below 0 in odds.
_CERTAIN = 1e-6


class ORPOConfig(LossVariant):
    """ORPO (arXiv 2403.07691): the chosen response's likelihood and an odds ratio."""

    kind: Literal["orpo"] = "orpo"
    weight: NotNegative = 0.1
    """Weight of the odds ratio against the likelihood (the paper's lambda, TRL's beta)."""

    def losses(self, inputs: LossInputs) -> PairLosses:
        """ORPO (Hong et al. 2024, arXiv 2403.07691, equations 6 and 7).

        With p = exp(lp / tokens) and odds(p) = p / (1 - p):

            -lp_w / |w| - weight * log s(log odds(p_w) - log odds(p_l))

        p counts as at most 1 - 1e-6, log odds of 13.8 (`_log_odds`).
        """
        policy = inputs.policy
        chosen, rejected = policy.chosen.mean, policy.rejected.mean
        odds_ratio = _log_odds(chosen) - _log_odds(rejected)
        loss = -chosen + self.weight * smoothed(odds_ratio, 0.0)
        return with_rewards(loss, self.weight, chosen, rejected)


def _log_odds(mean: Pairs) -> Pairs:
    """log(p / (1 - p)) for p = exp(mean), finite and with a finite gradient up to p = 1.

    A mean within 1e-6 of 0 counts as -1e-6: there a float32 log-prob is rounding alone (a logit
    of 16 is known to 1e-6), which may even put it above 0, where the log would be NaN.
    """
    mean = mean.clamp(max=-_CERTAIN)
    return mean - _log1mexp(mean)


def _log1mexp(x: Pairs) -> Pairs:
    """log(1 - exp(x)) for x < 0, without cancellation at either end."""
    near = (-x.expm1()).log()
    # The branch that `where` leaves out must have a finite gradient too.
    far = (-x.clamp(max=-0.6).exp()).log1p()
    return near.where(x > -0.6, far)
