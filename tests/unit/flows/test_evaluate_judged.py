"""`onpolicy evaluate` with a judge in its config: win rates of each policy, gains over the base."""

import json
from pathlib import Path
from typing import Any

import pytest
from benchmark_answers import respond
from judge_endpoint import Endpoint
from judging_files import completion, write_outputs

from contracts.errors import ConfigDrift
from contracts.steps.step import run_once
from contracts.tables.parts import read_table
from flows.evaluate import EvaluateConfig, Record, plan_evaluation, read_config, refuse_drift
from flows.pipeline.console import console
from flows.pipeline.planning.planned_step import PlannedStep
from flows.pipeline.shown_step import show_line
from flows.report.evaluated_policy import told
from generation import sample

WITHOUT_KEY = {"api_key_env": None}
ASKED = [f"Name {n} fish." for n in range(12)]


def config_of(folder: Path, judge: dict[str, Any]) -> EvaluateConfig:
    path = folder / "questions.jsonl"
    path.write_text("".join(json.dumps({"instruction": text}) + "\n" for text in ASKED))
    base = write_outputs(folder / "base.json", dict.fromkeys(ASKED, "A cod."), "base")
    files = {"baseline": str(base), "difficulty": None, "gamed": None}
    evaluation = {
        "benchmarks": [{"name": "alpaca_eval", "path": str(path), "questions_sha256": "any"}],
        "judges": [{"name": "local", "model": "m", "resources": WITHOUT_KEY, "repeats": 0} | judge],
        "judged_with": {"alpaca_eval": files},
        "win_rates": {"resamples": 100, "confidence": 0.9},
        "sampling": {"n": 1},
    }
    run = folder / "run.yaml"
    run.write_text(json.dumps({"policy": {"path": "a/b"}, "evaluation": evaluation}))
    return read_config(run, [], [])


def make(config: EvaluateConfig, folder: Path, policies: dict[str, str]) -> None:
    """All steps; a policy answers every question by the same word."""
    record = Record(policies={name: f"owner/{name}" for name in policies}, against="start")
    (folder / "evaluation.json").write_text(json.dumps(vars(record)))
    for step in plan_evaluation(config, record, list(policies), folder, {}):
        if step.stage is not sample.STAGE:
            run_once(step.stage, step.config, step.inputs, step.out)
            continue
        asked = read_table(folder / "questions").to_pylist()
        word = policies[step.path.partition("/")[0]]
        texts = {f"{r['benchmark']}/{r['question_id']}/{r['turn']}": word for r in asked}
        respond(step.out.parent, asked, texts)


def prefer_trout(question: str) -> bytes:
    if "Name 7 fish" in question:
        return completion("Neither.")
    first = question.index("trout") if "trout" in question else len(question)
    is_first = first < question.index("A cod.")
    name, other = ("m", "M") if is_first or "trout" not in question else ("M", "m")
    return completion(name, {name: -0.1, other: -2.4})


def test_policies_are_judged_and_compared_with_the_base(tmp_path: Path) -> None:
    config = config_of(tmp_path, {"base_url": Endpoint(prefer_trout).url})
    make(config, tmp_path, {"mine": "A trout!", "start": "A roach"})
    lines = "\n".join(told(tmp_path, "mine", "start"))
    assert "mine alpaca_eval.win_rate by m: 90." in lines and "90 % interval" in lines
    assert "gain over start by m: " in lines
    assert "not comparable" in lines  # other questions, another judge
    assert "; judgements without a score: 1 unparsed; over 11 of 12 prompts" in lines
    assert "gain over" not in "\n".join(told(tmp_path, "start", "start"))


def test_without_its_key_a_judge_is_not_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    config = config_of(tmp_path, {"resources": {"api_key_env": "NO_SUCH_KEY"}})
    steps = plan_evaluation(config, Record(policies={"b": "a/b"}), ["b"], tmp_path, {})
    assert [step.path for step in steps] == ["questions", "b/responses", "b/answers"]


def test_what_a_judge_will_cost_is_shown_before_it_is_paid(tmp_path: Path) -> None:
    config = config_of(tmp_path, {})
    with console.capture() as shown:
        for step in plan_evaluation(config, Record(policies={"b": "a/b"}), ["b"], tmp_path, {}):
            show_line(step, f"INFO judge m, before the first: of {step.path}")
    assert [line.strip() for line in shown.get().splitlines()] == [
        "judge m, before the first: of b/judgements/local/alpaca_eval"
    ]


def test_what_libraries_say_of_their_own_work_is_shown_where_it_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = plan_of(config_of(tmp_path, {}), tmp_path, ["A"], None)["A/responses"]
    theirs = [
        "WARNING 11-22 08:20:00 [config.py:12] a default",
        "/x/torch/cuda.py:61: FutureWarning: pynvml is deprecated",
        "Loading shards: 100% Completed | 1/1 [00:00<00:00, 59.17it/s]",
    ]
    ours = "WARNING generation.sample: 2 prompts are too long"

    def shown() -> str:
        with console.capture() as told:
            for line in [*theirs, ours]:
                show_line(step, line)
        return told.get()

    assert "2 prompts are too long" in shown() and "FutureWarning" not in shown()
    assert "default" not in shown() and "Loading" not in shown()
    monkeypatch.setenv("ONPOLICY_DEBUG", "1")
    assert "FutureWarning" in shown()


def plan_of(
    config: EvaluateConfig, folder: Path, labels: list[str], against: str | None
) -> dict[str, PlannedStep]:
    record = Record(
        policies={name: f"owner/{name}" for name in ("A", "B", "C", "start")}, against=against
    )
    return {step.path: step for step in plan_evaluation(config, record, labels, folder, {})}


def test_whom_a_policy_is_compared_with_is_no_part_of_its_win_rates(tmp_path: Path) -> None:
    config = config_of(tmp_path, {})
    alone = plan_of(config, tmp_path, ["A"], None)
    against = plan_of(config, tmp_path, ["A", "B"], "B")
    assert alone["A/win_rates"] == against["A/win_rates"]
    assert "A/gains/B" in against and "B/gains/B" not in against


def test_a_policy_added_later_is_compared_with_the_same_one(tmp_path: Path) -> None:
    plan = plan_of(config_of(tmp_path, {}), tmp_path, ["A", "C"], "B")
    assert {"A/gains/B", "C/gains/B"} < set(plan)
    assert "B/responses" not in plan and "B/win_rates" in plan
    assert list(plan).index("B/win_rates") < list(plan).index("A/gains/B")


def test_win_rates_of_another_config_are_refused_before_a_judge_is_asked(tmp_path: Path) -> None:
    config = config_of(tmp_path, {"base_url": Endpoint(prefer_trout).url})
    make(config, tmp_path, {"start": "A roach"})

    def judging(of: EvaluateConfig) -> list[PlannedStep]:
        plan = plan_of(of, tmp_path, ["start"], None)
        return [plan["start/judgements/local/alpaca_eval"], plan["start/win_rates"]]

    refuse_drift(judging(config))
    rates = config.win_rates.model_copy(update={"confidence": 0.8})
    with pytest.raises(ConfigDrift, match=r"win_rates: was made by .*\n.*\n? *confidence: was 0.9"):
        refuse_drift(judging(config.model_copy(update={"win_rates": rates})))
