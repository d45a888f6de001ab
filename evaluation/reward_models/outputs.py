"""Two files of outputs, scored side by side by annotators: a win rate that costs nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from annotation import score
from annotation.config import ScoreConfig
from annotation.scoring.inputs import ScoreInputs
from contracts.config.base import Config
from contracts.errors import UserError
from contracts.steps.inputs import Data, Inputs
from contracts.steps.manifest import Result
from contracts.steps.step import Stage, run_once
from contracts.tables.parts import read_table
from contracts.tables.schemas import PROMPTS, RESPONSES
from evaluation.judging.answer_files import read_outputs
from evaluation.reward_models import given
from evaluation.win_rates.alpaca_eval.annotations import average_length
from evaluation.win_rates.estimate import Resampling
from evaluation.win_rates.rewards import RewardWinRate, reward_win_rates

_MODEL, _BASE = 0, 1
"""The places of a prompt's two answers."""


@dataclass(frozen=True)
class Outputs:
    """An instruction with the model's answer and the base's; None where one has none."""

    key: str
    subset: str
    prompt: str
    answers: Sequence[str | None]


@dataclass(frozen=True)
class Compared:
    """Win rates by annotator, and whose they are."""

    model: str
    base: str
    lengths: tuple[int, int]
    """Characters of the model's and of the base's answers, as AlpacaEval's leaderboard counts."""
    rates: Mapping[str, RewardWinRate]


class OutputsConfig(Config):
    """There is nothing to choose."""


class OutputsInputs(Inputs):
    """Two files in AlpacaEval's format: `instruction`, `output`, `generator`."""

    model: Data
    base: Data


def compare_outputs(
    config: ScoreConfig, model: Path, base: Path, folder: Path, resampling: Resampling,
    run_stage: given.RunStage = run_once,
) -> Compared:  # fmt: skip
    """How often each annotator scores the model's answer above the base's.

    What is scored stays in the folder: the same call goes on where it stopped. An instruction that
    one of the two did not answer is counted, and in no rate.

    Raises:
        UserError: a file cannot be read, the two answer nothing in common, an annotator cannot be
            used, or the folder is another's.
        OnPolicyError: not one instruction has two scores.
    """
    with given.kept_commits(folder) as commits:
        models = given.pinned_models(config, commits)
    inputs = ScoreInputs(prompts=folder / "prompts", responses=folder / "answers", models=models)
    read = OutputsInputs(model=str(model), base=str(base))
    run_once(PROMPTS_STAGE, OutputsConfig(), read, inputs.prompts)
    run_once(ANSWERS_STAGE, OutputsConfig(), read, inputs.responses)
    run_stage(score.STAGE, config, inputs, folder / "scores")
    sides = [_scores(folder / "scores", place) for place in (_MODEL, _BASE)]
    files = [read_outputs(path) for path in (model, base)]
    ours, theirs = (average_length([a.turns[0] for a in one.by_key.values()]) for one in files)
    rates = reward_win_rates(sides[0], sides[1], resampling)
    return Compared(files[0].generator, files[1].generator, (ours, theirs), rates)


def read_both(model: Path, base: Path) -> list[Outputs]:
    """All instructions of either file, in the base's order.

    Raises:
        UserError: a file cannot be read, or the two answer nothing in common.
    """
    sides = [read_outputs(model).by_key, read_outputs(base).by_key]
    if not sides[0].keys() & sides[1].keys():
        raise UserError(f"{model} and {base} answer no instruction in common")
    both = {**sides[1], **{key: one for key, one in sides[0].items() if key not in sides[1]}}
    return [
        Outputs(
            key,
            str(one.record.get("dataset") or "outputs"),
            str(one.record["instruction"]),
            [side[key].turns[0] if key in side else None for side in sides],
        )
        for key, one in both.items()
    ]


def _scores(folder: Path, place: int) -> pa.Table:
    table = read_table(folder, ["annotator", "prompt_id", "response_id", "score"])
    return table.filter(pc.ends_with(table["response_id"], f"-{place}"))


def _write_prompts(config: OutputsConfig, inputs: OutputsInputs, out: Path) -> Result:
    return given.write_prompts(read_both(Path(inputs.model), Path(inputs.base)), out)


def _write_answers(config: OutputsConfig, inputs: OutputsInputs, out: Path) -> Result:
    return given.write_answers(read_both(Path(inputs.model), Path(inputs.base)), out)


PROMPTS_STAGE = Stage(
    "evaluation.outputs_prompts", 1, OutputsConfig, OutputsInputs, PROMPTS, _write_prompts
)
ANSWERS_STAGE = Stage(
    "evaluation.outputs_answers", 1, OutputsConfig, OutputsInputs, RESPONSES, _write_answers
)
