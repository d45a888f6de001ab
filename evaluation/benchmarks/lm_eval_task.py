"""Any generative task of lm-evaluation-harness 0.4.13, e.g. IFEval, by the extra `lm-eval`.

Our engine samples, lm-eval asks and scores: no second engine, and none of its troubles with BOS.
"""

import importlib.metadata
import os
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import ClassVar, Literal, Self

from pydantic import model_validator

from contracts.config.base import FileName
from contracts.errors import UserError
from evaluation.benchmarks.base import Benchmark, Decoding, Question


class LmEvalTask(Benchmark):
    """A task of lm-evaluation-harness."""

    name: Literal["lm_eval"] = "lm_eval"
    task: FileName
    """The task's name there, e.g. ifeval."""
    include_path: str | None = None
    """Folder of task files of your own; the task is then one of them."""

    recipe: ClassVar = Decoding(0.0)
    in_file: ClassVar = False

    @model_validator(mode="after")
    def _answered_once(self) -> "LmEvalTask":
        if (self.n or 1) > 1:
            raise ValueError(
                f"n {self.n}: lm-eval scores one answer to each question; leave `n` out"
            )
        return self

    @model_validator(mode="after")
    def _has_no_file(self) -> Self:
        if self.path:
            raise ValueError("path: lm-eval knows where its questions lie; give a folder of task "
                             "files of your own as `include_path`")  # fmt: skip
        return self

    @property
    def label(self) -> str:
        """The task."""
        return self.task

    @property
    def source(self) -> str:
        """The tasks' folder, or what says which version of lm-eval brings them."""
        if self.include_path:
            return self.include_path
        return str(installed() / "METADATA")

    def preset_of(self, question: Question) -> Decoding:
        """The decoding that the task's own `generation_kwargs` ask for."""
        return question.decoding or self.recipe

    def refuse_unready(self) -> None:
        """Refuse a task whose packages or data are not installed.

        Raises:
            UserError: lm-eval is not installed, or of IFEval, nltk's data are not here.
        """
        installed()
        if "ifeval" in self.task:
            refuse_no_punkt(self.task)

    def collected(self) -> list[Question]:
        """What the task asks, as lm-eval lays it out.

        Raises:
            UserError: lm-eval or what the task needs is not installed, there is no such task, or
                it is not generative.
        """
        self.refuse_unready()
        questions: list[Question] = _bridge().collect(self.task, self.include_path, self.limit)
        return questions

    def metrics(self, answers: Sequence[str]) -> dict[str, float]:
        """The task's own metrics of the answers to all of its questions, in order."""
        args = (self.task, self.include_path, self.limit)
        metrics: dict[str, float] = _bridge().score(*args, answers)
        return metrics


def _bridge() -> ModuleType:
    installed()
    # What lm-eval imports counts its uses over the network otherwise.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    return importlib.import_module("evaluation.benchmarks.lm_eval_bridge")


def refuse_no_punkt(task: str) -> None:
    """lm-eval would fetch it as it scores, hours later, or end in nltk's own words.

    Raises:
        UserError: nltk does not find its sentence splitter.
    """
    try:
        nltk_data = importlib.import_module("nltk.data")
        nltk_data.find("tokenizers/punkt_tab")
    except (ImportError, LookupError):
        raise UserError(
            f"benchmark {task}: IFEval counts sentences with nltk's punkt_tab, which is not here: "
            "python -m nltk.downloader punkt_tab; without a network, copy its folder `tokenizers/"
            "punkt_tab` below one that the environment variable NLTK_DATA names"
        ) from None


def installed() -> Path:
    """Where lm-eval's metadata lie.

    Raises:
        UserError: it is not installed.
    """
    try:
        place = importlib.metadata.distribution("lm_eval").locate_file("")
    except importlib.metadata.PackageNotFoundError:
        raise UserError(
            "benchmark lm_eval: lm-eval is not installed: pip install 'onpolicy[lm-eval]'"
        ) from None
    version = importlib.metadata.version("lm_eval")
    return Path(str(place)) / f"lm_eval-{version}.dist-info"
