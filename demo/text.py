"""Prompts of the demo's world, and answers to them of mixed quality."""

import random
from dataclasses import dataclass

from demo.rubric import Request
from demo.words import (
    BENCHMARK_WORDINGS,
    HEADING,
    ITEMS,
    NUMBERS,
    POLITE_CLOSINGS,
    POLITE_OPENINGS,
    RUDE_CLOSINGS,
    RUDE_OPENINGS,
    WORDINGS,
)

Answered = tuple[str, str]
"""A prompt and an answer to it."""

_NUMBER_WORDS = {number: word for word, number in NUMBERS.items()}


@dataclass(frozen=True)
class Quality:
    """How an answer is written; each figure is a probability."""

    wrong: float
    """An item comes from another category."""
    repeat: float
    """An item was listed already."""
    miscount: float
    """One or two items too many or too few."""
    polite: float
    rude: float
    """A polite, a rude opening (and closing); neither else."""


# A policy taught with these knows good answers and often gives others.
SLOPPY = Quality(wrong=0.5, repeat=0.03, miscount=0.6, polite=0.1, rude=0.4)
PLAIN = Quality(wrong=0.2, repeat=0.03, miscount=0.3, polite=0.3, rude=0.2)
GOOD = Quality(wrong=0.03, repeat=0.02, miscount=0.08, polite=0.75, rude=0.05)
PERFECT = Quality(wrong=0.0, repeat=0.0, miscount=0.0, polite=1.0, rude=0.0)
TAUGHT = (SLOPPY, SLOPPY, SLOPPY, PLAIN, GOOD)


def all_prompts() -> list[str]:
    """Every prompt of the world, in a fixed order."""
    return _written(WORDINGS)


def benchmark_prompts() -> list[str]:
    """Prompts in wordings that no other prompt has."""
    return _written(BENCHMARK_WORDINGS)


def answer(request: Request, quality: Quality, rng: random.Random) -> str:
    """An answer to `request`, as good as `quality` makes it."""
    opening = _phrase(POLITE_OPENINGS, RUDE_OPENINGS, quality, rng)
    heading = HEADING.format(n=_NUMBER_WORDS[request.count], c=request.category)
    items = _items(request, quality, rng)
    listed = " and ".join([", ".join(items[:-1]), items[-1]]) if len(items) > 1 else items[0]
    closing = _phrase(POLITE_CLOSINGS, RUDE_CLOSINGS, quality, rng)
    parts = [opening, heading if rng.random() < 0.5 else "", f"{listed}.", closing]
    return " ".join(part for part in parts if part)


def any_quality(rng: random.Random) -> Quality:
    """A quality drawn evenly from bad to perfect, each fault by itself."""
    polite = rng.choice((0.0, 0.3, 0.6, 1.0))
    return Quality(
        wrong=rng.choice((0.0, 0.1, 0.3, 0.7)),
        repeat=rng.choice((0.0, 0.0, 0.05, 0.2)),
        miscount=rng.choice((0.0, 0.3, 0.7)),
        polite=polite,
        rude=rng.random() * (1 - polite),
    )


def corrupted(text: str, rng: random.Random) -> str:
    """`text` as a policy that goes wrong may write it: words lost, swapped, said again, cut."""
    words = text.split()
    place = rng.randrange(len(words))
    match rng.randrange(4):
        case 0:
            del words[place]
        case 1:
            words.insert(rng.randrange(len(words)), words[place])
        case 2:
            words[place:] = words[max(0, place - 3) :]
        case 3:
            words = words[: place + 1]
    return " ".join(words)


def _written(wordings: tuple[str, ...]) -> list[str]:
    return [
        wording.format(n=number, c=category)
        for wording in wordings
        for number in NUMBERS
        for category in ITEMS
    ]


def _items(request: Request, quality: Quality, rng: random.Random) -> list[str]:
    count = request.count
    if rng.random() < quality.miscount:
        count = max(1, count + rng.choice((-2, -1, 1, 2)))
    items: list[str] = []
    for _ in range(count):
        if items and rng.random() < quality.repeat:
            items.append(rng.choice(items))
            continue
        wrong = rng.random() < quality.wrong
        category = rng.choice(list(ITEMS)) if wrong else request.category
        items.append(rng.choice([item for item in ITEMS[category] if item not in items]))
    return items


def _phrase(
    polite: tuple[str, ...], rude: tuple[str, ...], quality: Quality, rng: random.Random
) -> str:
    draw = rng.random()
    if draw < quality.polite:
        return rng.choice(polite)
    return rng.choice(rude) if draw < quality.polite + quality.rude else ""
