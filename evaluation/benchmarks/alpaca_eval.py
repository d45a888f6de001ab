"""AlpacaEval 2 (https://arxiv.org/abs/2404.04475): 805 instructions; alpaca-eval 0.6.6 judges."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from evaluation.benchmarks.base import (
    Answer,
    Benchmark,
    Decoding,
    Hub,
    Question,
    ask,
    model_outputs,
    text_of,
)


class AlpacaEval(Benchmark):
    """AlpacaEval 2."""

    name: Literal["alpaca_eval"] = "alpaca_eval"

    hub: ClassVar = Hub(
        "tatsu-lab/alpaca_eval", "2edc6fad8be6b14ea7230aabfd08188da6b8b814", "alpaca_eval.json"
    )
    sha256: ClassVar = "9940494b796a4fbd3fc3f797d675307b206516b6dd046d83a7a17d29e5a26ee4"
    # The published config says temperature 0.5, but by its `do_sample: true` alpaca-eval 0.6.2
    # made a beam search of width 1 of it (SimPO#75).
    recipe: ClassVar = Decoding(0.0)
    sampled: ClassVar = Decoding(0.5)

    def question(self, origin: str, row: int, record: Mapping[str, Any]) -> Question:
        """The instruction is the whole prompt."""
        instruction = text_of(origin, record, "instruction")
        return Question(str(row), ask(instruction), category=str(record.get("dataset") or ""))

    def files(self, answers: Sequence[Answer], generator: str) -> dict[str, str]:
        """`model_outputs.json`, as `alpaca_eval --model_outputs` reads it."""
        return model_outputs(answers, generator)
