"""A judgement: what a judge is asked, and how its answer is read."""

import re

from annotation.scorers.protocol import Score, checked
from runtime.chat_api.completion import Refusal

POINTWISE = """Judge the response to the conversation below by its {criteria}.

<conversation>
{conversation}
</conversation>
<response>
{first}
</response>

Give your reasons in a few sentences. End with a line of its own: Score: N
where N is a number from 1 (useless) to 10 (could not be better)."""

PAIRWISE = """Judge which response to the conversation below is better by its {criteria}.
The order of the two means nothing; a longer one is not better for its length.

<conversation>
{conversation}
</conversation>
<response A>
{first}
</response A>
<response B>
{second}
</response B>

Give your reasons in a few sentences. End with a line of its own: Winner: A
or Winner: B, or Winner: tie where neither is better."""

_SCORE = re.compile(r"^\W*score\W+(\d+(?:\.\d+)?)(?:\s*/\s*10)?\W*$", re.IGNORECASE | re.MULTILINE)
_WINNER = re.compile(r"^\W*winner\W+(a|b|tie)\W*$", re.IGNORECASE | re.MULTILINE)
_RESULTS = {"a": 1.0, "b": -1.0, "tie": 0.0}


def grade(answer: str | Refusal) -> Score:
    """The score that a pointwise judgement ends with."""
    if isinstance(answer, Refusal):
        return Score(error=_row(answer))
    scores = _SCORE.findall(answer)
    if not scores:
        return Score(error="unparsed: the judgement has no line `Score: N`")
    if not 1 <= float(scores[-1]) <= 10:
        return Score(error=f"unparsed: the judgement's score is {scores[-1]}, not 1 to 10")
    return checked(float(scores[-1]))


def winner(answer: str | Refusal) -> float | str:
    """1 where a comparison ends with A, -1 with B, 0 with a tie; else why it is not known."""
    if isinstance(answer, Refusal):
        return _row(answer)
    results = _WINNER.findall(answer)
    if not results:
        return "unparsed: a comparison of this response has no readable result"
    return _RESULTS[results[-1].lower()]


def _row(refusal: Refusal) -> str:
    return f"refused: status {refusal.status}: {refusal.message}"
