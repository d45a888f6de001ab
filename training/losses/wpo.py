"""WPO's weights of pairs."""

from dataclasses import replace

from training.losses.base import PairLogprobs, PairLosses, Pairs, ResponseLogprobs


def weighted(losses: PairLosses, policy: PairLogprobs) -> PairLosses:
    """Each pair's whole loss times how likely the policy is to say its two responses.

    WPO (Zhou et al. 2024, arXiv 2406.11827, equation 2 with sampled alignment; TRL's
    `use_weighting`). With a = the mean over a response's tokens of log p(token) - log sum_v
    p(v) ** 2, the weight, which has no gradient, is

        exp(a_w + a_l)

    sum_v p(v) ** 2 is the mean probability of a token that the policy itself draws, so the
    policy's own responses weigh about 1, whatever its entropy, and others' less. The authors'
    script also cuts the weight at 1, which neither the equation nor TRL does.
    """
    weights = (_aligned(policy.chosen) + _aligned(policy.rejected)).exp()
    return replace(losses, loss=losses.loss * weights, weights=weights)


def _aligned(response: ResponseLogprobs) -> Pairs:
    assert response.collisions is not None
    return (response.mean - response.collisions / response.tokens).detach()
