"""What format `standard` reads otherwise than the published format does, for the report."""

from collections import Counter
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from contracts.chat import ChatFormat, Message, RowError
from training.tokens.formats import PairTokens, recipe

_COMPARED = 200


class Difference(BaseModel):
    """What the published format reads otherwise, over the pairs compared."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pairs: int
    loss_tokens: dict[str, float]
    """The loss's tokens a response in `standard` and in `recipe`."""
    only_in_recipe: dict[str, list[str]]
    """The tokens that the published mean holds `before` and `after` those of ours."""
    other_answer_tokens: float
    """Share of the answers that have other tokens inside."""


class RecipeDifference:
    """Compares the first rows' token ids, before anything is cut."""

    def __init__(self, chat: ChatFormat) -> None:
        self._chat = chat
        self._pairs = 0
        self._around: Counter[tuple[tuple[str, ...], tuple[str, ...]]] = Counter()
        self._loss_tokens = {"standard": 0, "recipe": 0}

    def add(
        self, prompt: Sequence[Message], chosen: str, rejected: str, standard: PairTokens
    ) -> None:
        """Count a row; `standard` is how it was formatted."""
        if self._pairs == _COMPARED:
            return
        try:
            published = recipe(self._chat, prompt, chosen, rejected)
        except RowError:
            return  # the published format cannot say it at all
        self._pairs += 1
        for ours, theirs in (
            (standard.chosen, published.chosen),
            (standard.rejected, published.rejected),
        ):
            self._loss_tokens["standard"] += len(ours)
            self._loss_tokens["recipe"] += len(theirs)
            if excerpt := _around(ours, theirs):
                self._around[self._names(excerpt[0]), self._names(excerpt[1])] += 1

    def found(self) -> Difference | None:
        """The difference so far; None where nothing was compared."""
        if not self._pairs:
            return None
        responses = 2 * self._pairs
        (before, after), _ = (self._around.most_common(1) or [(((), ()), 0)])[0]
        return Difference(
            pairs=self._pairs,
            loss_tokens={name: n / responses for name, n in self._loss_tokens.items()},
            only_in_recipe={"before": list(before), "after": list(after)},
            other_answer_tokens=1 - self._around.total() / responses,
        )

    def _names(self, ids: Sequence[int]) -> tuple[str, ...]:
        return tuple(self._chat.tokenizer.decode([one]) for one in ids)


def _around(ours: list[int], theirs: list[int]) -> tuple[list[int], list[int]] | None:
    """What `theirs` has before and after `ours`, or None where it does not hold it."""
    for start in range(len(theirs) - len(ours) + 1):
        if theirs[start : start + len(ours)] == ours:
            return theirs[:start], theirs[start + len(ours) :]
    return None
