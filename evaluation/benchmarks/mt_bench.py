"""MT-Bench (https://arxiv.org/abs/2306.05685): 80 questions of two turns, as FastChat asks them."""

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
)

# fastchat/llm_judge/common.py, `temperature_config`; what is not there is 0.7.
_TEMPERATURES = {
    "writing": 0.7, "roleplay": 0.7, "extraction": 0.0, "math": 0.0, "coding": 0.0,
    "reasoning": 0.0, "stem": 0.1, "humanities": 0.1,
}  # fmt: skip
_ELSE = 0.7


class MTBench(Benchmark):
    """MT-Bench."""

    name: Literal["mt_bench"] = "mt_bench"

    hub: ClassVar = Hub(
        "HuggingFaceH4/mt_bench_prompts",
        "e3a795c5e9a82ee40611c416b8a7786c73198991",
        "raw/question.jsonl",
    )
    sha256: ClassVar = "0d0d022e5efec7a7bb05421f86819587383a4b950c751e97e12e6c95602682d3"
    # gen_model_answer.py's --max-new-token.
    recipe: ClassVar = Decoding(_ELSE, max_tokens=1024)
    sampled: ClassVar = recipe

    def preset_of(self, question: Question) -> Decoding:
        """The temperature goes by category, in both presets."""
        return Decoding(_TEMPERATURES.get(question.category, _ELSE), max_tokens=1024)

    def question(self, origin: str, row: int, record: Mapping[str, Any]) -> Question:
        """The first turn, and the one that follows the policy's answer to it."""
        turns = record.get("turns") or record.get("prompt")
        if not isinstance(turns, list) or not turns or not all(map(_is_text, turns)):
            raise UserError(f"{origin}: no list of texts in 'turns'")
        key = str(record.get("question_id", record.get("prompt_id", row)))
        category = str(record.get("category") or "")
        return Question(key, ask(turns[0]), tuple(turns[1:]), category)

    def files(self, answers: Sequence[Answer], generator: str) -> dict[str, str]:
        """`model_answer/GENERATOR.jsonl`, as FastChat's gen_judgment.py reads it."""
        choices: dict[str, list[dict[str, Any]]] = {}
        for one in answers:
            choice = {"index": one.sample, "turns": one.turns}
            choices.setdefault(one.question.key, []).append(choice)
        records = [
            {
                "question_id": int(key) if key.isdecimal() else key,
                "answer_id": stable_id(generator, key),
                "model_id": generator,
                "choices": turns,
                "tstamp": 0.0,
            }
            for key, turns in choices.items()
        ]
        return {f"model_answer/{generator}.jsonl": "".join(map(json_line, records))}


def _is_text(turn: object) -> bool:
    return isinstance(turn, str) and bool(turn.strip())
