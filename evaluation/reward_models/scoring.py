"""RewardBench's cases as the tables of a run, scored by the stage that scores a run."""

from collections.abc import Sequence
from pathlib import Path

from annotation import score
from annotation.config import ScoreConfig
from annotation.scoring.inputs import ScoreInputs
from contracts.config.base import Config
from contracts.models import hub
from contracts.steps.inputs import Data, Inputs
from contracts.steps.manifest import Result
from contracts.steps.step import Stage, run_once
from contracts.tables.parts import iter_parts
from contracts.tables.schemas import PROMPTS, RESPONSES
from evaluation.reward_models import given
from evaluation.reward_models.cases import Case, read_cases
from evaluation.reward_models.reward_bench import Scores


class CasesConfig(Config):
    """There is nothing to choose."""


class CasesInputs(Inputs):
    """The cases' file."""

    questions: Data


def _write_prompts(config: CasesConfig, inputs: CasesInputs, out: Path) -> Result:
    return given.write_prompts(read_cases(inputs.questions), out)


def _write_answers(config: CasesConfig, inputs: CasesInputs, out: Path) -> Result:
    return given.write_answers(read_cases(inputs.questions), out)


PROMPTS_STAGE = Stage(
    "evaluation.reward_bench_prompts", 1, CasesConfig, CasesInputs, PROMPTS, _write_prompts
)
ANSWERS_STAGE = Stage(
    "evaluation.reward_bench_answers", 1, CasesConfig, CasesInputs, RESPONSES, _write_answers
)


def score_cases(
    config: ScoreConfig, questions: str, folder: Path, run_stage: given.RunStage = run_once
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
    with given.kept_commits(folder) as commits:
        questions = hub.pinned(commits, "dataset", questions)
        return questions, given.pinned_models(config, commits)


def _scores(folder: Path, annotator: str, cases: Sequence[Case]) -> list[Scores]:
    by_response: dict[str, float | None] = {}
    for table in iter_parts(folder, ["annotator", "response_id", "score"]):
        rows = zip(*(column.to_pylist() for column in table.itercolumns()), strict=True)
        by_response |= {response: value for name, response, value in rows if name == annotator}
    return [
        [by_response[given.response_id(case, place)] for place in range(len(case.answers))]
        for case in cases
    ]
