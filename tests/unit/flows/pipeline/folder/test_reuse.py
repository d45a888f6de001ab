"""A step that another run has done is taken over whole, or not at all."""

import errno
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from repeat_stage import STAGE, Settings, Texts, repeat, step

from contracts.errors import UserError
from contracts.steps.fingerprint import of_file, of_files, of_json
from contracts.steps.manifest import Manifest, Result, read_manifest
from contracts.steps.step import claim, run_once
from flows.pipeline.folder import reuse
from flows.pipeline.folder.reuse import take_over
from flows.pipeline.planning.planned_step import PlannedStep
from flows.pipeline.run_step import run_step


@pytest.fixture
def done(tmp_path: Path) -> PlannedStep:
    first = step(tmp_path, "first")
    run_once(STAGE, first.config, first.inputs, first.out)
    return first


def refuse(*_: object) -> None:
    raise AssertionError("nothing is read from a step that is taken over")


def test_what_another_run_made_is_taken_over_with_this_runs_own_inputs(
    tmp_path: Path, done: PlannedStep
) -> None:
    second = step(tmp_path, "second", resources={"processes": 4})
    lines: list[str] = []
    manifest = run_step(second, lines.append, refuse)
    assert manifest.taken_from == str(done.out)
    assert lines == [f"INFO taken over from {done.out}: same settings, same inputs"]
    assert of_files(second.out) == of_files(done.out) == manifest.files
    assert not (second.out / ".cache").exists()
    written = json.loads((second.out / "_step.json").read_text())
    assert written["inputs"] == {"text": str(tmp_path / "second" / "text.txt")}
    assert written["config"]["resources"] == {"processes": 4}
    # As done as any other step, for whoever asks later.
    assert claim(STAGE, second.config, second.inputs, second.out) == manifest
    assert [path.name for path in second.out.parent.iterdir()] == ["texts"]


def test_a_third_run_names_the_one_that_did_the_work(tmp_path: Path, done: PlannedStep) -> None:
    take_over(step(tmp_path, "a"))
    manifest = take_over(step(tmp_path, "b"))
    assert manifest and manifest.taken_from == str(done.out)


def test_the_files_take_no_room_and_outlive_the_run_that_made_them(
    tmp_path: Path, done: PlannedStep
) -> None:
    second = step(tmp_path, "second")
    take_over(second)
    ours, theirs = (folder / "part-00000.parquet" for folder in (second.out, done.out))
    assert ours.samefile(theirs)
    theirs.unlink()
    assert ours.read_text() == "fish fish "


def test_files_are_copied_where_they_cannot_be_linked(
    tmp_path: Path, done: PlannedStep, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(reuse.os, "link", no_links)
    second = step(tmp_path, "second")
    take_over(second)
    assert of_files(second.out) == of_files(done.out)


@pytest.mark.parametrize("links", [True, False], ids=["linked", "copied"])
def test_all_is_on_the_disk_before_the_folder_is_there(
    tmp_path: Path, done: PlannedStep, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    """A power cut leaves the step whole or absent."""
    second = step(tmp_path, "second")
    synced: list[str] = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        place = os.readlink(f"/proc/self/fd/{descriptor}").replace(str(second.out.parent), "round")
        synced.append(place if second.out.exists() else f"before: {place}")
        fsync(descriptor)

    def no_links(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "fsync", noted)
    if not links:
        monkeypatch.setattr(reuse.os, "link", no_links)
    take_over(second)
    made = "before: round/.taking-texts"
    assert {made, f"{made}/adapter"} <= set(synced)
    assert synced[-1] == "round"
    if not links:
        assert {f"{made}/part-00000.parquet", f"{made}/adapter/weights.json"} <= set(synced)


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "adapter/../../evil", ""])
def test_names_that_leave_the_folder_are_not_followed(
    tmp_path: Path, done: PlannedStep, name: str
) -> None:
    (done.out.parent / "evil").write_text("evil")
    path = done.out / "_manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"][name] = of_file(done.out.parent / "evil")
    path.write_text(json.dumps(manifest | {"fingerprint": of_json(manifest["files"])}))
    second = step(tmp_path, "second")
    assert take_over(second) is None
    assert not list(second.run.rglob("evil"))
    with pytest.raises(UserError, match="is no file of this stage"):
        read_manifest(done.out)


def test_a_manifest_whose_fingerprint_is_not_of_its_files_is_not_taken(
    tmp_path: Path, done: PlannedStep
) -> None:
    path = done.out / "_manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"fingerprint": "another step's"}))
    assert take_over(step(tmp_path, "second")) is None


@pytest.mark.parametrize("other", [{"times": 3}, {"text": "bird "}], ids=["settings", "input"])
def test_another_step_is_not_taken(tmp_path: Path, done: PlannedStep, other: Any) -> None:
    assert take_over(step(tmp_path, "second", **other)) is None


