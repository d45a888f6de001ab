"""The best response against a random lower one."""

import hashlib
from typing import TYPE_CHECKING, Literal

from annotation.strategies.base import Places, Ranked, StrategyVariant

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa


class MaxRandom(StrategyVariant):
    """The best response against a random lower one."""

    kind: Literal["max_random"] = "max_random"

    def pairs(self, ranked: Ranked) -> Places:
        """Any place of a lower score is rejected, each as likely."""
        span = ranked.end - ranked.first
        offset = (_draws(ranked.seed, ranked.prompt_ids) * span).astype("int64")
        return Places(ranked.prompts, ranked.chosen, ranked.first + offset)


def _draws(seed: int, prompt_ids: "pa.Array") -> "np.ndarray":
    """For each prompt a number in [0, 1) that depends on the seed and its id alone."""
    import numpy as np

    digests = (
        hashlib.blake2b(f"{seed}:{prompt_id}".encode(), digest_size=4).digest()
        for prompt_id in prompt_ids.to_pylist()
    )
    return np.frombuffer(b"".join(digests), "<u4") / 2.0**32
