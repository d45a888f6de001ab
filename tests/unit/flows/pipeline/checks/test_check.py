"""What a run would end at hours later is told before its first stage: real tiny models."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from checkout import CHECKOUT
from made_run import made
from safetensors.torch import load_file, save_file
from tiny_armorm import write_armorm
from transformers import LlamaConfig, LlamaForSequenceClassification

from contracts.config.base import check
from contracts.errors import UserError
from flows.pipeline.checks.check import _inside, quick_faults, refuse_unready, summary
from flows.pipeline.checks.look_inside import FOUND, found
from flows.pipeline.config import RunConfig
from flows.pipeline.folder.run_folder import steps_left

REWARDS = "def good(messages, text):\n    return 1.0\n\nnumber = 3\n"


@pytest.fixture(scope="module")
def models(
    tmp_path_factory: pytest.TempPathFactory, tiny_gemma: Path, tiny_llama_tokenizer: Any
) -> Path:
    """A policy, an ArmoRM and a classifier, all whole; prompts; a module of functions."""
    root = tmp_path_factory.mktemp("models")
    shutil.copytree(tiny_gemma, root / "policy")
    write_armorm(root / "armorm", tiny_llama_tokenizer)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1}
    settings = LlamaConfig(
        vocab_size=len(tiny_llama_tokenizer), num_attention_heads=2, num_labels=1, **sizes,
        pad_token_id=tiny_llama_tokenizer.pad_token_id,
    )  # fmt: skip
    LlamaForSequenceClassification(settings).save_pretrained(root / "classifier")
    tiny_llama_tokenizer.save_pretrained(root / "classifier")
    (root / "prompts.jsonl").write_text('{"prompt": "Hi"}\n' * 8)
    (root / "questions.json").write_text('[{"instruction": "Why?"}]')
    (root / "check_rewards.py").write_text(REWARDS)
    return root


@pytest.fixture
def world(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy to spoil, as the working folder."""
    monkeypatch.chdir(shutil.copytree(models, tmp_path / "world"))
    monkeypatch.syspath_prepend(tmp_path / "world")
    monkeypatch.delitem(sys.modules, "check_rewards", raising=False)
    return tmp_path / "world"


ARMORM = {"kind": "armorm", "name": "armorm", "path": "armorm"}
CLASSIFIER = {"kind": "classifier", "name": "class", "path": "classifier"}
FUNCTION = {"kind": "function", "name": "good", "function": "check_rewards:good"}


def config(*annotators: dict[str, Any], **more: Any) -> RunConfig:
    settings: dict[str, Any] = {
        "name": "test",
        "policy": {"path": "policy"},
        "prompts": {"path": "prompts.jsonl", "test_size": 4},
        "sampling": {"max_tokens": 8},
        "annotation": {"annotators": list(annotators or (ARMORM,))},
        "training": {"resources": {"strategy": "none"}},
        "evaluation": {"sampling": {"max_tokens": 8}, "annotators": [CLASSIFIER, FUNCTION]},
    }
    return check(RunConfig, settings | more, origin="test")


def amiss(*annotators: dict[str, Any], **more: Any) -> str:
    """What is told, quick and slow together."""
    settings = config(*annotators, **more)
    return "\n".join([*quick_faults(settings), *found(_inside(settings, steps_left(settings)))])


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
    judge = {"name": "j", "model": "m", "api_key_env": "NO_SUCH_KEY", "resources": {"max_cost": 1}}

    def told(baseline: str, **more: Any) -> str:
        section = {"sampling": {"max_tokens": 8}, "annotators": [FUNCTION], "benchmarks": [own]}
        files = {"alpaca_eval": {"baseline": baseline, **hard}}
        judges = [{**judge, **more}]
        return amiss(evaluation={**section, "judges": judges, "judged_with": files})

    assert told("base.json") == ""
    everything = told("base.json", enabled=True)
    assert "evaluation.judges.0.api_key_env: judge 'j': set the environment variable" in everything
    assert "evaluation.judges.0.resources: `max_cost` needs a file of `prices`" in everything
    assert "evaluation.judged_with.alpaca_eval: hard.csv: no such file" in everything
    (world / "hard.csv").write_text("index,instruction_difficulty\n0,1\n")
    assert "base.json: has no answer to 1 of the 1 questions, the first: 'Why?'" in told(
        "base.json", enabled=True
    )


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
      "api_key_env": "NO_SUCH_KEY"}, "annotation.annotators.0.api_key_env: annotator 'j': set the"),
    ({"kind": "judge", "name": "j", "model": "m", "compare": "pointwise", "api_key_env": None,
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


def edit(path: Path, **keys: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **keys}))


def test_a_generation_config_that_could_not_be_saved_is_told(world: Path) -> None:
    edit(world / "policy" / "generation_config.json", temperature=0.7)
    assert "policy.path: policy: its generation_config.json could not be saved" in amiss()


def test_a_template_without_its_one_bos_is_told_of_policy_and_reward_model(world: Path) -> None:
    for model in ("policy", "armorm"):
        template = world / model / "chat_template.jinja"
        template.write_text(template.read_text().replace("bos_token", "''"))
    told = amiss().splitlines()
    assert [line.partition(":")[0] for line in told] == ["policy.path", "annotation.annotators.0"]
    assert all("the chat template gives no BOS" in line for line in told)


