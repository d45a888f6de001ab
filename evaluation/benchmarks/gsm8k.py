"""GSM8K (https://arxiv.org/abs/2110.14168): 1,319 questions, zero-shot in ZeroEval's manner."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from evaluation.benchmarks import zero_eval
from evaluation.benchmarks.base import Benchmark, Decoding, Hub, Parsed, Question, ask, text_of


class GSM8K(Benchmark):
    """GSM8K."""

    name: Literal["gsm8k"] = "gsm8k"

    hub: ClassVar = Hub(
        "openai/gsm8k",
        "e53f048856ff4f594e959d75785d2c2d37b678ee",
        "main/test-00000-of-00001.parquet",
    )
    sha256: ClassVar = "43a55b68f58e306c71a059c7a4eea3f111007e540404f6271af7583b061dfaa2"
    recipe: ClassVar = Decoding(0.0)
    exact: ClassVar = True

    def question(self, origin: str, row: int, record: Mapping[str, Any]) -> Question:
        """The right answer is what follows the last `#` of the worked one."""
        prompt = zero_eval.OPEN.replace("{question}", text_of(origin, record, "question"))
        right = text_of(origin, record, "answer").rpartition("#")[2].strip()
        return Question(str(row), ask(prompt), reference=right)

    def parse(self, answer: str, reference: str) -> Parsed:
        """Compare the first numbers as floats."""
        given = zero_eval.answer_in(answer)
        if given is None:
            return Parsed(None, False)
        number = zero_eval.number_in(given)
        return Parsed(given, number is not None and number == zero_eval.number_in(reference))
