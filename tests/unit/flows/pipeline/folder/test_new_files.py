"""A file laid beside what a finished stage has made: no matter, or to be moved away."""

import shutil
from pathlib import Path

import pytest
from made_run import made, make, tables
from minimal_run import MINIMAL, config

from contracts.errors import ConfigDrift, UserError
from contracts.steps.manifest import Result, write_manifest
from flows.pipeline.config import RunConfig
from flows.pipeline.folder.run_folder import claim_run, is_finished

BESIDE = ["rates.png", ".DS_Store", "README.md", "notes.txt", "leaderboard.csv", "mine.parquet",
          "annotations.json", "judge/config.json", "judge/part-00000.parquet",
          "judge/model.safetensors"]  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> RunConfig:
    """A finished run whose last policy is a model's folder, as a training makes it."""
    (tmp_path / "prompts.jsonl").write_text("List two fruits.")
    for model in ("policy", "reward"):
        (tmp_path / model).mkdir()
    reward = {"kind": "classifier", "name": "rm", "path": str(tmp_path / "reward")}
    run = made(config(
        runs_dir=str(tmp_path / "runs"), policy={"path": str(tmp_path / "policy")},
        prompts=MINIMAL["prompts"] | {"path": str(tmp_path / "prompts.jsonl")},
        annotation={"annotators": [reward]},
    ))  # fmt: skip
    policy = run.folder / "round-2/policy"
    (policy / "config.json").write_text("{}")
    (policy / "_manifest.json").unlink()
    write_manifest(policy, "training.train", Result(rows=1), started=0.0)
    shutil.rmtree(run.folder / "round-2/evaluation")
    make(run)
    return run


@pytest.mark.parametrize("path", ["round-2/pairs", "round-2/evaluation/scores", "round-2/policy"])
def test_what_nobody_reads_is_no_change(run: RunConfig, path: str) -> None:
    for name in BESIDE:
        (run.folder / path / name).parent.mkdir(exist_ok=True)
        (run.folder / path / name).write_text("mine")
    assert is_finished(run)
    assert claim_run(run) == run and make(run) == []


@pytest.mark.parametrize(("path", "name"), [
    ("round-1/responses", "part-00001.parquet"),
    ("round-2/policy", "model-00002-of-00002.safetensors"),
    ("round-2/policy", "chat_template.jinja"),
    ("round-2/policy", "tokenizer.json"),
    ("round-2/policy", "adapter_config.json"),
])  # fmt: skip
def test_what_would_be_read_is_to_be_moved_away_and_nothing_is_made_anew(
    run: RunConfig, tmp_path: Path, path: str, name: str
) -> None:
    before = tables(run.folder)
    (run.folder / path / name).write_text("mine")
    with pytest.raises(ConfigDrift) as caught:
        claim_run(run)
    said = str(caught.value)
    assert f"\n  {path}: {name} is new since it finished\nMove what is new away" in said
    assert "--redo" not in said
    with pytest.raises(UserError, match=rf"{name} is new; move what is new away$"):
        make(run)
    (run.folder / path / name).rename(tmp_path / name)
    assert is_finished(run) and tables(run.folder) == before


def test_what_is_new_is_told_beside_what_was_changed(run: RunConfig) -> None:
    (run.folder / "round-1/responses/part-00001.parquet").write_text("mine")
    (run.folder / "round-2/policy/part-00000.parquet").unlink()
    with pytest.raises(ConfigDrift) as caught:
        is_finished(run)
    told = "`--redo round-2/policy`.\n  round-1/responses: part-00001.parquet is new since it fin"
    assert told in str(caught.value)
