"""What can be known of benchmarks and their judges before the first stage."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from contracts.checks import Check
from contracts.errors import UserError
from evaluation.benchmarks.base import Benchmark
from evaluation.benchmarks.questions import look, read_questions
from evaluation.config import JudgedConfig
from evaluation.judging.config import RunJudge
from evaluation.judging.cost import Budget, read_price
from evaluation.judging.files import JudgingFile
from evaluation.judging.referees.benchmarks import REFEREES, refuse_unanswered
from evaluation.judging.referees.game import Question
from evaluation.win_rates.alpaca_eval.difficulty import read_difficulty, refuse_no_difficulty
from evaluation.win_rates.controlled import instructions_asked
from runtime.chat_api.endpoint import key_of, refuse_unreachable

_REFERENCES = (
    "a judge of MT-Bench needs the reference answers, which lie on no hub: put FastChat's "
    "`reference_answer/gpt-4.jsonl` (fastchat/llm_judge/data/mt_bench in lm-sys/FastChat) or the "
    "paper's (eval/mt-bench in princeton-nlp/SimPO) there, or leave mt_bench out of the judge's "
    "`benchmarks`"
)


def benchmark_checks(benchmarks: Sequence[Benchmark]) -> Iterator[Check]:
    """That each local file holds the questions that it should; what lies on the hub is left out."""
    for number, benchmark in enumerate(benchmarks):
        yield Check(f"evaluation.benchmarks.{number}", partial(look, benchmark))


def judging_checks(evaluation: JudgedConfig, pinned: Callable[[str], str]) -> Iterator[Check]:
    """That those who are asked have their keys, prices and files: a file that is not right would
    end a run after its first policy has answered.

    Args:
        pinned: a dataset's reference by the commit that the run has fixed.
    """
    for number, judge in enumerate(evaluation.judges):
        if judge not in evaluation.asked_judges:
            continue
        key = f"evaluation.judges.{number}"
        yield Check(f"{key}.resources.api_key_env", partial(key_of, f"judge {judge.name!r}", judge))
        yield Check(f"{key}.base_url", partial(refuse_unreachable, f"judge {judge.name!r}", judge))
        yield Check(f"{key}.resources", partial(_look_at_prices, judge))
    known = {benchmark.label: benchmark for benchmark in evaluation.benchmarks}
    named = dict.fromkeys(
        of for judge in evaluation.asked_judges for of in evaluation.judged_by(judge)
    )
    for label in named:
        files = evaluation.judged_with.of(label)
        key = f"evaluation.judged_with.{label}"
        yield Check(key, partial(_look_at_files, known[label], files, pinned))


def _look_at_prices(judge: RunJudge) -> None:
    resources = judge.resources
    Budget(resources.max_cost, read_price(resources.prices, judge.model), max_tokens=1)


def _look_at_files(
    benchmark: Benchmark, files: Mapping[str, JudgingFile], pinned: Callable[[str], str]
) -> None:
    """
    Raises:
        UserError: a file is not there, or does not belong to the questions.
    """
    referee = REFEREES[benchmark.label]
    if referee.categories_with_reference and "references" not in files:
        raise UserError(f"references is null; {_REFERENCES}")
    paths = {role: _located(role, file, pinned) for role, file in files.items()}
    questions = read_questions(benchmark, pinned(benchmark.source))
    texts = [question.messages[-1]["content"] for question in questions]
    keys = [referee.question_key(one.key, text) for one, text in zip(questions, texts, strict=True)]
    if path := paths.get("baseline"):
        known = [Question(key, [text]) for key, text in zip(keys, texts, strict=True)]
        refuse_unanswered(path, referee.read_answers(path), known)
    if path := paths.get("references"):
        referee.read_answers(path)
    if path := paths.get("difficulty") or paths.get("gamed"):
        _look_at_difficulty(path, texts)


def _located(role: str, file: JudgingFile, pinned: Callable[[str], str]) -> Path:
    try:
        return file.pin.locate(pinned(file.path))
    except UserError as error:
        if role != "references" or Path(file.path).exists():
            raise
        raise UserError(f"{error}; {_REFERENCES}") from None


def _look_at_difficulty(path: Path, texts: Sequence[str]) -> None:
    instructions = instructions_asked(texts)
    known = read_difficulty(path, instructions)
    refuse_no_difficulty(
        known, [index for text in texts if (index := instructions.index(text)) is not None], path
    )
