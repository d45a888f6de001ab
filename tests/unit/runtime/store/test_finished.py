"""A finished step in a store: whole or not to be seen, pushed by one, pulled as it was."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from s3_server import S3
from stored_steps import files_of, made_step

from contracts.errors import UserError
from contracts.steps.manifest import read_manifest, save_manifest
from contracts.steps.step import read_step
from runtime.store.finished import TakenByAnother, forget, pull, push, read_finished
from runtime.store.objects import Objects, StoreError

PLACE = "run/round-1/pairs"


@pytest.fixture
def objects(address: str) -> Objects:
    return Objects(address, retries=0)


def pulled(objects: Objects, out: Path) -> Path:
    done = read_finished(objects, PLACE)
    assert done is not None
    pull(objects, PLACE, done, out)
    return out


def test_a_pushed_step_is_pulled_as_it_was(objects: Objects, tmp_path: Path) -> None:
    folder = made_step(tmp_path / "a" / "pairs")
    assert push(objects, PLACE, folder)
    out = pulled(objects, tmp_path / "b" / "pairs")
    assert files_of(out) == files_of(folder)
    assert read_manifest(out) == read_manifest(folder)
    assert read_step(out / "_step.json") == read_step(folder / "_step.json")


def test_to_push_it_again_sends_nothing(objects: Objects, tmp_path: Path) -> None:
    folder = made_step(tmp_path / "pairs")
    push(objects, PLACE, folder)
    before = objects.sizes("run")
    assert not push(objects, PLACE, folder)
    assert objects.sizes("run") == before


def test_a_step_without_its_manifest_is_not_there(objects: Objects, tmp_path: Path) -> None:
    folder = made_step(tmp_path / "pairs")
    push(objects, PLACE, folder)
    objects.remove([f"{PLACE}/_manifest.json"])
    assert read_finished(objects, PLACE) is None


def test_of_two_machines_that_made_it_otherwise_the_first_to_end_wins_and_the_other_is_told(
    objects: Objects, tmp_path: Path
) -> None:
    first, second = made_step(tmp_path / "a", "fish"), made_step(tmp_path / "b", "fowl")
    push(objects, PLACE, first)
    with pytest.raises(TakenByAnother, match="another machine"):
        push(objects, PLACE, second)
    assert files_of(pulled(objects, tmp_path / "c")) == files_of(first)


def test_a_file_that_has_gone_from_the_store_is_sent_again_by_whoever_has_the_step(
    objects: Objects, tmp_path: Path
) -> None:
    folder = made_step(tmp_path / "pairs")
    push(objects, PLACE, folder)
    gone, cut, _ = sorted(key for key in objects.sizes("run") if key.endswith(".parquet"))
    objects.remove([gone])
    objects.write(cut, b"half")
    done = read_finished(objects, PLACE)
    assert done and len(done.lacking(PLACE, objects.sizes("run"))) == 2
    assert not push(objects, PLACE, folder)
    assert files_of(pulled(objects, tmp_path / "out")) == files_of(folder)


def test_a_step_that_is_removed_while_it_is_pushed_is_there_whole_or_not_at_all(
    objects: Objects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = made_step(tmp_path / "pairs")
    create, sizes = objects.create, objects.sizes
    with monkeypatch.context() as before:
        before.setattr(objects, "create", lambda *a: (forget(objects, PLACE), create(*a))[1])
        push(objects, PLACE, folder)
    assert files_of(pulled(objects, tmp_path / "out")) == files_of(folder)
    pushed = iter([True])

    def push_meanwhile(prefix: str) -> dict[str, int]:
        if next(pushed, False):
            push(objects, PLACE, folder)
        return sizes(prefix)

    with monkeypatch.context() as after:
        after.setattr(objects, "sizes", push_meanwhile)
        forget(objects, PLACE)
    assert sizes("run") == {}


def test_a_step_that_is_forgotten_leaves_nothing(objects: Objects, tmp_path: Path) -> None:
    push(objects, PLACE, made_step(tmp_path / "pairs"))
    forget(objects, PLACE)
    assert objects.sizes("") == {}


def test_an_object_that_was_damaged_is_refused_by_its_name(
    objects: Objects, tmp_path: Path
) -> None:
    folder = made_step(tmp_path / "pairs")
    push(objects, PLACE, folder)
    key = next(key for key in objects.sizes("run") if key.endswith("part-00001.parquet"))
    objects.write(key, b"rot")
    with pytest.raises(StoreError, match=r"part-00001.parquet: is not what was pushed"):
        pulled(objects, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_pull_that_was_cut_off_goes_on_and_fetches_nothing_twice(s3: S3, tmp_path: Path) -> None:
    objects = Objects(s3.bucket, retries=0)
    push(objects, PLACE, made_step(tmp_path / "pairs"))
    done = read_finished(objects, PLACE)
    assert done
    broken = done.key(PLACE, "part-00001.parquet")
    data = objects.read(broken) or b""
    objects.remove([broken])
    with pytest.raises(StoreError):
        pull(objects, PLACE, done, tmp_path / "out")
    objects.write(broken, data)
    s3.faults.requests.clear()
    pull(objects, PLACE, done, tmp_path / "out")
    assert [line.rpartition("/")[2] for line in s3.faults.requests] == ["part-00001.parquet"]


def test_what_a_killed_pull_has_left_does_not_come_into_the_step(
    objects: Objects, tmp_path: Path
) -> None:
    folder = made_step(tmp_path / "pairs")
    push(objects, PLACE, folder)
    done = read_finished(objects, PLACE)
    assert done
    given_up, made = (
        tmp_path / f".pulling-out-{name}" for name in ("0123abcd", done.manifest.fingerprint[:8])
    )
    for left in (given_up, made):
        left.mkdir()
        (left / ".tmp-7-part-00000.parquet").write_text("half")
    assert files_of(pulled(objects, tmp_path / "out")) == files_of(folder)
    assert not given_up.exists()


def test_an_edited_file_is_not_pushed(objects: Objects, tmp_path: Path) -> None:
    folder = made_step(tmp_path / "pairs")
    path = folder / "part-00000.parquet"
    path.write_text(path.read_text()[::-1])
    with pytest.raises(UserError, match="was edited since its step finished"):
        push(objects, PLACE, folder)
    assert read_finished(objects, PLACE) is None


def test_a_step_that_was_freed_in_part_before_the_store_had_it_is_refused(
    objects: Objects, tmp_path: Path
) -> None:
    folder = made_step(tmp_path / "policy")
    manifest = read_manifest(folder)
    assert manifest
    (folder / "part-00000.parquet").unlink()
    freed = {"part-00000.parquet": manifest.files.pop("part-00000.parquet")}
    save_manifest(folder, replace(manifest, freed=freed))
    with pytest.raises(UserError, match="was freed by `onpolicy prune` before"):
        push(objects, PLACE, folder)
    assert objects.sizes("") == {}


def test_an_edited_file_that_kept_its_time_is_not_pushed(
    objects: Objects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = made_step(tmp_path / "pairs")
    monkeypatch.setattr("runtime.store.finished._SETTLED_NS", 0)
    path = folder / "part-00000.parquet"
    path.write_text(path.read_text()[::-1])
    os.utime(path, (1e9, 1e9))
    with pytest.raises(UserError, match="was edited since its step finished"):
        push(objects, PLACE, folder)


def test_hidden_files_that_later_steps_read_go_with_it_and_may_go_before_it(
    objects: Objects, tmp_path: Path
) -> None:
    folder = made_step(tmp_path / "policy")
    (folder / ".optimizer").mkdir()
    (folder / ".optimizer" / "state.safetensors").write_text("averages")
    push(objects, PLACE, folder, beside=".optimizer")
    out = pulled(objects, tmp_path / "b" / "policy")
    assert (out / ".optimizer" / "state.safetensors").read_text() == "averages"
    objects.remove(key for key in objects.sizes("run") if ".optimizer" in key)
    out = pulled(objects, tmp_path / "c" / "policy")
    assert not (out / ".optimizer").exists()


@pytest.mark.parametrize("part", ["record", "manifest"])
def test_a_record_of_a_newer_version_is_told_from_a_damaged_one(
    objects: Objects, tmp_path: Path, part: str
) -> None:
    push(objects, PLACE, made_step(tmp_path / "pairs"))
    record = json.loads(objects.read(f"{PLACE}/_manifest.json") or b"")
    (record if part == "record" else record["manifest"])["signed_by"] = "a later release"
    objects.write(f"{PLACE}/_manifest.json", json.dumps(record).encode())
    told = r"was written by a newer onpolicy \(this one does not know signed_by\); install that"
    with pytest.raises(UserError, match=told):
        read_finished(objects, PLACE)
    del record["step"], record["manifest"]["rows"]
    objects.write(f"{PLACE}/_manifest.json", json.dumps(record).encode())
    with pytest.raises(UserError, match=r"is damaged; remove .* from the store"):
        read_finished(objects, PLACE)


def test_a_record_that_names_a_file_outside_its_step_is_refused(
    objects: Objects, tmp_path: Path
) -> None:
    push(objects, PLACE, made_step(tmp_path / "pairs"))
    record = json.loads(objects.read(f"{PLACE}/_manifest.json") or b"")
    record["manifest"]["files"]["../../.bashrc"] = "0"
    objects.write(f"{PLACE}/_manifest.json", json.dumps(record).encode())
    with pytest.raises(UserError, match=r"'../../.bashrc' is no file of a step"):
        read_finished(objects, PLACE)
