"""What a judge was paid for outlives `--redo`."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from judge_endpoint import grades
from judging_files import completion, llm_judge, write_outputs
from made_run import made

from contracts.redo_hint import way_out
from contracts.steps.step import run_once
from evaluation import judge
from evaluation.judging.config import JudgingConfig
from flows.pipeline import run_step as stage_process
from flows.pipeline.folder import paid
from flows.pipeline.folder.run_folder import claim_run, settled
from flows.pipeline.planning.plan import plan
from flows.pipeline.store.adopt import clear_begun

SCORES, REPLIES = "round-1/scores", ".replies.jsonl"


def journal(path: Path, *keys: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"key": key}) + "\n" for key in keys))
    return path


def keys_of(path: Path) -> list[str]:
    return [json.loads(line)["key"] for line in path.read_text().splitlines()]


def test_a_stage_made_anew_finds_the_answers_that_were_paid_for(
    settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = made(settings(rounds=1))
    step = next(step for step in plan(settled(run)) if step.path == SCORES)
    journal(step.out / ".answers-00000.jsonl", "one", "two")
    claim_run(run, again=[SCORES])
    assert [path.name for path in step.out.iterdir() if not path.name.startswith(".lock")] == []

    def begin(_: object) -> None:
        raise InterruptedError(*keys_of(step.out / ".answers-00000.jsonl"))

    monkeypatch.setattr(stage_process.stage_ahead, "process_of", begin)
    with pytest.raises(InterruptedError) as began:
        stage_process.run_step(step, print, print)
    assert began.value.args == ("one", "two")


def test_a_step_that_another_run_can_give_is_gone_though_its_answers_are_kept(settings) -> None:
    run = made(settings(rounds=1))
    kept = journal(run.folder / SCORES / ".answers-00000.jsonl", "one")
    claim_run(run, again=["round-1/responses"])
    assert not kept.parent.exists()
    assert keys_of(run.folder / ".paid" / SCORES / kept.name) == ["one"]


def test_replies_of_a_step_that_another_machine_has_finished_since_are_kept(tmp_path: Path) -> None:
    journal(tmp_path / "step" / REPLIES, "one")
    clear_begun(tmp_path, "step")
    assert not (tmp_path / "step").exists()
    assert keys_of(tmp_path / ".paid" / "step" / REPLIES) == ["one"]


def test_replies_of_two_places_are_kept_once_each_and_half_a_line_is_none(tmp_path: Path) -> None:
    here = journal(tmp_path / "step" / REPLIES, "one", "one", "two")
    journal(tmp_path / ".paid" / "step" / REPLIES, "two", "three")
    with here.open("a") as file:
        file.write('{"key": "fo')
    paid.bring_back(tmp_path, "step")
    assert keys_of(here) == ["one", "one", "two", "three"]
    assert not (tmp_path / ".paid" / "step" / REPLIES).exists()
    paid.bring_back(tmp_path, "step")
    paid.bring_back(tmp_path, "of no judge")
    assert not (tmp_path / "of no judge").exists()


def test_no_judgement_is_paid_for_again_after_a_redo(serve: Callable, tmp_path: Path) -> None:
    endpoint = serve(lambda _: completion("m", {"m": -0.05, "M": -3.0}))
    sides = {name: str(write_outputs(tmp_path / f"{name}.json", {"One?": name}, name))
             for name in ("answers", "baseline")}  # fmt: skip
    config = JudgingConfig(benchmark="alpaca_eval", judge=llm_judge(endpoint.url))
    for _ in range(2):
        run_once(judge.STAGE, config, sides, tmp_path / "judged")
        paid.set_aside(tmp_path, "judged")
        for path in (tmp_path / "judged").iterdir():
            path.unlink()
        paid.bring_back(tmp_path, "judged")
    assert len(endpoint.bodies) == 1


def test_no_score_is_paid_for_again_after_a_redo(serve: Callable, tmp_path: Path) -> None:
    endpoint = serve(lambda _: "Score: 3")
    (tmp_path / SCORES).mkdir(parents=True)
    for _ in range(2):
        assert grades(endpoint.url, tmp_path / SCORES, ["a"]) == [3.0]
        paid.set_aside(tmp_path, SCORES)
        assert list((tmp_path / SCORES).iterdir()) == []
        paid.bring_back(tmp_path, SCORES)
    assert len(endpoint.bodies) == 1


@pytest.mark.parametrize("path", ["prompts", "round-1/evaluation/judgements/local/alpaca_eval"])
def test_the_way_out_of_a_runs_stage_is_redo_however_deep_it_lies(
    tmp_path: Path, path: str
) -> None:
    (tmp_path / "config.yaml").touch()
    assert way_out(tmp_path / path).endswith(f"`onpolicy run` with `--redo {path}`")


def test_a_config_beside_a_folder_of_judgements_makes_no_run_of_it(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").touch()
    judged = journal(tmp_path / "evaluations/mine/judgements/local" / REPLIES, "one").parent
    assert (
        way_out(judged)
        == f"delete all in {judged} but {REPLIES}, which was paid for, and run again"
    )
