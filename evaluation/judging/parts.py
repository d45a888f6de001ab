"""A benchmark's prompts in parts, by category and by the answers' length."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from contracts.tables.parts import read_table
from evaluation.judging.referees.benchmarks import REFEREES
from evaluation.win_rates.estimate import FEWEST

_LENGTHS = 4


@dataclass(frozen=True)
class Judged:
    """A question and the answer that was judged."""

    instruction: str
    category: str
    answer: str
    """Its first turn's; empty where there is none."""


def judged_questions(benchmark: str, questions: Path, answers: Path) -> dict[str, Judged]:
    """The benchmark's questions by the name that judgements know them by, in their order.

    Args:
        questions: QUESTIONS.
        answers: ANSWERS.
    """
    columns = ["benchmark", "question_id", "turn", "messages", "category"]
    answered = {
        row["question_id"]: row["answer"]
        for row in read_table(answers, ["benchmark", "question_id", "turn", "sample", "answer"])
        .to_pylist()
        if (row["benchmark"], row["turn"], row["sample"]) == (benchmark, 1, 0)
    }  # fmt: skip
    key_of = REFEREES[benchmark].question_key
    by_key = {}
    for row in read_table(questions, columns).to_pylist():
        if (row["benchmark"], row["turn"]) == (benchmark, 1):
            text, name = row["messages"][-1]["content"], row["question_id"]
            answer = answered.get(name) or ""
            by_key[key_of(name, text)] = Judged(text, row["category"], answer)
    return by_key


def parts(
    questions: Mapping[str, Judged], keys: Collection[str]
) -> Iterator[tuple[str, Collection[str]]]:
    """The categories among `keys`, then quarters by the length of the answer, with their prompts;
    those with fewer than ten are left out."""
    categories: dict[str, list[str]] = {}
    for key in keys:
        categories.setdefault(questions[key].category, []).append(key)
    named = {
        name: members for name, members in categories.items() if name and len(members) >= FEWEST
    }
    yield from ((f"category {name}", members) for name, members in sorted(named.items()))
    yield from by_length({key: len(questions[key].answer) for key in keys}, "characters")


def by_length(lengths: Mapping[str, int], unit: str) -> Iterator[tuple[str, Sequence[str]]]:
    """Quarters of the prompts from the shortest to the longest answer."""
    if len(lengths) < _LENGTHS * FEWEST:
        return
    keys = sorted(lengths, key=lambda key: lengths[key])
    for number, rows in enumerate(np.array_split(np.arange(len(keys)), _LENGTHS), start=1):
        quarter = [keys[row] for row in rows]
        ends = f"{lengths[quarter[0]]:,} to {lengths[quarter[-1]]:,} {unit}"
        yield f"length {number}: {ends}", quarter
