"""What a run would end at hours later is told before its first stage: real tiny models."""

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from checked_config import ARMORM, CLASSIFIER, FUNCTION, amiss, config, edit
from made_run import made
from safetensors.torch import load_file, save_file

from contracts.errors import UserError
from flows.pipeline.checks.check import quick_faults, refuse_unready, summary
from flows.pipeline.folder.run_folder import steps_left

NO_KEY = {"api_key_env": "NO_SUCH_KEY"}
KEY = "annotation.annotators.0.resources.api_key_env"


def test_where_all_is_there_nothing_is_told_and_nothing_is_written(world: Path) -> None:
    assert amiss() == ""
    assert not (world / "runs").exists()


def test_judges_keys_and_files_are_looked_at_before_any_work(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    (world / "base.json").write_text('[{"instruction": "What?", "output": "x"}]')
    own = {"name": "alpaca_eval", "path": "questions.json", "questions_sha256": "any",
           "max_tokens": 8}  # fmt: skip
    hard = {"difficulty": "hard.csv", "gamed": None}
    judge = {"name": "j", "model": "m", "resources": {**NO_KEY, "max_cost": 1}}

    def told(baseline: str, **more: Any) -> str:
        section = {"sampling": {"max_tokens": 8}, "annotators": [FUNCTION], "benchmarks": [own]}
        files = {"alpaca_eval": {"baseline": baseline, **hard}}
        judges = [{**judge, **more}]
        return amiss(evaluation={**section, "judges": judges, "judged_with": files})

    assert told("base.json") == ""
    everything = told("base.json", enabled=True)
    assert "evaluation.judges.0.resources.api_key_env: judge 'j': set the environ" in everything
    assert (
        "evaluation.judges.0.resources: `resources.max_cost` needs `resources.prices`" in everything
    )
    assert "evaluation.judged_with.alpaca_eval: hard.csv: no such file" in everything
    (world / "hard.csv").write_text("index,instruction_difficulty\n0,1\n")
    assert "base.json: has no answer to 1 of the 1 questions, the first: 'Why?'" in told(
        "base.json", enabled=True
    )


@pytest.mark.parametrize("references", [None, "gpt-4.jsonl"])
def test_a_judge_of_mt_bench_without_reference_answers_is_told_where_they_are(
    world: Path, references: str | None
) -> None:
    asked = {"question_id": 81, "category": "math", "turns": ["Why?", "How?"]}
    (world / "questions.jsonl").write_text(json.dumps(asked))
    own = {"name": "mt_bench", "path": "questions.jsonl", "questions_sha256": "any"}
    judge = {"name": "j", "model": "m", "resources": NO_KEY, "enabled": True}
    section = {"sampling": {"max_tokens": 8}, "annotators": [FUNCTION], "judges": [judge]}
    files = {"mt_bench": {"references": references}}
    told = amiss(evaluation={**section, "benchmarks": [own], "judged_with": files})
    missing = f"{references}: no such file" if references else "references is null"
    assert f"evaluation.judged_with.mt_bench: {missing}; a judge of MT-Bench needs the" in told


@pytest.mark.parametrize(("section", "told"), [
    ({"policy": {"path": "./typo"}}, "policy.path: ./typo: no such folder, and not a hub id"),
    ({"prompts": {"path": "no.jsonl", "test_size": 4}}, "prompts.path: no.jsonl: no such file"),
    ({"prompts": {"path": "prompts.jsonl", "test_size": 4, "column": "text"}},
     "prompts.path: prompts.jsonl:1: no column 'text'; it holds 'prompt'"),
    ({"prompts": {"path": "prompts.jsonl", "test_size": 4, "decontaminate": ["no.json"]}},
     "prompts.decontaminate.0: no.json: no such file"),
    ({"sampling": {"max_tokens": 512}}, "sampling.max_tokens: 512 leaves no room for a prompt"),
    ({"training": {"resources": {"attention": "sdpa", "layout": "separate"}}},
     "training.resources.attention: this model soft-caps"),
    ({"runs_dir": "prompts.jsonl"}, "can be written there (Not a directory); set `runs_dir`"),
    ({"runs_dir": "/proc/none"}, "/proc: nothing can be written there (No such file"),
    ({"prompts": {"path": "policy/..", "test_size": 4, "decontaminate": ["empty"]}},
     "prompts.decontaminate.0: empty: holds no data set: no .parquet, .jsonl"),
    ({"prompts": {"path": "cut.jsonl", "test_size": 4}},
     "prompts.path: cut.jsonl:2: not valid JSON"),
    ({"prompts": {"path": "mixed", "test_size": 4}},
     "prompts.path: mixed/b.parquet: has no column 'prompt', unlike a.parquet"),
    ({"training": {"resources": {"strategy": "none", "processes": 4096}}},
     "training.resources.processes: 4096 processes need a core each"),
], ids=str)  # fmt: skip
def test_a_fault_is_told_by_its_key(world: Path, section: dict[str, Any], told: str) -> None:
    (world / "empty").mkdir()
    (world / "mixed").mkdir()
    for name, column in (("a", "prompt"), ("b", "question")):
        pq.write_table(pa.table({column: ["Hi"]}), world / "mixed" / f"{name}.parquet")
    (world / "cut.jsonl").write_text('{"prompt": "Hi"}\n{"prompt": "H\n')
    assert told in "\n".join(quick_faults(config(**section)))


@pytest.mark.parametrize(("annotator", "told"), [
    ({**ARMORM, "path": "./typo"}, "annotation.annotators.0.path: ./typo: no such folder"),
    ({**ARMORM, "path": "policy"}, "annotation.annotators.0.path: policy: cannot be loaded as "),
    ({**ARMORM, "path": "classifier"}, "its reward heads are missing (gating."),
    ({**CLASSIFIER, "name": "c", "path": "policy"}, "score.weight is missing, so its scores would"),
    ({**ARMORM, "weights": {"niceness": 1}}, "annotation.annotators.0.weights: no objective is "),
    ({**ARMORM, "engine": "vllm"}, "annotation.annotators.0.engine: max_length is 4096, and vLLM"),
    ({"kind": "pairwise", "name": "p", "path": "armorm"}, "its config has no source_prefix_id"),
    ({"kind": "judge", "name": "j", "model": "m", "compare": "pointwise",
      "resources": NO_KEY}, f"{KEY}: annotator 'j': set the environment variable"),
    ({"kind": "judge", "name": "j", "model": "m", "compare": "pointwise",
      "resources": {"api_key_env": None},
      "base_url": "http://127.0.0.1:9/v1"},
     "annotation.annotators.0.base_url: annotator 'j': 127.0.0.1 cannot be reached: "),
    ({**FUNCTION, "name": "f", "function": "nomod:f"}, "nomod:f cannot be imported: No module"),
    ({**FUNCTION, "name": "f", "function": "check_rewards:bad"}, "check_rewards:bad cannot be imp"),
    ({**FUNCTION, "name": "f", "function": "check_rewards:number"}, "is of type int, not a fun"),
], ids=str)  # fmt: skip
def test_an_annotator_that_could_not_score_is_told_by_its_key(
    world: Path, annotator: dict[str, Any], told: str
) -> None:
    assert told in amiss(annotator)


def test_all_that_is_amiss_is_told_at_once(world: Path) -> None:
    told = amiss({**ARMORM, "path": "./typo"}, policy={"path": "./none"}, 
                 prompts={"path": "no.jsonl", "test_size": 4})  # fmt: skip
    assert [line.partition(":")[0] for line in told.splitlines()] == [
        "policy.path", "prompts.path", "annotation.annotators.0.path",
    ]  # fmt: skip


def drop(model: Path, tensor: str) -> None:
    weights = load_file(model / "model.safetensors")
    del weights[tensor]
    save_file(weights, model / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize("model", ["policy", "armorm", "classifier"])
def test_a_tensor_that_is_missing_is_told(world: Path, model: str) -> None:
    drop(world / model, "model.norm.weight")
    (told,) = quick_faults(config())
    assert "missing: model.norm.weight" in told


def test_a_generation_config_that_could_not_be_saved_is_told(world: Path) -> None:
    edit(world / "policy" / "generation_config.json", temperature=0.7)
    assert "policy.path: policy: its generation_config.json could not be saved" in amiss()


def test_an_adapter_as_the_policy_is_told_to_be_merged_first(world: Path) -> None:
    (world / "adapter").mkdir()
    settings = {"base_model_name_or_path": "policy", "r": 4, "target_modules": ["q_proj"]}
    (world / "adapter" / "adapter_config.json").write_text(json.dumps(settings))
    told = "\n".join(quick_faults(config(policy={"path": "adapter"})))
    assert "onpolicy merge adapter NEW_FOLDER" in told


@pytest.mark.parametrize(("section", "told"), [
    ({"sampling": {"n": 1}}, "sampling.n: one response a prompt makes no pair"),
    ({"sampling": {"seeds": [7]}}, "sampling.seeds: one response a prompt makes no pair"),
    ({"seed": 2**63}, "key 'seed': Input should be less than 9223372036854775808"),
], ids=str)  # fmt: skip
def test_a_config_that_cannot_work_is_refused(section: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        config(**section)


def test_room_for_every_round_that_is_left_is_asked_for(world: Path) -> None:
    """A policy of 2^40 parameters, as a file with a hole in it."""
    rows = 1 << 34
    edit(world / "policy" / "config.json", vocab_size=rows)
    path = world / "policy" / "model.safetensors"
    length = int.from_bytes(path.read_bytes()[:8], "little")
    header = json.loads(path.read_bytes()[8 : 8 + length])
    end = max(entry["data_offsets"][1] for name, entry in header.items() if name[0] != "_")
    own = {"shape": [rows, 64], "data_offsets": [end, end + 4 * 64 * rows]}
    header["model.embed_tokens.weight"] |= own
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + own["data_offsets"][1])
    (told,) = quick_faults(config(rounds=3))
    assert "3 policies and checkpoints take 36,864.0 GiB" in told
    assert "or set training.resources.checkpoint_every to 0" in told


def test_a_broken_config_of_the_policy_is_told_once(world: Path) -> None:
    (world / "policy" / "config.json").write_text("{")
    told = quick_faults(config())
    assert [line.partition(": ")[0] for line in told] == ["policy.path"]
    assert "policy/config.json: cannot be read" in told[0]


def test_a_folder_without_a_model_is_told_once(world: Path) -> None:
    (world / "empty").mkdir()
    reward = ARMORM | {"path": "empty", "weights": {"code-style": 1}}
    told = amiss(reward, policy={"path": "empty"}).splitlines()
    assert told == [
        "policy.path: empty: holds no config.json, so it is no model's folder",
        "annotation.annotators.0.path: empty: holds no config.json, so it is no model's folder",
    ]


def test_what_was_not_looked_into_is_named(world: Path) -> None:
    assert "Not looked into" not in summary(config())
    reward = ARMORM | {"path": "owner/reward", "revision": "abc"}
    away = {"policy": {"path": "owner/policy"}, "prompts": {"path": "owner/data", "test_size": 4}}
    told = summary(config(reward, **away))
    assert told.startswith("test: ready. Looked at 2 annotator(s), 0 source(s) of prompts, ")
    assert told.endswith(
        "Not looked into, as it is on the hub and not here: "
        "owner/policy, owner/reward@abc, owner/data"
    )


def test_what_is_on_the_hub_alone_is_left_to_the_stages(world: Path) -> None:
    hub = {**ARMORM, "path": "nobody/reward-model"}
    assert amiss(hub, policy={"path": "nobody/policy"}) == ""


JUDGE = {"kind": "judge", "name": "j", "model": "m", "compare": "pointwise",
         "resources": NO_KEY}  # fmt: skip
LENGTH = "sampling.max_tokens"
HELD_OUT, KERNEL = "evaluation.sampling.max_tokens", "training.resources.attention"


@pytest.mark.parametrize(("redo", "told"), [
    ("evaluation/comparison", []),
    ("policy", [HELD_OUT, KEY, KERNEL]),
    ("round-1/evaluation/scores", [KEY]),
    ("scores", [HELD_OUT, KEY, KERNEL]),
    ("round-0/evaluation/responses", [HELD_OUT, KEY]),
    ("responses", [LENGTH, HELD_OUT, KEY, KERNEL]),
])  # fmt: skip
def test_a_stage_is_looked_at_where_a_step_of_it_is_left_or_made_anew(
    world: Path, redo: str, told: list[str]
) -> None:
    resources = {"attention": "sdpa", "layout": "separate", "strategy": "none"}
    wrong = {"sampling": {"max_tokens": 512}, "training": {"resources": resources},
             "evaluation": {"sampling": {"max_tokens": 512}}}  # fmt: skip
    run = made(config(JUDGE, **wrong))
    assert quick_faults(run) == []
    found = quick_faults(run, steps_left(run, [redo]))
    assert [line.partition(":")[0] for line in found] == told


def test_nothing_is_imported_for_a_run_of_which_the_comparison_is_left(world: Path) -> None:
    run = made(config(JUDGE))
    shutil.rmtree(run.folder / "round-1/evaluation/comparison")
    (world / "check_rewards.py").rename(world / "moved.py")
    assert [step.path for step in steps_left(run)] == ["round-1/evaluation/comparison"]
    refuse_unready(run)


def test_a_round_that_a_schedule_adds_is_looked_at(world: Path) -> None:
    run = made(config(JUDGE))
    (told,) = quick_faults(run, steps_left(run, next_round=True))
    assert told.startswith(KEY)
