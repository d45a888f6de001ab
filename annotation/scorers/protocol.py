"""What every annotator is to the stage: conversations in, one score or one error a response out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol, runtime_checkable

from contracts.chat import Message, RowError
from runtime.pool.messages import heartbeat


@dataclass(frozen=True)
class Conversation:
    """A prompt and the responses to it."""

    messages: list[Message]
    responses: list[str]


@dataclass(frozen=True)
class Score:
    """A response's score, or why there is none."""

    score: float | None = None
    objectives: list[float] | None = None
    gating: list[float] | None = None
    """The weight of each objective."""
    disagreement: float | None = None
    """Standard deviation among an ensemble's members."""
    cut: int | None = None
    """Tokens cut off the response's end before it was scored; None where none."""
    error: str | None = None
    """Begins with the reason that errors are counted under, before a colon."""


class Scorer(Protocol):
    """One annotator, ready to score."""

    @property
    def facts(self) -> dict[str, Any]:
        """What the manifest records of it: dtype, device, names of its objectives."""

    def score(self, conversations: Sequence[Conversation]) -> list[Score]:
        """A score or an error for each response of each conversation, in order."""


Scoring = Callable[[], list[Score]]
"""What is left of a scoring once its input is prepared."""


@runtime_checkable
class PreparingScorer(Scorer, Protocol):
    """A scorer with work that needs no model, e.g. tokenising: it is done in a thread of its own
    while the model scores the part before."""

    def prepare(self, conversations: Sequence[Conversation]) -> Scoring:
        """All of `score` that comes before the model's own work; the rest is to be called."""


def prepared(scorer: Scorer, conversations: Sequence[Conversation]) -> Scoring:
    """What is left of scoring these conversations, in any scorer."""
    if isinstance(scorer, PreparingScorer):
        return scorer.prepare(conversations)
    return partial(scorer.score, conversations)


@dataclass(frozen=True)
class FunctionScorer:
    """Rewards that a Python function computes."""

    function: Any
    facts: dict[str, Any] = field(default_factory=dict)

    def score(self, conversations: Sequence[Conversation]) -> list[Score]:
        """The function's score of each response; an error for each response that it refuses.

        Only `RowError` is a refusal; any other exception is a bug in the function and ends
        the stage.
        """
        return [
            self._score(conversation.messages, text)
            for conversation in conversations
            for text in conversation.responses
        ]

    def _score(self, messages: Sequence[Message], text: str) -> Score:
        heartbeat()
        try:
            return checked(float(self.function(messages, text)))
        except RowError as error:
            return Score(error=f"{error.reason}: {error}")


def checked(
    score: float, objectives: list[float] | None = None, gating: list[float] | None = None
) -> Score:
    """A score that is a number, else the error that says so."""
    if score - score != 0.0:
        return Score(error=f"not_finite: the annotator gave {score}")
    return Score(score, objectives, gating)


def by_comparison(
    scores: Sequence[Score], games: Sequence[tuple[int, int, float | str]]
) -> list[Score]:
    """Scores from comparisons: a response's mean result over its games.

    Args:
        scores: an error for each response that could not be compared.
        games: (first, second, result), the result above 0 where the first one is better, or
            the error that says why it is not known; then neither of the two has a score, for a
            mean over fewer games than the others' would not be comparable.
    """
    results: list[list[float]] = [[] for _ in scores]
    unknown: dict[int, str] = {}
    for first, second, result in games:
        if isinstance(result, str):
            unknown |= {first: result, second: result}
        else:
            results[first].append(result)
            results[second].append(-result)
    return [_mean(score, results[i], unknown.get(i)) for i, score in enumerate(scores)]


def _mean(score: Score, results: Sequence[float], unknown: str | None) -> Score:
    if score.error is not None:
        return score
    if unknown:
        return Score(error=unknown)
    if not results:
        return Score(error="one_response: there is no other response to compare it with")
    return replace(checked(sum(results) / len(results)), cut=score.cut)


def transcript(messages: Sequence[Message]) -> str:
    """What the responses answer, as one text: a single user turn as it is."""
    if len(messages) == 1 and messages[0]["role"] == "user":
        return messages[0]["content"]
    return "\n".join(f"{message['role'].upper()}: {message['content']}" for message in messages)
