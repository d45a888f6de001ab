"""What is told of templates and functions, which a check has to try."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from checked_config import ARMORM, FUNCTION, amiss, config
from checkout import CHECKOUT

from flows.pipeline.checks.check import _inside, refuse_unready
from flows.pipeline.checks.look_inside import FOUND
from flows.pipeline.folder.run_folder import steps_left


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
