"""Arena-Hard-Auto (https://arxiv.org/abs/2406.11939): v0.1 as in the paper, v2 by choice.

Its files are those of arena-hard-auto: v0.1's as the release of the paper's time reads them, v2's
as the repository does at 196f6b8. `token_len` there counts GPT tokens, ours `token_count`'s.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from contracts.errors import UserError
from contracts.tables.json_lines import json_line
from evaluation.benchmarks.base import (
    Answer,
    Benchmark,
    Decoding,
    Hub,
    Question,
    ask,
    stable_id,
    text_of,
)
from evaluation.win_rates.style import markdown_counts, token_count

_DATASET = ("lmarena-ai/arena-hard-auto", "15f3746e21432264ce9b453999bde4f3c946d2e6")


class _ArenaHard(Benchmark):
    """What both versions share."""

    recipe: ClassVar = Decoding(0.0)
    sampled: ClassVar = Decoding(0.5)

    def question(self, origin: str, row: int, record: Mapping[str, Any]) -> Question:
        """Either published layout: `uid` and `prompt`, or `question_id` and one of `turns`."""
        turns = record.get("turns")
        if turns:
            first = turns[0] if isinstance(turns, list) else turns
            if not isinstance(first, Mapping):
                raise UserError(f"{origin}: 'turns' is no list of objects with a 'content'")
            prompt = text_of(f"{origin} turns[0]", first, "content")
        else:
            prompt = text_of(origin, record, "prompt")
        key = text_of(origin, record, "uid", "question_id")
        category = str(record.get("subcategory") or record.get("cluster") or "")
        return Question(key, ask(prompt), category=category)

    def files(self, answers: Sequence[Answer], generator: str) -> dict[str, str]:
        """`model_answer/GENERATOR.jsonl`."""
        records = [self.record(one, generator) for one in answers if not one.sample]
        return {f"model_answer/{generator}.jsonl": "".join(map(json_line, records))}

    def record(self, one: Answer, generator: str) -> dict[str, Any]:
        """An answer as the version's own tools read it."""
        raise NotImplementedError


class ArenaHard(_ArenaHard):
    """Arena-Hard v0.1: 500 questions, judged against gpt-4-0314."""

    name: Literal["arena_hard"] = "arena_hard"

    hub: ClassVar = Hub(*_DATASET, "data/arena-hard-v0.1/question.jsonl")
    sha256: ClassVar = "f1553b00ab5c0f23404f556a1a29ae335480400e59232d70e1362710e91a54a1"

    def record(self, one: Answer, generator: str) -> dict[str, Any]:
        """A row of `model_answer`, in the format of v0.1's release."""
        turn = {"content": one.turns[0], "token_len": token_count(one.turns[0])}
        return {
            "question_id": one.question.key,
            "answer_id": stable_id(generator, one.question.key),
            "model_id": generator,
            "choices": [{"index": 0, "turns": [turn]}],
            "tstamp": 0.0,
        }


class ArenaHardV2(_ArenaHard):
    """Arena-Hard v2: 500 hard prompts and 250 creative ones. 8B policies score about 1 there."""

    name: Literal["arena_hard_v2"] = "arena_hard_v2"

    hub: ClassVar = Hub(*_DATASET, "data/arena-hard-v2.0/question.jsonl")
    sha256: ClassVar = "217c4292f6552936aec53be03faa18547df67a25e3fda6ca0064b4f69d7ecb18"

    def record(self, one: Answer, generator: str) -> dict[str, Any]:
        """A row of `model_answer`, in the format of today's repository."""
        answer = {"role": "assistant", "content": {"answer": one.turns[0]}}
        return {
            "uid": one.question.key,
            "ans_id": stable_id(generator, one.question.key),
            "model": generator,
            "messages": [*one.question.messages, answer],
            "tstamp": 0.0,
            "metadata": {"token_len": token_count(one.turns[0]), **markdown_counts(one.turns[0])},
        }
