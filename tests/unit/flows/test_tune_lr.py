"""`onpolicy tune` and `merge` without training: what they are pointed at, what they print."""

import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from checkout import CHECKOUT
from typer.testing import CliRunner

from contracts.config.base import load_config
from contracts.errors import FolderBusy, UserError
from contracts.steps import lock
from contracts.steps.fingerprint import of_files
from contracts.steps.lock import folder_lock
from contracts.steps.manifest import Result, write_manifest
from contracts.tables.parts import write_part
from contracts.tables.schemas import TOKENS
from flows import tune_lr as lr_module
from flows.cli.app import app
from flows.pipeline.config import RunConfig
from flows.tune.source import read_source
from flows.tune_lr import tune_lr

DEMO = CHECKOUT / "configs" / "demo.yaml"
ROW = {"prompt_id": "p", "prompt_ids": [1], "chosen_ids": [2, 3, 4], "rejected_ids": [5, 6],
       "chosen_loss_start": 1, "rejected_loss_start": 0}  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of two rounds whose first one has its tokens."""
    folder = tmp_path / "elsewhere"
    tokens = folder / "round-1" / "tokens"
    tokens.mkdir(parents=True)
    config = load_config(RunConfig, DEMO).model_dump(mode="json")
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    write_part(tokens, 0, pa.Table.from_pylist([ROW] * 100, schema=TOKENS), TOKENS)
    write_manifest(tokens, "training.format", Result(100), 0.0)
    return folder


def said(*arguments: Any) -> list[str]:
    ended = CliRunner().invoke(app, ["tune", *map(str, arguments)], catch_exceptions=False)
    return ended.output.splitlines()


def test_a_run_means_its_last_round_with_tokens_wherever_it_lies(run: Path) -> None:
    source = read_source(run, ["training.global_batch=8"])
    assert (source.round, source.pairs, source.run.folder) == (1, 100, run)
    assert source.run.training.global_batch == 16
    assert source.changed.training.global_batch == 8
    assert read_source(run / "round-2", []).pairs is None


def test_a_run_that_another_process_writes_to_gets_no_stage_from_a_test_of_rates(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "_LOCK_WAIT_SECONDS", 0.1)
    source = read_source(run / "round-2", [])  # its pairs are still to be made
    config = source.run.model_dump(mode="json")
    before = of_files(run)
    with folder_lock(run), pytest.raises(FolderBusy, match=f"process {os.getpid()} on"):
        tune_lr.fn(config, [], 2, {"low": 1e-6, "high": 1e-3, "steps": 10})
    assert of_files(run) == before


def test_a_busy_run_is_told_before_a_server_is_started_for_a_test_of_its_rates(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "_LOCK_WAIT_SECONDS", 0.1)
    monkeypatch.setattr(lr_module, "ensure_server", lambda: pytest.fail("a server was started"))
    with folder_lock(run), pytest.raises(FolderBusy, match=f"process {os.getpid()} on"):
        lr_module.run_lr(run / "round-2", [], lr_module.Asked(None, None, 10))


def test_a_config_means_its_first_round_and_training_does_not_rename_the_run() -> None:
    source = read_source(DEMO, ["training.learning_rate=1e-3", "seed=7"])
    assert source.round == 1
    assert source.run.training.learning_rate == 3e-4
    assert source.changed.training.learning_rate == 1e-3
    assert source.run.name == read_source(DEMO, ["seed=7"]).run.name != "demo"


@pytest.mark.parametrize(("path", "overrides", "message"), [
    ("nothing", [], "is no run, no round and no config"),
    ("round-3", [], "has rounds 1 to 2"),
    (".", ["seed=1"], "only training"),
])  # fmt: skip
def test_what_is_no_source_is_refused(
    run: Path, path: str, overrides: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        read_source(run / path, overrides)


def test_a_run_without_tokens_is_sent_to_its_config(run: Path) -> None:
    (run / "round-1" / "tokens" / "_manifest.json").unlink()
    with pytest.raises(UserError, match="give the config instead"):
        read_source(run, [])


def test_another_batch_prints_steps_and_overrides(run: Path) -> None:
    lines = said("batch", run, 64)
    assert lines[0].endswith("batch 16 -> 64")
    assert "14 -> 4 over 100 pairs, 2 epoch(s)" in lines[1]
    assert lines[-4:] == [
        "training.global_batch=64", "training.learning_rate=0.0006",
        "training.adam_betas=[0.6,0.996]", "training.adam_epsilon=5e-09",
    ]  # fmt: skip


def test_what_another_batch_prints_can_be_given_to_a_run(run: Path) -> None:
    overrides = [line for line in said("batch", run, 64) if line.startswith("training.")]
    found = load_config(RunConfig, DEMO, overrides).training
    assert (found.global_batch, found.learning_rate, found.adam_betas) == (64, 6e-4, (0.6, 0.996))


def test_lora_counts_the_tokens_of_the_round(run: Path, tiny_gemma: Path) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["policy"]["path"] = str(tiny_gemma)
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    lines = said("lora", run)
    assert lines[-2:] == ["training.lora.rank=16", "training.lora.alpha=16"]
    assert "onpolicy tune lr" in "".join(lines)


def test_check_says_what_is_off_the_published_path(run: Path, tiny_gemma: Path) -> None:
    assert "loss.beta 0.1 is low" in "".join(said("check", run, "training.loss.beta=0.1"))
    (line,) = said("check", DEMO.parent / "gemma2-9b-it-simpo.yaml", f"policy.path={tiny_gemma}")
    assert "not judged: what is published is of preference training of models of billions" in line


def test_an_unknown_rule_is_refused(run: Path) -> None:
    with pytest.raises(UserError, match="--rule cube: write one of sqrt, linear"):
        said("batch", run, 64, "--rule", "cube")


def test_merge_refuses_what_is_no_adapter(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="adapter_config"):
        arguments = ["merge", str(tmp_path), str(tmp_path / "out")]
        CliRunner().invoke(app, arguments, catch_exceptions=False)


def test_merge_takes_another_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"peft_type": "LORA", "base_model_name_or_path": "gone"}
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings))
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    base = tmp_path / "no-model"
    base.mkdir()
    with pytest.raises(UserError, match="no-model: holds no"):
        arguments = ["merge", str(tmp_path), str(tmp_path / "out"), "--base", str(base)]
        CliRunner().invoke(app, arguments, catch_exceptions=False)
