"""What of this machine decides a step's output is in its identity: a function's source, and what
`dtype: auto` stands for."""

import sys
from pathlib import Path
from typing import Any

import pytest
from annotation_steps import LENGTH, REWARDS, score_in

from annotation import score
from annotation.config import ScoreConfig
from contracts.config.base import Config, check
from contracts.errors import ConfigDrift, UserError
from contracts.steps.step import Stage, changes, claim, describe
from flows.pipeline.folder.reuse import take_over
from flows.pipeline.planning.planned_step import PlannedStep
from generation import sample
from generation.config import SampleConfig
from runtime import device
from training import reference, train
from training.config import ReferenceConfig, TrainConfig
from training.lr_range import stage


def edit(run_folder: Path) -> None:
    module = run_folder / "annotation_rewards.py"
    module.write_text(REWARDS.replace("float(len(text))", "-float(len(text))"))


def test_an_edited_reward_function_is_another_step(run_folder: Path) -> None:
    made = score_in(run_folder)
    assert score_in(run_folder) == made
    edit(run_folder)
    with pytest.raises(ConfigDrift, match="source of annotation_rewards: was '"):
        score_in(run_folder)


def test_what_an_edited_function_scored_before_is_not_taken_over(run_folder: Path) -> None:
    runs = run_folder / "runs"
    (runs / "a").mkdir(parents=True)
    score_in(run_folder, out="runs/a/scores")
    inputs = {name: str(run_folder / name) for name in ("prompts", "responses")}
    config = ScoreConfig.model_validate({"annotators": [LENGTH]})

    def taken(run: str) -> Any:
        where = runs / run, "scores", "score"
        return take_over(PlannedStep(*where, score.STAGE, config, inputs, shared=True))

    assert taken("b")
    edit(run_folder)
    assert taken("c") is None


def test_a_function_that_is_nowhere_is_told_before_its_folder_is_claimed(run_folder: Path) -> None:
    nowhere = LENGTH | {"function": "annotation_nowhere.deep:length"}
    with pytest.raises(UserError, match=r"annotator 'length': no module annotation_nowhere\.deep"):
        score_in(run_folder, nowhere)
    assert not (run_folder / "scores" / "_step.json").exists()


def test_a_function_of_the_working_folder_is_found_as_the_stage_finds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here_rewards").mkdir()
    (tmp_path / "here_rewards" / "mine.py").write_text("raise SystemExit('it is not run')")
    monkeypatch.chdir(tmp_path)
    function = {"function": "here_rewards.mine:f"}
    config = ScoreConfig.model_validate({"annotators": [LENGTH | function]})
    assert list(score.STAGE.here(config)) == ["source of here_rewards.mine"]
    # A function that has no source, such as one of Python's own.
    config = ScoreConfig.model_validate({"annotators": [LENGTH | {"function": "math:sqrt"}]})
    assert list(score.STAGE.here(config)) == ["source of math"]


REWARD = {"kind": "armorm", "name": "rm", "path": "owner/reward"}
RATES = {"low": 1e-6, "high": 1e-3}
DTYPES: list[tuple[Stage, type[Config], dict[str, Any], dict[str, Any]]] = [
    (sample.STAGE, SampleConfig, {}, {"dtype": "float32"}),
    (score.STAGE, ScoreConfig, {"annotators": [REWARD]},
     {"annotators": [REWARD | {"dtype": "float32"}]}),
    (train.STAGE, TrainConfig, {}, {"dtype": "float32"}),
    (reference.STAGE, ReferenceConfig, {}, {"dtype": "float32"}),
    (stage.STAGE, stage.LrRangeConfig, {"training": {}, **RATES},
     {"training": {"dtype": "float32"}, **RATES}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("stage", "kind", "auto", "named"), DTYPES, ids=[stage.name for stage, *_ in DTYPES]
)
def test_auto_is_another_step_where_it_stands_for_another_dtype(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: Stage, kind: type[Config],
    auto: dict[str, Any], named: dict[str, Any],
) -> None:  # fmt: skip
    asked, given = (check(kind, data, origin="test") for data in (auto, named))
    unread = stage.inputs.model_construct()
    monkeypatch.setattr(device, "has_cuda", lambda: False)
    monkeypatch.setattr(device, "_driver_capabilities", lambda: ((9, 0),))
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    on_cpu = describe(stage, asked, unread), describe(stage, given, unread)
    claim(stage, asked, unread, tmp_path)
    (tmp_path / "part-00000.parquet").write_text("made on the CPU")
    monkeypatch.setattr(device, "has_cuda", lambda: True)
    assert changes(stage, on_cpu[0], describe(stage, asked, unread))
    assert not changes(stage, on_cpu[1], describe(stage, given, unread))
    with pytest.raises(ConfigDrift, match="`dtype: auto`: was 'float32', now '"):
        claim(stage, asked, unread, tmp_path)


def test_scoring_on_the_cpu_of_a_machine_with_gpus_is_scoring_on_a_cpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    annotators = {"annotators": [REWARD]}
    config = ScoreConfig.model_validate(annotators | {"resources": {"device": "cpu"}})
    monkeypatch.setattr(device, "has_cuda", lambda: True)
    assert score.STAGE.here(config) == {"rm `dtype: auto`": "float32"}
    config = ScoreConfig.model_validate(annotators | {"resources": {"device": "cuda:1"}})
    assert score.STAGE.here(config) == {"rm `dtype: auto`": "bfloat16"}


def test_the_driver_is_asked_what_torch_would_say(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    assert device.has_cuda() == torch.cuda.is_available()
    assert device.driver_has_device() == torch.cuda.is_available()
