"""A step: done once, resumed where it stopped, one writer, refused when something changed."""

import json
import logging
import shutil
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from workshop import Cores, Inner, Settings, Workshop

from contracts.errors import ConfigDrift, OnPolicyError, UserError
from contracts.steps import fingerprint
from contracts.steps import step as step_module
from contracts.steps.manifest import Manifest, Result, read_manifest, write_manifest
from contracts.steps.step import claim, run_once, run_step_file
from contracts.tables.parts import part_path, read_table


def test_a_step_runs_once_and_its_manifest_says_what_it_made(workshop: Workshop) -> None:
    first = workshop.run()
    assert workshop.run() == first
    assert workshop.runs == 1
    assert (first.stage, first.rows, first.facts) == ("tests.parts", 3, {"policy": "p"})
    assert first.dropped == {"empty": 2}  # a reason that dropped nothing is left out
    assert sorted(first.files) == [f"part-0000{index}.parquet" for index in range(3)]
    assert "pyarrow" in first.versions
    assert read_manifest(workshop.out) == first


def test_a_step_that_broke_goes_on_where_it_stopped(workshop: Workshop) -> None:
    workshop.stop_before = 2
    with pytest.raises(OnPolicyError, match="the engine broke"):
        workshop.run()
    assert read_manifest(workshop.out) is None
    workshop.stop_before = None
    workshop.run()
    assert read_table(workshop.out)["name"].to_pylist() == ["run 1", "run 1", "run 2"]


def test_a_manifest_says_that_its_seconds_are_only_those_since_it_was_resumed(
    workshop: Workshop,
) -> None:
    workshop.stop_before = 2
    with pytest.raises(OnPolicyError, match="the engine broke"):
        workshop.run()
    workshop.stop_before = None
    manifest = workshop.run()
    assert manifest.resumed and manifest.took.endswith(" s since resumed")


def test_a_step_that_broke_before_it_made_anything_is_not_resumed(workshop: Workshop) -> None:
    workshop.stop_before = 0
    with pytest.raises(OnPolicyError, match="the engine broke"):
        workshop.run()
    workshop.stop_before = None
    assert not workshop.run().resumed


