"""`onpolicy evaluate-reward-model`: a config's annotators on a small file of questions."""

import json
import os
from pathlib import Path

import pytest
import reward_bench_files as files
import yaml
from checkout import CHECKOUT
from judging_files import write_outputs
from minimal_run import MINIMAL
from typer.testing import CliRunner

from contracts.errors import UserError
from flows.cli.app import app
from flows.pipeline.console import console


def write_config(folder: Path) -> Path:
    annotator = {"kind": "function", "name": "length", "function": "annotation_rewards:length"}
    other = {"kind": "function", "name": "vowels", "function": "annotation_rewards:vowels"}
    made = {
        "runs_dir": str(folder / "runs"),
        "annotation": {"annotators": [annotator]},
        "evaluation": {**MINIMAL["evaluation"], "annotators": [other]},
    }
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(MINIMAL | made))
    return path


LIBRARYS = "/x/torch/cuda.py:61: FutureWarning: pynvml is deprecated"


def test_every_annotator_of_a_config_has_its_figures(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{CHECKOUT}{os.pathsep}{tmp_path}")
    rewards = tmp_path / "annotation_rewards.py"
    rewards.write_text(f"{rewards.read_text()}\nprint({LIBRARYS!r}, flush=True)\n")
    command = ["evaluate-reward-model", str(write_config(tmp_path))]
    command += ["--questions", str(files.write(tmp_path / "questions.jsonl"))]
    with console.capture() as shown:
        first = CliRunner().invoke(app, command, catch_exceptions=False).stdout
    assert "FutureWarning" not in shown.get()  # `--debug` shows it
    assert "  Focus                50.0 % (95% interval 0.0 to 100.0), 2 questions\n" in first
    assert [line.split(":")[0] for line in first.splitlines() if line[0] != " "] == [
        "length",
        "vowels",
    ]
    scores = tmp_path / "runs" / "reward-models" / "test-questions" / "scores"
    assert (scores / "_manifest.json").is_file()
    assert first.count("Ties is out of 101, as RewardBench 2 counts it") == 2  # an annotator each
    again = json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)
    assert again["length"]["subsets"]["Math"]["score"]["value"] == 50
    assert again["length"]["score"]["low"] < again["length"]["score"]["high"]


def test_what_an_annotator_lacks_is_told_before_anything_is_written(tmp_path: Path) -> None:
    path = write_config(tmp_path)
    command = ["evaluate-reward-model", str(path), "annotation.annotators.0.function=no_such:score"]
    command += ["--questions", str(files.write(tmp_path / "questions.jsonl"))]
    with pytest.raises(UserError, match=r"nothing was started:\n.*no_such"):
        CliRunner().invoke(app, command, catch_exceptions=False)
    assert not (tmp_path / "runs").exists()


def test_outputs_are_compared_with_given_ones_by_every_annotator(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{CHECKOUT}{os.pathsep}{tmp_path}")
    longer = {f"Name {n} fish.": "a long answer" if n % 4 else "no" for n in range(12)}
    mine = write_outputs(tmp_path / "mine.json", longer | {"Only mine?": "yes"}, "mine")
    base = write_outputs(tmp_path / "base.json", dict.fromkeys(longer, "a cod"), "base")
    command = ["reward-win-rate", str(write_config(tmp_path)), str(mine), "--against", str(base)]
    told = CliRunner().invoke(app, command, catch_exceptions=False).stdout.splitlines()
    assert told[0].startswith("mine against base: ") and told[0].endswith(" characters an answer")
    assert told[1].startswith("  length             75.0 % (95% interval ")
    assert told[1].endswith("12 prompts, 0.0 % ties")
    assert told[2].startswith("  1 more prompts lack an answer or its score: ")
    found = json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)
    assert list(found["rates"]) == ["length", "vowels"]
    scores = tmp_path / "runs" / "reward-win-rates" / "mine-base" / "scores"
    assert (scores / "_manifest.json").is_file()


def test_outputs_to_other_instructions_are_refused_before_anything_is_written(
    tmp_path: Path,
) -> None:
    files = [write_outputs(tmp_path / f"{name}.json", {name: "x"}, name) for name in ("a", "b")]
    command = ["reward-win-rate", str(write_config(tmp_path)), str(files[0])]
    with pytest.raises(UserError, match=r"a\.json and .*b\.json answer no instruction in common"):
        CliRunner().invoke(app, [*command, "--against", str(files[1])], catch_exceptions=False)
    assert not (tmp_path / "runs").exists()
