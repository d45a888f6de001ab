"""`length_penalty: auto`: the penalty that makes chosen responses as long as rejected ones.

DICE (Chen et al. 2024, arXiv 2406.09760, section 3.2) takes alpha * length off each reward and
picks alpha, at least 0, so that over all pairs the mean difference of length is nearest to 0. It
tries 0, 0.001, 0.002, ... for a length in characters; here it is in tokens, and a gap that holds
the crossing is halved, so that no scale of the reward has to be known.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from annotation.config import PairsConfig
from annotation.selection.pairs import comparable, select_among
from annotation.selection.ranking import Candidates, Reasons
from contracts.errors import UserError

MOST_RESPONSES = 1 << 19
"""Responses that the penalty is found on, 21 bytes each. The recipe's 300,000 are fewer."""
# Powers of two, so that a penalty is the same number on every machine.
_SMALLEST = 2.0**-20
_LARGEST = 2.0**40
_HALVINGS = 20


def auto_length_penalty(
    config: PairsConfig, parts: Iterable[tuple[Candidates, pa.StringArray]]
) -> float:
    """The penalty a token at which the parts' pairs have chosen and rejected as long.

    The pairs are those of the strategy and its filters; `max_similarity` alone is left out, as
    texts are not kept.

    Raises:
        UserError: the strategy picks longer chosen responses at any penalty.
    """
    held = [_Held.of(config, *part) for part in parts]
    if not held:
        return 0.0

    def difference(penalty: float) -> float:
        changed = {"length_penalty": penalty, "max_similarity": None}
        tried = config.model_copy(update=changed)
        tokens, pairs = map(sum, zip(*(one.longer(tried) for one in held), strict=True))
        return tokens / pairs if pairs else float("nan")

    try:
        return balancing_penalty(difference)
    except OverflowError:
        raise UserError(
            f"pairs.length_penalty `auto`: with the strategy {config.strategy.kind!r} chosen "
            "responses stay the longer ones at any penalty; give a number"
        ) from None


def balancing_penalty(difference: Callable[[float], float]) -> float:
    """The penalty, at least 0, at which the mean difference of length is nearest to 0.

    Args:
        difference: of a penalty, the mean tokens of chosen minus rejected; NaN without a pair.

    Raises:
        OverflowError: it is above 0 at any penalty.
    """
    low, at_low = 0.0, difference(0.0)
    if not at_low > 0:  # the chosen are no longer than the rejected, or there is no pair
        return 0.0
    high = _SMALLEST
    while (at_high := difference(high)) > 0:
        if high > _LARGEST:
            raise OverflowError(high)
        low, at_low, high = high, at_high, 2 * high
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        at_middle = difference(middle)
        if at_middle > 0:
            low, at_low = middle, at_middle
        else:
            high, at_high = middle, at_middle
    return high if abs(at_high) <= at_low else low


@dataclass(frozen=True)
class _Held:
    """A part's responses without their texts."""

    candidates: Candidates
    prompt_ids: pa.StringArray
    eligible: np.ndarray
    reasons: Reasons

    @classmethod
    def of(cls, config: PairsConfig, part: Candidates, prompt_ids: pa.StringArray) -> "_Held":
        reasons = Reasons(len(prompt_ids))
        eligible = comparable(config, part, reasons)
        bare = Candidates(part.prompt, part.score, part.tokens, part.truncated, pa.nulls(0))
        return cls(bare, prompt_ids, eligible, reasons)

    def longer(self, config: PairsConfig) -> tuple[int, int]:
        """Tokens by which chosen responses are longer, in all, and the number of pairs."""
        selection = select_among(
            config, self.candidates, self.prompt_ids, self.eligible, self.reasons.copy()
        )
        tokens = self.candidates.tokens
        return int((tokens[selection.chosen] - tokens[selection.rejected]).sum()), len(
            selection.prompt
        )