def test_templates_that_read_the_clock_are_tried_with_the_day_that_the_claim_will_fix(
    world: Path,
) -> None:
    for model in ("policy", "armorm"):
        template = world / model / "chat_template.jinja"
        template.write_text(template.read_text() + "{% set today = strftime_now('%d') %}")
    refuse_unready(config())
    refuse_unready(config(date="2024-07-26"))


def test_a_reward_model_that_would_pad_with_the_end_of_turn_is_told(world: Path) -> None:
    token = json.loads((world / "armorm" / "tokenizer_config.json").read_text())["eos_token"]
    told = amiss({**ARMORM, "pad_token": token})
    assert "its padding token is its end-of-turn token" in told


def test_an_adapter_as_the_policy_is_told_to_be_merged_first(world: Path) -> None:
    (world / "adapter").mkdir()
    settings = {"base_model_name_or_path": "policy", "r": 4, "target_modules": ["q_proj"]}
    (world / "adapter" / "adapter_config.json").write_text(json.dumps(settings))
    told = "\n".join(quick_faults(config(policy={"path": "adapter"})))
    assert "onpolicy merge adapter NEW_FOLDER" in told


@pytest.mark.parametrize(("line", "told"), [
    ("raise RuntimeError('boom')", "RuntimeError: boom"),
    ("import sys; sys.exit('gone')", "SystemExit: gone"),
    ("import nowhere", "No module named 'nowhere'"),
])  # fmt: skip
def test_a_module_that_raises_is_told_by_function_file_and_line(
    world: Path, line: str, told: str
) -> None:
    (world / "raising_rewards.py").write_text(f"\n{line}\n")
    function = "raising_rewards:good"
    assert amiss({**FUNCTION, "name": "f", "function": function}) == (
        f"annotation.annotators.0: annotator 'f': {function} cannot be imported: {told} "
        f"({world / 'raising_rewards.py'}:2)"
    )


def test_a_function_that_takes_other_arguments_is_told_of_every_annotator(world: Path) -> None:
    (world / "other_rewards.py").write_text(
        "def none(): return 1\n\n"
        "def more(messages, text, prompt): return 1\n\n"
        "def good(messages, text, scale=1): return 1\n\n"
        "in_c = max\n"
    )
    names = ("none", "more", "good", "in_c")
    functions = [{**FUNCTION, "name": n, "function": f"other_rewards:{n}"} for n in names]
    evaluation = {"sampling": {"max_tokens": 8}, "annotators": [functions.pop()]}
    several = {"evaluation": evaluation, "pairs": {"annotator": "good"}}
    assert amiss(*functions, **several).splitlines() == [
        "annotation.annotators.0: annotator 'none': other_rewards:none() cannot be called as "
        "(messages, response text): too many positional arguments",
        "annotation.annotators.1: annotator 'more': other_rewards:more(messages, text, prompt) "
        "cannot be called as (messages, response text): missing a required argument: 'prompt'",
    ]
    evaluation["annotators"] = functions[:1]
    assert amiss(evaluation=evaluation).startswith("evaluation.annotators.0: annotator 'none'")


def test_a_module_that_ends_the_process_is_named_beside_all_other_findings(world: Path) -> None:
    (world / "leaving_rewards.py").write_text("import os\nos._exit(0)\n")
    names = ("nomod:a", "leaving_rewards:b", "nomod:c")
    annotators = [{**FUNCTION, "name": name[-1], "function": name} for name in names]
    settings = config(*annotators, pairs={"annotator": "a"})
    inside = _inside(settings, steps_left(settings)).model_dump_json()
    looking = subprocess.run(
        [sys.executable, "-m", "flows.pipeline.checks.look_inside", inside],
        env={**os.environ, "PYTHONPATH": f"{CHECKOUT}{os.pathsep}{world}"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    told = json.loads(looking.stdout.partition(FOUND)[2])
    assert [fault.partition(" cannot")[0] for fault in told] == [
        "annotation.annotators.0: annotator 'a': nomod:a",
        "annotation.annotators.1: annotator 'b': importing leaving_rewards:b ended the process "
        "that looked at it, with code 0",
        "annotation.annotators.2: annotator 'c': nomod:c",
    ]


IMPATIENT = """
import sys
from flows.pipeline.checks import look_inside
look_inside._CPU_SECONDS = 5
look_inside._main(sys.argv[1])
"""


def test_a_module_that_never_ends_is_told_and_does_not_hold_the_check(world: Path) -> None:
    (world / "endless_rewards.py").write_text("while True:\n    pass\n")
    settings = config({**FUNCTION, "name": "f", "function": "endless_rewards:f"})
    left = steps_left(settings)
    inside = _inside(settings, left).model_copy(update={"policy": None})
    looking = subprocess.run(
        [sys.executable, "-c", IMPATIENT, inside.model_dump_json()],
        env={**os.environ, "PYTHONPATH": f"{CHECKOUT}{os.pathsep}{world}"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    first = json.loads(looking.stdout.partition(FOUND)[2])[0]
    told = "annotation.annotators.0: annotator 'f': importing endless_rewards:f was not looked at"
    assert first.startswith(told)
    assert first.endswith("its template, or its module, may loop for ever")


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
         "api_key_env": "NO_SUCH_KEY"}  # fmt: skip
KEY, LENGTH = "annotation.annotators.0.api_key_env", "sampling.max_tokens"
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
