"""The benchmarks that a policy can be asked. A new one is a module here and its line below."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from evaluation.benchmarks.alpaca_eval import AlpacaEval
from evaluation.benchmarks.arena_hard import ArenaHard, ArenaHardV2
from evaluation.benchmarks.gsm8k import GSM8K
from evaluation.benchmarks.lm_eval_task import LmEvalTask
from evaluation.benchmarks.mmlu import MMLU
from evaluation.benchmarks.mt_bench import MTBench
from evaluation.benchmarks.prompt_file import PromptFile

AnyBenchmark = Annotated[
    AlpacaEval | ArenaHard | ArenaHardV2 | MTBench | GSM8K | MMLU | PromptFile | LmEvalTask,
    Field(discriminator="name"),
]


def _with_options(given: Any) -> Any:
    return {"name": given} if isinstance(given, str) else given


NamedBenchmark = Annotated[AnyBenchmark, BeforeValidator(_with_options)]
"""A benchmark by its name, or as an object with options."""
