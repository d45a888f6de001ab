"""MMLU-Redux (https://arxiv.org/abs/2406.04127): 2,778 questions, zero-shot as ZeroEval asks."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from contracts.errors import UserError
from evaluation.benchmarks import zero_eval
from evaluation.benchmarks.base import Benchmark, Decoding, Hub, Parsed, Question, ask, text_of


class MMLU(Benchmark):
    """MMLU-Redux, the MMLU of the published table."""

    name: Literal["mmlu"] = "mmlu"

    # No hash is published for it, nor could we have its questions to take one; a run fixes the
    # commit and records the hash, which the user can pin as `questions_sha256`.
    hub: ClassVar = Hub("yuchenlin/zero-eval", "main", "mmlu-redux/test-00000-of-00001.parquet")
    recipe: ClassVar = Decoding(0.0)
    exact: ClassVar = True

    def question(self, origin: str, row: int, record: Mapping[str, Any]) -> Question:
        """`choices` and `correct_answer`, which is one of their texts."""
        choices = list(record.get("choices") or ())
        right = text_of(origin, record, "correct_answer")
        if right not in choices:
            raise UserError(f"{origin}: {right!r:.60} is none of its choices")
        prompt = zero_eval.CHOICE.replace("{question}", text_of(origin, record, "question"))
        prompt = prompt.replace("{choices}", zero_eval.choice_lines(choices))
        letter = chr(65 + choices.index(right))
        return Question(str(row), ask(prompt), (), str(record.get("config") or ""), letter)

    def parse(self, answer: str, reference: str) -> Parsed:
        """Compare the letter."""
        given = zero_eval.answer_in(answer) or None
        return Parsed(given, given is not None and zero_eval.is_choice(given, reference))
