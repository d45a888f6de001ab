"""What a good answer is in the demo's world, in closed form: the true reward.

The reward model only learns it from examples. The report shows both, so a policy that
pleased the model without becoming better would be seen.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from contracts.chat import RowError
from demo.words import (
    ITEMS,
    NUMBERS,
    POLITE_CLOSINGS,
    POLITE_OPENINGS,
    RUDE_CLOSINGS,
    RUDE_OPENINGS,
)

WEIGHTS = {"relevance": 0.45, "count": 0.25, "variety": 0.1, "courtesy": 0.2}

_NEUTRAL_COURTESY = 0.3
_REQUEST = re.compile(rf"\b({'|'.join(NUMBERS)}) ({'|'.join(ITEMS)})\b")
_HEADING = re.compile(rf"Here are (?:{'|'.join(NUMBERS)}) (?:{'|'.join(ITEMS)}):")
_PHRASES = (*POLITE_OPENINGS, *RUDE_OPENINGS, *POLITE_CLOSINGS, *RUDE_CLOSINGS)
_SEPARATOR = re.compile(r",|\band\b|[.!?:;\n]")


@dataclass(frozen=True)
class Request:
    """What a prompt asks for: `count` items of `category`."""

    count: int
    category: str


@dataclass(frozen=True)
class Merits:
    """The parts of the true reward, each in [0, 1]."""

    relevance: float
    """Share of the listed items that belong to the category."""
    count: float
    """1 for as many items as asked, less by the relative miss."""
    variety: float
    """Share of the listed items that were not listed before."""
    courtesy: float
    """A polite opening and a polite closing; rude ones give nothing, none gives a little."""

    @property
    def total(self) -> float:
        """The true reward: the weighted mean of the parts."""
        return sum(weight * float(getattr(self, name)) for name, weight in WEIGHTS.items())


def score(messages: Sequence[Mapping[str, str]], response: str) -> float:
    """The true reward of `response` to the last of `messages`, in [0, 1].

    Raises:
        RowError: the prompt asks for no list that this world knows.
    """
    return merits(parse_request(messages[-1]["content"]), response).total


def parse_request(prompt: str) -> Request:
    """What a prompt asks for.

    Raises:
        RowError: it holds no number and category of this world.
    """
    request = _REQUEST.search(prompt)
    if request is None:
        raise RowError("not_a_demo_prompt", f"no request for a list in {prompt[:60]!r}")
    return Request(NUMBERS[request[1]], request[2])


def merits(request: Request, response: str) -> Merits:
    """The parts of the true reward of a response."""
    items = listed_items(response)
    right = sum(item in ITEMS[request.category] for item in items)
    number = max(len(items), 1)
    return Merits(
        relevance=right / number,
        count=max(0.0, 1 - abs(len(items) - request.count) / request.count),
        variety=len(set(items)) / number,
        courtesy=(
            _manner(response.startswith(POLITE_OPENINGS), response.startswith(RUDE_OPENINGS))
            + _manner(response.endswith(POLITE_CLOSINGS), response.endswith(RUDE_CLOSINGS))
        )
        / 2,
    )


def listed_items(response: str) -> list[str]:
    """Everything a response lists, known words or not, in order."""
    rest = _HEADING.sub(",", response)
    for phrase in _PHRASES:
        rest = rest.replace(phrase, ",")
    return [piece for part in _SEPARATOR.split(rest) if (piece := part.strip())]


def _manner(polite: bool, rude: bool) -> float:
    return 1.0 if polite else 0.0 if rude else _NEUTRAL_COURTESY
