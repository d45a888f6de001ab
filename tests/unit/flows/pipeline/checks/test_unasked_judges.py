"""A judge without its key is told before the run; one with its key is in what is planned."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from checked_config import FUNCTION, config
from made_run import made
from typer.testing import CliRunner

from contracts.config.yaml import dump_yaml
from flows.cli.app import app
from flows.cli.run import _warn
from flows.pipeline.checks.check import summary
from flows.pipeline.checks.worth_knowing import unasked_judges
from flows.pipeline.config import RunConfig
from flows.pipeline.console import console
from flows.pipeline.folder.run_folder import steps_left
from flows.pipeline.planning.plan import plan

JUDGEMENTS = "round-1/evaluation/judgements/gpt/alpaca_eval"


@pytest.fixture
def judged(world: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., RunConfig]:
    """A run with a judge whose key is not set."""
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    (world / "base.json").write_text('[{"instruction": "Why?", "output": "x"}]')
    asked = {"name": "alpaca_eval", "path": "questions.json", "questions_sha256": "any"}
    files = {"alpaca_eval": {"baseline": "base.json", "difficulty": None, "gamed": None}}

    def run(**more: Any) -> RunConfig:
        judge = {"name": "gpt", "model": "m", "resources": {"api_key_env": "JUDGE_KEY"}, **more}
        return config(evaluation={"sampling": {"max_tokens": 8}, "annotators": [FUNCTION],
                                  "benchmarks": [asked], "judges": [judge],
                                  "judged_with": files})  # fmt: skip

    return run


def told_by_plan(run: RunConfig) -> str:
    Path("run.yaml").write_text(dump_yaml(run.model_dump(mode="json")))
    return CliRunner().invoke(app, ["plan", "run.yaml"]).stdout


def test_a_judge_without_its_key_is_told_by_check_plan_and_run(
    judged: Callable[..., RunConfig],
) -> None:
    line = "judge 'gpt' is not asked: JUDGE_KEY is not set; set it"
    assert line in summary(judged()) and line in told_by_plan(judged())
    with console.capture() as shown:
        _warn(unasked_judges(judged()))
    assert line in shown.get()
    assert unasked_judges(judged(enabled=False)) == []


def test_a_judge_whose_key_is_there_is_planned_before_the_run_is_claimed(
    judged: Callable[..., RunConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUDGE_KEY", "sk-x")
    assert unasked_judges(judged()) == []
    left = [step.path for step in steps_left(judged())]
    assert JUDGEMENTS in left
    assert left == [step.path for step in plan(judged(enabled=True))]
    assert f"0 of {len(left)} stages done" in told_by_plan(judged())


def test_a_key_that_comes_later_is_told_with_the_way_to_use_it(
    judged: Callable[..., RunConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    made(judged())
    monkeypatch.setenv("JUDGE_KEY", "sk-x")
    (told,) = unasked_judges(judged())
    assert "JUDGE_KEY was not set as the run was claimed" in told
    assert "evaluation.judges.0.enabled=true with --redo evaluation/verdict" in told
