"""RewardBench's cases as the tables of a run, scored by the stage that scores a run."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa

from annotation import score
from annotation.config import ScoreConfig
from annotation.scoring.inputs import ScoreInputs
from contracts.config.base import Config
from contracts.models import hub
from contracts.steps.inputs import Data, Inputs
from contracts.steps.manifest import Result
from contracts.steps.step import Stage, run_once
from contracts.tables.parts import iter_parts, write_atomic, write_part
from contracts.tables.schemas import PROMPTS, RESPONSES
from evaluation.reward_models.cases import Case, read_cases
from evaluation.reward_models.reward_bench import Scores

_PART = 64
"""Cases in a part, after which a kill loses nothing."""


class CasesConfig(Config):
    """There is nothing to choose."""


class CasesInputs(Inputs):
    """The cases' file."""

    questions: Data


def write_prompts(config: CasesConfig, inputs: CasesInputs, out: Path) -> Result:
    """Stage: the cases' prompts."""
    cases = read_cases(inputs.questions)
    for index, part in enumerate(_parts(cases)):
        rows = [
            {
                "prompt_id": case.key,
                "messages": [{"role": "user", "content": case.prompt}],
                "source": case.subset,
                "split": "benchmark",
            }
            for case in part
        ]
        write_part(out, index, pa.Table.from_pylist(rows, PROMPTS), PROMPTS)
    return Result(rows=len(cases))


def write_answers(config: CasesConfig, inputs: CasesInputs, out: Path) -> Result:
    """Stage: the cases' answers, as responses that were given, not sampled."""
    rows = 0
    for index, part in enumerate(_parts(read_cases(inputs.questions))):
        table = pa.Table.from_pylist([row for case in part for row in _answers(case)], RESPONSES)
        write_part(out, index, table, RESPONSES)
        rows += len(table)
    return Result(rows=rows)


PROMPTS_STAGE = Stage(
    "evaluation.reward_bench_prompts", 1, CasesConfig, CasesInputs, PROMPTS, write_prompts
)
ANSWERS_STAGE = Stage(
    "evaluation.reward_bench_answers", 1, CasesConfig, CasesInputs, RESPONSES, write_answers
)


RunStage = Callable[[Stage, Config, Inputs, Path], object]
"""Runs a stage unless it is done: here, as `run_once` does, or as a process of its own."""


def score_cases(
    config: ScoreConfig, questions: str, folder: Path, run_stage: RunStage = run_once
) -> tuple[list[Case], dict[str, list[Scores]]]:
    """The cases, and every annotator's scores of their answers, in order.

    What is scored stays in the folder: the same call goes on where it stopped, with the commits
    that names on the hub stood for when it began.

    Raises:
        UserError: the hub cannot be asked, the questions or an annotator cannot be used, or the
            folder is another's.
        OnPolicyError: not one answer was scored.
    """
    questions, models = pinned(config, questions, folder)
    inputs = ScoreInputs(
        prompts=folder / "prompts",
        responses=folder / "answers",
        models=models,
    )
    read = CasesInputs(questions=questions)
    run_once(PROMPTS_STAGE, CasesConfig(), read, inputs.prompts)
    run_once(ANSWERS_STAGE, CasesConfig(), read, inputs.responses)
    run_stage(score.STAGE, config, inputs, folder / "scores")
    cases = read_cases(questions)
    names = [annotator.name for annotator in config.annotators]
    return cases, {name: _scores(folder / "scores", name, cases) for name in names}


def pinned(config: ScoreConfig, questions: str, folder: Path) -> tuple[str, dict[str, str]]:
    """The questions and the reward models by commits that the folder keeps."""
    path = folder / "commits.json"
    commits = json.loads(path.read_text()) if path.exists() else {}
    known = dict(commits)
    questions = hub.pinned(commits, "dataset", questions)
    models = {
        one.name: hub.pinned(commits, "model", one.reference)
        for one in config.annotators
        if one.reference
    }
    if commits != known:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(path, json.dumps(commits, indent=1).encode())
    return questions, models


def _scores(folder: Path, annotator: str, cases: Sequence[Case]) -> list[Scores]:
    by_response: dict[str, float | None] = {}
    for table in iter_parts(folder, ["annotator", "response_id", "score"]):
        rows = zip(*(column.to_pylist() for column in table.itercolumns()), strict=True)
        by_response |= {response: value for name, response, value in rows if name == annotator}
    return [[by_response[row] for row in _ids(case)] for case in cases]


def _parts(cases: Sequence[Case]) -> list[Sequence[Case]]:
    return [cases[start : start + _PART] for start in range(0, len(cases), _PART)]


def _ids(case: Case) -> list[str]:
    return [f"{case.key}-{index}" for index in range(len(case.answers))]


def _answers(case: Case) -> list[dict[str, object]]:
    return [
        {
            "prompt_id": case.key,
            "response_id": response_id,
            "sample": index,
            "seed": 0,
            "text": text,
            "token_ids": [],
            "finish_reason": "stop",
            "n_tokens": 0,
            "logprob": None,
            "policy": "given",
        }
        for index, (response_id, text) in enumerate(zip(_ids(case), case.answers, strict=True))
    ]