def test_another_version_of_the_stage_is_not_taken(tmp_path: Path, done: PlannedStep) -> None:
    newer = replace(step(tmp_path, "second"), stage=replace(STAGE, version=2))
    assert take_over(newer) is None


class Upgraded(Settings):
    """The stage's settings after an upgrade brought a key."""

    upper: bool = False


def test_what_was_made_before_an_upgrade_brought_a_key_is_taken(
    tmp_path: Path, done: PlannedStep
) -> None:
    upgraded = replace(STAGE, config=Upgraded)
    second = replace(step(tmp_path, "second"), stage=upgraded, config=Upgraded())
    assert take_over(second)
    assert take_over(replace(second, run=tmp_path / "third", config=Upgraded(upper=True))) is None


def test_what_has_more_failures_than_the_config_allows_is_neither_taken_nor_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def limit(config: Settings, manifest: Manifest) -> str | None:
        failed = manifest.dropped.get("failed", 0)
        return f"{failed} failed: raise it" if failed > config.resources.processes else None

    def fail_twice(config: Settings, inputs: Texts, out: Path) -> Result:
        return replace(repeat(config, inputs, out), dropped={"failed": 2})

    stage = replace(STAGE, refuse=limit, run=fail_twice)
    lenient, strict = (
        replace(step(tmp_path, run, resources={"processes": allowed}), stage=stage)
        for run, allowed in (("first", 2), ("second", 1))
    )
    run_once(stage, lenient.config, lenient.inputs, lenient.out)
    assert take_over(strict) is None
    assert claim(stage, lenient.config, lenient.inputs, lenient.out)
    with pytest.raises(UserError, match=r"texts: 2 failed: raise it, or delete"):
        claim(stage, strict.config, lenient.inputs, lenient.out)


def test_what_other_packages_made_is_not_taken(tmp_path: Path, done: PlannedStep) -> None:
    path = done.out / "_manifest.json"
    manifest = json.loads(path.read_text())
    manifest["versions"]["torch"] = "1.0"
    path.write_text(json.dumps(manifest))
    assert take_over(step(tmp_path, "second")) is None


def test_a_damaged_part_is_not_taken(tmp_path: Path, done: PlannedStep) -> None:
    (done.out / "part-00000.parquet").write_text("fist fish ")
    second = step(tmp_path, "second")
    assert take_over(second) is None
    assert not second.out.exists()


@pytest.mark.parametrize("name", ["_manifest.json", "_step.json"])
def test_a_damaged_or_unfinished_step_is_not_taken(
    tmp_path: Path, done: PlannedStep, name: str
) -> None:
    path = done.out / name
    path.write_text("{")
    assert take_over(step(tmp_path, "second")) is None
    path.unlink()
    assert take_over(step(tmp_path, "second")) is None


def test_a_step_that_was_begun_goes_on_by_itself(tmp_path: Path, done: PlannedStep) -> None:
    second = step(tmp_path, "second")
    claim(STAGE, second.config, second.inputs, second.out)
    assert take_over(second) is None


def test_a_kill_in_the_middle_leaves_nothing_that_looks_begun(
    tmp_path: Path, done: PlannedStep, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = step(tmp_path, "second")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(reuse, "save_manifest", killed)
        take_over(second)
    assert not second.out.exists()
    assert take_over(second) == read_manifest(second.out)


@pytest.mark.parametrize("others", [0, 1])
def test_a_source_that_goes_in_the_middle_is_left_and_the_next_is_tried(
    tmp_path: Path, done: PlannedStep, monkeypatch: pytest.MonkeyPatch, others: int
) -> None:
    """Its own run is told to make it anew (`--redo`) just then."""
    if others:
        other = step(tmp_path, "other")
        run_once(STAGE, other.config, other.inputs, other.out)
    take = reuse._take

    def gone_after_one(source: Path, target: Path) -> None:
        take(source, target)
        if source.is_relative_to(done.out):
            shutil.rmtree(done.out)

    monkeypatch.setattr(reuse, "_take", gone_after_one)
    second = step(tmp_path, "second")
    taken = take_over(second)
    assert (taken and taken.taken_from) == (
        str(tmp_path / "other/round-1/texts") if others else None
    )
    assert second.out.exists() == bool(others)
    assert not list(second.run.rglob(".taking-*"))


def test_a_full_disk_is_no_reason_to_do_a_step_anew(
    tmp_path: Path, done: PlannedStep, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(reuse, "_take", full)
    with pytest.raises(OSError, match="No space left"):
        take_over(step(tmp_path, "second"))
    assert not list(tmp_path.rglob(".taking-*"))


def test_an_input_that_is_missing_is_named(tmp_path: Path, done: PlannedStep) -> None:
    second = step(tmp_path, "second")
    Path(second.reads["text"]).unlink()
    with pytest.raises(UserError, match=r"text\.txt"):
        take_over(second)
