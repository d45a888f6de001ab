"""Batches under a token budget, the same ones whenever the same part is scored."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch

from contracts.errors import OnPolicyError
from runtime.pool.messages import heartbeat

log = logging.getLogger(__name__)

V = TypeVar("V")


@dataclass(frozen=True)
class Group:
    """A prompt and its responses, as token ids."""

    prompt: list[int]
    """Up to and including the assistant's header."""
    responses: list[list[int]]
    """Each answer with its end of turn."""
    rows: list[int]
    """For each response, which row of the caller's it is."""
    gating_at: int = 0
    """Where in the prompt the gating is read."""

    @property
    def tokens(self) -> int:
        """Tokens with the prompt counted once."""
        return len(self.prompt) + sum(map(len, self.responses))

    def split(self, budget: int) -> "list[Group]":
        """The group in pieces of at most `budget` tokens, or of one response where that is more."""
        pieces: list[list[int]] = []
        used = budget
        for index, response in enumerate(self.responses):
            used += len(response)
            if used > budget:
                pieces.append([])
                used = len(self.prompt) + len(response)
            pieces[-1].append(index)
        return [
            replace(
                self,
                responses=[self.responses[i] for i in piece],
                rows=[self.rows[i] for i in piece],
            )
            for piece in pieces
        ]


def alone(groups: Sequence[Group]) -> list[Group]:
    """Each response as a group of its own: conversations that share nothing."""
    return [piece for group in groups for piece in group.split(0)]


def packed_tokens(batch: Sequence[Group]) -> int:
    """Tokens of a batch that holds no padding."""
    return sum(group.tokens for group in batch)


def padded_tokens(batch: Sequence[Group]) -> int:
    """Tokens of a batch of rows padded to the longest."""
    return len(batch) * max(group.tokens for group in batch)


def in_batches(
    groups: Sequence[Group],
    budget: int,
    size: Callable[[Sequence[Group]], int],
    forward: Callable[[Sequence[Group]], list[V]],
) -> Iterator[tuple[int, V]]:
    """Each response's row and what `forward` gives for it, longest batches first.

    On out-of-memory, the budget is halved and the batch retried. Each call starts with the full
    budget again, so the batches of a part do not depend on the parts before it.

    Args:
        size: a batch's tokens.
        forward: from a batch to one value for each of its responses, in order.

    Raises:
        OnPolicyError: a single response does not fit the memory.
    """
    waiting = _arrange(groups, budget)
    while waiting:
        batch = _take(waiting, budget, size)
        values = _unless_out_of_memory(forward, batch)
        if values is None:
            budget = _halved(batch, size(batch))
            waiting = _arrange(waiting, budget)
            continue
        heartbeat()
        yield from zip([row for group in batch for row in group.rows], values, strict=True)
        del waiting[: len(batch)]


def _arrange(groups: Sequence[Group], budget: int) -> list[Group]:
    pieces = [piece for group in groups for piece in group.split(budget)]
    # Longest first: a padded batch holds rows of like length, and a batch that is too large for the
    # memory is met at once, with nothing lost.
    return sorted(pieces, key=lambda piece: (-piece.tokens, piece.rows[0]))


def _take(
    waiting: Sequence[Group], budget: int, size: Callable[[Sequence[Group]], int]
) -> list[Group]:
    """The next groups that fit the budget; one at least."""
    count = 1
    while count < len(waiting) and size(waiting[: count + 1]) <= budget:
        count += 1
    return list(waiting[:count])


def _unless_out_of_memory(
    forward: Callable[[Sequence[Group]], list[V]], batch: Sequence[Group]
) -> list[V] | None:
    """None where it does not fit. The error ends here: its traceback holds the frames of the
    forward pass, and those all of its tensors."""
    try:
        return forward(batch)
    except torch.OutOfMemoryError:
        return None


def _halved(batch: Sequence[Group], tokens: int) -> int:
    if sum(len(group.rows) for group in batch) == 1:
        raise OnPolicyError(
            f"out of memory on a single conversation of {tokens} tokens; lower the annotator's "
            "`max_length`, or score on a device with more memory"
        )
    # What the failed batch took is free, but cut up; a smaller batch may not fit into the pieces.
    torch.cuda.empty_cache()
    log.warning("out of memory on %d tokens; going on with batches of half as many", tokens)
    return tokens // 2
