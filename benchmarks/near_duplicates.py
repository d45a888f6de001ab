"""`python -m benchmarks.near_duplicates [DATA]`: near-duplicates at 6,000 and at 60,000 prompts.

Prompts of real words: runs of 2 to 8 words cut from real UltraFeedback prompts (`DATA`, JSON lines
with a `prompt`; by default those in `../shared/data`) and strung together to real lengths, each
with a number of its own, under one system message of 120 words. One in a hundred comes again with
a word added: these must go, the others must stay, or the figure is 0. The rate is prompts a second
of processor time of the whole stage (reading, comparing, writing) in this process; sizes
interleaved, the median of three passes. `template` (one pass) is the same with 100 words that all
prompts begin with in the user's turn as well: the work for a prompt must not grow with the others.
"""

import json
import random
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.support.outcome import report
from contracts.tables.parts import read_table
from generation.config import PromptsConfig
from generation.prompts import inputs_of, run
from generation.sources.ngrams import words

_DATA = Path(__file__).parents[2] / "shared" / "data" / "ultrafeedback" / "train_1000.jsonl"
_SIZES = (6_000, 60_000)
_PASSES = 3
_TWINS = 100
_ADDED = " please"
_SYSTEM = " ".join(f"rule{number}" for number in range(120))
_TEMPLATE = " ".join(f"step{number}" for number in range(100))
_OWN_WORDS = 20
_THRESHOLD = 0.8


def main() -> None:
    """Print the rate at the large size over that at the small one."""
    real = _real_prompts(Path(sys.argv[1]) if len(sys.argv) > 1 else _DATA)
    _measure(real, 100, "", seed=0)  # imports
    plain = _compare(real, "", _PASSES)
    template = _compare(real, _TEMPLATE, 1)
    all_right = plain["wrong"] == template["wrong"] == 0
    report(
        "near_duplicates",
        plain["ratio"] if all_right else 0.0,
        0.7,
        "rate at 60,000 prompts over the rate at 6,000",
        plain=plain,
        template=template,
        system_words=120,
        real_prompts=len(real),
        peak_mb=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    )


def _compare(real: Sequence[list[str]], opening: str, passes: int) -> dict[str, float]:
    rates: dict[int, list[float]] = {size: [] for size in _SIZES}
    wrong = 0
    for number in range(passes):
        for size in _SIZES:
            seconds, mistakes = _measure(real, size, opening, seed=number)
            rates[size].append(size / seconds)
            wrong += mistakes
            print(f"{size} prompts: {size / seconds:.0f}/s, {mistakes} wrong", flush=True)
    ratios = [large / small for small, large in zip(*rates.values(), strict=True)]
    medians = {
        f"prompts_per_second_{size}": round(statistics.median(rates[size])) for size in rates
    }
    return {"ratio": round(statistics.median(ratios), 3), "wrong": wrong, **medians}


def _measure(real: Sequence[list[str]], size: int, opening: str, seed: int) -> tuple[float, int]:
    """Seconds of processor time, and how many prompts wrongly stayed or went."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "prompts.jsonl"
        texts = list(_prompts(real, size, opening, random.Random(seed)))
        path.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in texts))
        config = PromptsConfig(path=str(path), system=_SYSTEM, near_duplicates=_THRESHOLD)
        began = time.process_time()
        run(config, inputs_of(config), Path(folder))
        seconds = time.process_time() - began
        stayed = {_spoken(row) for row in read_table(Path(folder), ["messages"]).to_pylist()}
        return seconds, len(stayed ^ {text for text in texts if not text.endswith(_ADDED)})


def _spoken(row: Mapping[str, Any]) -> str:
    return str(row["messages"][-1]["content"])


def _prompts(
    real: Sequence[list[str]], size: int, opening: str, chance: random.Random
) -> Iterator[str]:
    """`size` prompts; the last one of each hundred is an earlier one with a word added."""
    for first in range(0, size, _TWINS):
        own = [
            _prompt(real, number, opening, chance) for number in range(first, first + _TWINS - 1)
        ]
        yield from own
        yield max(own, key=len) + _ADDED


def _prompt(real: Sequence[list[str]], number: int, opening: str, chance: random.Random) -> str:
    length = len(chance.choice(real))
    # With fewer words of their own, prompts of one template would be 0.8 alike indeed.
    length = max(length, _OWN_WORDS) if opening else length
    spoken = opening.split()
    while len(spoken) < length + len(opening.split()):
        source = chance.choice(real)
        start = chance.randrange(len(source))
        spoken += source[start : start + chance.randint(2, 8)]
    # A short prompt must differ from its like by more than a word.
    return " ".join([*spoken, f"a{number}", f"b{number}", f"c{number}"])


def _real_prompts(path: Path) -> list[list[str]]:
    with path.open() as file:
        prompts = [words(json.loads(line)["prompt"]) for line in file]
    return [prompt for prompt in prompts if prompt]


if __name__ == "__main__":
    main()