def test_a_package_that_changes_under_way_is_told_and_both_versions_are_listed(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def begin(torch: str, stop_before: int | None) -> Manifest | None:
        monkeypatch.setattr(step_module, "versions", lambda: {"torch": torch, "vllm": "0.9"})
        workshop.stop_before = stop_before
        with nullcontext() if stop_before is None else pytest.raises(OnPolicyError):
            return workshop.run()

    begin("2.7", stop_before=0)  # nothing is made of it
    begin("2.8", stop_before=1)
    begin("2.8", stop_before=1)
    assert "goes on with" not in caplog.text
    with caplog.at_level(logging.WARNING):
        done = begin("2.9", stop_before=None)
    assert f"{workshop.out}: begun with torch 2.8, goes on with 2.9" in caplog.text
    assert done and done.versions["torch"] == "2.8, 2.9" and done.versions["vllm"] == "0.9"
    assert done.mixed == ["torch 2.8, 2.9"]


def test_other_resources_are_no_other_step(workshop: Workshop) -> None:
    def recorded() -> dict[str, int]:
        return json.loads((workshop.out / "_step.json").read_text())["config"]["resources"]

    inputs = {"source": str(workshop.source)}
    assert claim(workshop.stage(), Settings(), inputs, workshop.out) is None
    first = workshop.run(Settings(resources=Cores(count=8)))
    assert recorded() == {"count": 8}
    assert workshop.run(Settings(resources=Cores(count=2))) == first
    assert recorded() == {"count": 8}  # what made it


def test_another_config_is_refused_and_each_key_that_differs_is_named(workshop: Workshop) -> None:
    workshop.run()
    before = {path: path.read_bytes() for path in workshop.out.glob("[!.]*")}
    changed = Settings(learning_rate=2e-6, inner=Inner(depth=2))
    with pytest.raises(ConfigDrift) as refused:
        workshop.run(changed)
    said = str(refused.value)
    assert str(workshop.out) in said
    assert "\n  inner.depth: was 1, now 2\n  learning_rate: was 1e-06, now 2e-06\n" in said
    assert "parts" not in said.replace("tests.parts", "")
    assert "Choose another folder (`--out`)" in said
    (workshop.out.parent / "config.yaml").touch()
    with pytest.raises(ConfigDrift, match="Choose another `name` for the new run, or make it anew"):
        workshop.run(changed)
    assert {path: path.read_bytes() for path in workshop.out.glob("[!.]*")} == before


class Upgraded(Settings):
    """The stage's settings after an upgrade brought a key."""

    smoothing: float = 0.0


@pytest.mark.parametrize("finished", [True, False])
def test_a_step_from_before_an_upgrade_that_brought_a_key_goes_on(
    workshop: Workshop, finished: bool
) -> None:
    inputs = {"source": str(workshop.source)}
    claim(workshop.stage(), Settings(), inputs, workshop.out)
    if finished:
        workshop.run()
    upgraded = replace(workshop.stage(), config=Upgraded)
    assert run_once(upgraded, Upgraded(), inputs, workshop.out).rows == 3
    assert workshop.runs == 1
    with pytest.raises(ConfigDrift, match=r"\n  smoothing: was 0\.0, now 0\.1\n"):
        run_once(upgraded, Upgraded(smoothing=0.1), inputs, workshop.out)


def test_a_key_that_an_upgrade_took_away_is_named(workshop: Workshop) -> None:
    inputs = {"source": str(workshop.source)}
    upgraded = replace(workshop.stage(), config=Upgraded)
    run_once(upgraded, Upgraded(), inputs, workshop.out)
    with pytest.raises(ConfigDrift, match=r"\n  smoothing: was 0\.0, now None\n"):
        workshop.run()


def test_another_version_or_stage_is_refused(workshop: Workshop) -> None:
    workshop.run()
    with pytest.raises(ConfigDrift, match="version: was 1, now 2"):
        workshop.run(version=2)
    with pytest.raises(ConfigDrift, match=r"stage: was 'tests\.parts', now 'tests\.other'"):
        workshop.run(name="tests.other")


def test_a_changed_input_is_refused_even_under_the_same_name(workshop: Workshop) -> None:
    workshop.run()
    workshop.source.write_text("two")
    with pytest.raises(ConfigDrift, match=r"inputs\.source: was"):
        workshop.run()


def read_by_another(workshop: Workshop) -> Manifest:
    """A second step that reads the workshop's."""
    reader = Workshop(workshop.out, workshop.out.with_name("reader"))
    try:
        return reader.run()
    except UserError:
        assert not reader.runs, "nothing is made of what is not as it was left"
        raise


def edit(path: Path) -> None:
    """Change a byte and keep the size."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(("change", "told"), [
    (edit, r"part-00001\.parquet was edited; put back what was changed, or delete .*out"),
    (Path.unlink, r"part-00001\.parquet is gone; put back what was changed, or delete .*out"),
    (lambda path: path.write_bytes(b"cut"),
     r"part-00001\.parquet was [\d,]+ bytes when the stage finished, is 3 now; put back"),
    (lambda path: path.with_name("part-00009.parquet").touch(),
     r"part-00009\.parquet is new; move what is new away"),
], ids=["edited", "gone", "cut", "new"])  # fmt: skip
def test_a_step_is_not_read_once_its_files_are_not_as_it_left_them(
    workshop: Workshop, change: Any, told: str
) -> None:
    workshop.run()
    change(workshop.out / "part-00001.parquet")
    with pytest.raises(UserError, match=f"out: is not as its stage left it: {told}"):
        read_by_another(workshop)
    if change != edit:  # contents are compared where a step is read
        with pytest.raises(UserError, match=told):
            workshop.run()


def test_a_step_is_read_where_it_was_moved_or_copied_to(workshop: Workshop) -> None:
    workshop.run()
    shutil.copytree(workshop.out, workshop.out.with_name("copied"))
    workshop.out = workshop.out.rename(workshop.out.with_name("moved"))
    moved = read_by_another(workshop)
    workshop.out = workshop.out.with_name("copied")
    assert read_by_another(workshop) == moved


def test_weights_are_hashed_once_by_a_process(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[Path] = []
    digest = fingerprint._digest
    monkeypatch.setattr(fingerprint, "_SETTLED_NS", 0)
    monkeypatch.setattr(
        fingerprint, "_digest", lambda path, size: hashed.append(path) or digest(path, size)
    )
    weights = part_path(workshop.out, 0)
    workshop.run()
    read_by_another(workshop)
    assert hashed.count(weights) == 1
    edit(weights)
    fingerprint.of_file(weights)
    assert hashed.count(weights) == 2


def test_an_input_that_only_moved_is_no_change(workshop: Workshop) -> None:
    first = workshop.run()
    workshop.source = workshop.source.rename(workshop.source.with_name("moved.jsonl"))
    assert workshop.run() == first


def test_an_input_that_is_missing_is_named_before_anything_is_written(workshop: Workshop) -> None:
    workshop.source.unlink()
    with pytest.raises(UserError, match=r"prompts\.jsonl: no such file or folder"):
        workshop.run()
    assert not list(workshop.out.glob("[!.]*"))


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"rows": 3}', "\xff"])
def test_a_damaged_manifest_is_named_with_the_way_out(workshop: Workshop, text: str) -> None:
    workshop.run()
    (workshop.out / "_manifest.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=r"manifest\.json: is damaged; delete .*out and run again"):
        workshop.run()
    assert workshop.runs == 1


@pytest.mark.parametrize("text", ["", "[]", '{"identity": {}, "inputs": {}}', "\xff"])
def test_a_damaged_step_file_is_named_with_the_way_out(workshop: Workshop, text: str) -> None:
    workshop.run()
    (workshop.out / "_step.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=r"step\.json: is no step file.*; delete .*out and run"):
        workshop.run()


def test_a_step_file_without_a_key_is_refused_with_the_keys_name(workshop: Workshop) -> None:
    workshop.run()
    path = workshop.out / "_step.json"
    kept = {key: of for key, of in json.loads(path.read_text()).items() if key != "identity"}
    path.write_text(json.dumps(kept))
    with pytest.raises(UserError, match=r"is no step file \(`identity` is missing\)"):
        workshop.run()


def test_a_claimed_folder_is_run_from_its_step_file_alone(workshop: Workshop) -> None:
    config = Settings(parts=2, resources=Cores(count=4))
    assert claim(workshop.stage(), config, {"source": str(workshop.source)}, workshop.out) is None
    manifest = run_step_file(workshop.stage(), workshop.out / "_step.json")
    assert manifest.rows == 2
    with pytest.raises(UserError, match=r"is a step of tests\.parts, not of tests\.other"):
        run_step_file(workshop.stage(name="tests.other"), workshop.out / "_step.json")
    with pytest.raises(UserError, match="no such step file"):
        run_step_file(workshop.stage(), workshop.out / "nowhere.json")


def test_what_a_dead_writer_left_half_written_is_cleared_away(workshop: Workshop) -> None:
    workshop.out.mkdir()
    (workshop.out / ".tmp-1-part-00000.parquet").write_bytes(b"half")
    workshop.run()
    assert not list(workshop.out.glob(".tmp-*"))


def test_a_manifest_says_how_long_or_that_it_was_taken_over(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path, "test", Result(rows=1), Manifest.clock())
    assert manifest.took.endswith(" s")
    assert replace(manifest, taken_from="runs/other").took == "taken over"
