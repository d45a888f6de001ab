"""Mixing the sources of prompts."""

from collections.abc import Iterator, Sequence
from itertools import accumulate, chain, islice
from typing import Any

from generation.config import PromptsConfig

PromptRow = dict[str, Any]


def mix(config: PromptsConfig, sources: Sequence[Iterator[PromptRow]]) -> list[PromptRow]:
    """The prompts of all sources, source after source, each in its own order.

    Without weights, each source gives all its prompts up to its own limit, and the mixture stops
    at its limit. With weights, the proportions hold to one prompt: the mixture stops at its limit,
    or when one source runs out. Each source gives its first prompts.
    """
    capped = [
        islice(rows, source.limit) for rows, source in zip(sources, config.mixture, strict=True)
    ]
    weights = [source.weight for source in config.mixture if source.weight]
    if not weights:
        return list(islice(chain.from_iterable(capped), config.limit))
    # One after the other, so that the first source keeps a prompt that two of them hold.
    pools = [list(rows) for rows in capped]
    counts = shares([len(pool) for pool in pools], weights, config.limit)
    return [row for pool, count in zip(pools, counts, strict=True) for row in pool[:count]]


def shares(sizes: Sequence[int], weights: Sequence[float], limit: int | None) -> list[int]:
    """Rows to take of pools of these sizes, in proportion to the weights.

    >>> shares([100, 100], [3, 1], None)
    [100, 33]
    """
    weight_sum = sum(weights)
    total = min(size * weight_sum / weight for size, weight in zip(sizes, weights, strict=True))
    total = min(total, limit or total)
    # Ends are rounded, not counts: these then add up, and each is off by less than one.
    ends = [round(total * part / weight_sum) for part in accumulate(weights)]
    counts = [end - start for start, end in zip([0, *ends], ends, strict=False)]
    return [min(count, size) for count, size in zip(counts, sizes, strict=True)]
