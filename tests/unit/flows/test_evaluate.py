"""`onpolicy evaluate`: what it asks of which policy, before an engine starts."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from contracts.errors import UserError
from flows.cli.evaluate import run
from flows.evaluate import RECORD, EvaluateConfig, Record, plan_evaluation, read_config, read_record

CONFIGS = Path(__file__).parents[3] / "configs"


def test_a_runs_config_gives_its_benchmarks_engine_and_template(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump({
        "name": "mine",
        "policy": {"path": "a/b", "bos": "prepend"},
        "evaluation": {"benchmarks": ["gsm8k"], "sampling": {"engine": {"kind": "transformers"}}},
    }))  # fmt: skip
    config = read_config(path, [], ["benchmarks.0={name: gsm8k, limit: 3}"])
    assert [(one.label, one.limit) for one in config.benchmarks] == [("gsm8k", 3)]
    assert (config.sampling.engine.kind, config.sampling.bos) == ("transformers", "prepend")
    assert read_config(path, ["mt_bench"], []).benchmarks[0].label == "mt_bench"


def test_no_benchmark_is_refused_and_an_unknown_one_lists_the_known() -> None:
    with pytest.raises(UserError, match="'benchmarks' is missing"):
        read_config(None, [], [])
    with pytest.raises(UserError, match=r"'alpaca_eval', 'arena_hard'"):
        read_config(None, ["alpaka"], [])


def plan_of(config: EvaluateConfig, policies: list[str]) -> tuple[Record, dict[str, Any]]:
    record = Record()
    labels = [record.label_of(policy) for policy in policies]
    return record, {
        step.path: step for step in plan_evaluation(config, record, labels, Path("out"), {})
    }


def test_the_questions_are_read_once_and_each_policy_is_asked_them_all_in_one_start() -> None:
    config = read_config(None, ["alpaca_eval", "mt_bench"], [])
    record, steps = plan_of(config, ["runs/demo/round-1/policy", "owner/gemma@abc"])
    assert list(record.policies) == ["demo-round-1", "gemma"]
    assert list(steps) == [
        "questions", "demo-round-1/responses", "demo-round-1/answers", "gemma/responses",
        "gemma/answers",
    ]  # fmt: skip
    assert steps["gemma/responses"].inputs.policy == "owner/gemma@abc"
    assert steps["gemma/responses"].config.max_tokens == 4096


def test_an_adapters_base_stays_the_commit_that_it_was_when_it_was_first_asked(
    tmp_path: Path,
) -> None:
    config = {"base_model_name_or_path": "owner/base", "peft_type": "LORA", "r": 4}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    record = Record(commits={"owner/base": "c" * 40})
    label = record.label_of(str(tmp_path))
    bases = {label: record.base_of(label)}
    plan = plan_evaluation(read_config(None, ["gsm8k"], []), record, [label], Path("out"), bases)
    responses = next(step for step in plan if step.path == f"{label}/responses")
    assert responses.reads["base"] == f"owner/base@{'c' * 40}"


def test_two_policies_of_one_name_have_two_labels() -> None:
    record = Record()
    labels = [record.label_of(policy) for policy in ("one/gemma", "two/gemma", "one/gemma")]
    assert labels[0] == labels[2] == "gemma"
    assert labels[1].startswith("gemma-")


def test_how_the_held_out_prompts_are_drawn_decides_nothing_of_the_benchmarks() -> None:
    drawn = read_config(None, ["gsm8k"], ["sampling={temperature: 0.3, n: 4, seeds: [1, 2, 3, 4]}"])
    plain = read_config(None, ["gsm8k"], [])
    of = [plan_of(config, ["a/b"])[1]["b/responses"].config for config in (drawn, plain)]
    assert of[0] == of[1]


def test_all_that_is_amiss_is_told_at_once_and_nothing_written(tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text('{"instruction": "Hi."}\n')
    path = f"benchmarks=[{{name: alpaca_eval, path: {tmp_path}/q.jsonl}}]"
    with pytest.raises(UserError, match=r"(?s)1 questions are not alpaca_eval's.*no/where: no"):
        run(["./no/where", path], None, None, None, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_policy_must_be_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="name a policy"):
        run(["sampling.seed=1"], None, "gsm8k", None, tmp_path)


def test_the_record_names_policies_and_keeps_commits(tmp_path: Path) -> None:
    assert read_record(tmp_path) == Record()
    (tmp_path / RECORD).write_text(json.dumps({"policies": {"b": "a/b"}, "against": "b"}))
    assert read_record(tmp_path).against == "b"
    (tmp_path / RECORD).write_text("{")
    with pytest.raises(UserError, match="is damaged"):
        read_record(tmp_path)
