"""Prompts of the user's own: texts, or conversations that the policy is to go on with."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from contracts.config.base import FileName, as_file_name
from contracts.errors import UserError
from evaluation.benchmarks.base import Answer, Benchmark, Decoding, Question, model_outputs
from generation.sources.conversation import to_messages, unusable

_COLUMNS = ("prompt", "instruction", "messages", "turns", "question")


class PromptFile(Benchmark):
    """A file of prompts; answers come in AlpacaEval's format."""

    name: Literal["prompt_file"] = "prompt_file"
    path: str
    """The file: .json, .jsonl (also .gz) or .parquet, with a column prompt, instruction,
    messages, turns or question."""
    title: FileName | None = None
    """What it is called beside other benchmarks; the file's name, unless given."""

    recipe: ClassVar = Decoding(0.0)

    @property
    def label(self) -> str:
        """The title, or else the file's name without its ending."""
        return self.title or as_file_name(Path(self.path).name.partition(".")[0], self.name)

    def question(self, origin: str, row: int, record: Mapping[str, Any]) -> Question:
        """The first column that is there; later `turns` follow the policy's answers."""
        value = next((record[name] for name in _COLUMNS if record.get(name)), None)
        messages = to_messages(origin, value)
        if reason := unusable(messages):
            known_columns = ", ".join(_COLUMNS)
            raise UserError(f"{origin}: nothing to ask ({reason}); it needs one of {known_columns}")
        is_turns = isinstance(value, list) and all(isinstance(turn, str) for turn in value)
        later = tuple(value[1:]) if is_turns and value else ()
        return Question(str(row), messages, later, str(record.get("category") or ""))

    def files(self, answers: Sequence[Answer], generator: str) -> dict[str, str]:
        """`model_outputs.json`: each question's last turn and the answer to it."""
        return model_outputs(answers, generator)
