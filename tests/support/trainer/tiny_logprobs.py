"""Log-probs of a pair or two, small enough to compute a loss of them by hand."""

import math

import torch

from training.losses.base import (
    PairLogprobs,
    PairLosses,
    ResponseLogprobs,
)


def responses(totals: list[float], tokens: list[int]) -> ResponseLogprobs:
    return ResponseLogprobs(
        torch.tensor(totals, dtype=torch.float64), torch.tensor(tokens, dtype=torch.float64)
    )


def logprobs(chosen: list[float], rejected: list[float], tokens: int = 2) -> PairLogprobs:
    """Responses of `tokens` tokens with the given mean log-probs."""
    sides = ([mean * tokens for mean in means] for means in (chosen, rejected))
    return PairLogprobs(*(responses(side, [tokens] * len(side)) for side in sides))


# One pair for the methods below: lp_w = -6 over 3 tokens, lp_l = -8 over 2 tokens, and a
# reference at ref_w = -7, ref_l = -7.5: log-ratios 1 and -0.5, a token 1/3 and -1/4.
POLICY = PairLogprobs(responses([-6.0], [3]), responses([-8.0], [2]))


REFERENCE = PairLogprobs(responses([-7.0], [3]), responses([-7.5], [2]))


def softplus(x: float) -> float:
    """-log sigmoid(-x)."""
    return math.log(1 + math.exp(x))


def value(result: PairLosses) -> float:
    return float(result.loss.item())
