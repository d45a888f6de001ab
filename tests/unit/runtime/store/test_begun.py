"""What a step has made so far survives the machine that made it."""

import shutil
from pathlib import Path

import pytest
from s3_server import S3
from stored_steps import begun_step, files_of

from runtime.store.begun import Overtaken, Snapshots, forget_begun, last_pushed, read_begun, restore
from runtime.store.objects import Objects, StoreError

PLACE = "run/round-1/responses"


@pytest.fixture
def objects(address: str) -> Objects:
    return Objects(address, retries=0)


def always() -> bool:
    return True


def restored(objects: Objects, out: Path) -> dict[str, str]:
    begun = read_begun(objects, PLACE)
    assert begun is not None
    restore(objects, PLACE, begun, out, clear=lambda: None)
    assert last_pushed(out) == begun.number
    return files_of(out)


def test_parts_and_journals_go_on_elsewhere(objects: Objects, tmp_path: Path) -> None:
    folder = begun_step(tmp_path / "a")
    (folder / ".journal-00003.jsonl").write_text('{"sample": 1}\n{"sam')
    (folder / ".lock").write_text("")
    (folder / ".tmp-1-part-00003.parquet").write_text("half")
    there = files_of(folder)
    assert Snapshots(objects, PLACE, folder, checkpoints=True).push(always)
    there.pop(".tmp-1-part-00003.parquet")
    assert restored(objects, tmp_path / "b") == there


def test_a_later_push_sends_what_is_new_and_removes_what_is_over(s3: S3, tmp_path: Path) -> None:
    objects = Objects(s3.bucket, retries=0)
    folder = begun_step(tmp_path / "a")
    journal = folder / ".journal-00003.jsonl"
    journal.write_text("{}\n")
    snapshots = Snapshots(objects, PLACE, folder, checkpoints=True)
    snapshots.push(always)
    journal.unlink()
    (folder / "part-00003.parquet").write_text("new")
    s3.faults.requests.clear()
    snapshots.push(always)
    sent = [line.rpartition("/")[2] for line in s3.faults.requests if line.startswith("PUT")]
    assert sent == ["part-00003.parquet", "00000002.json"]
    assert not [key for key in objects.sizes("run") if key.endswith(".journal-00003.jsonl")]
    assert restored(objects, tmp_path / "b") == files_of(folder)


def test_nothing_is_sent_where_nothing_has_changed(s3: S3, tmp_path: Path) -> None:
    snapshots = Snapshots(Objects(s3.bucket), PLACE, begun_step(tmp_path / "a"), checkpoints=True)
    snapshots.push(always)
    s3.faults.requests.clear()
    assert snapshots.push(always)
    assert s3.faults.requests == []


def checkpoint(folder: Path, steps: int) -> Path:
    made = folder / ".checkpoints" / f"step-{steps:08d}"
    made.mkdir(parents=True)
    (made / "state-00000-00000.safetensors").write_text(f"state after {steps}")
    return made


def test_of_a_training_its_last_checkpoint_and_its_metrics_go_along(
    objects: Objects, tmp_path: Path
) -> None:
    folder = begun_step(tmp_path / "a", parts=0)
    older, newer = checkpoint(folder, 100), checkpoint(folder, 200)
    (folder / ".checkpoints" / "metrics.jsonl").write_text('{"step": 1}\n')
    (folder / ".checkpoints" / "unfinished-00000300").mkdir()
    (folder / "model.safetensors").write_text("half written")
    Snapshots(objects, PLACE, folder, checkpoints=True).push(always)
    assert list(restored(objects, tmp_path / "b")) == [
        ".checkpoints/metrics.jsonl",
        ".checkpoints/step-00000200/state-00000-00000.safetensors",
    ]
    assert older.exists() and newer.exists()


def test_a_checkpoint_that_is_dropped_while_it_is_pushed_arrives_whole(
    objects: Objects, tmp_path: Path
) -> None:
    folder = begun_step(tmp_path / "a", parts=0)
    there = checkpoint(folder, 100)
    (folder / ".checkpoints" / "metrics.jsonl").write_text("{}\n")

    def dropped() -> bool:
        shutil.rmtree(there, ignore_errors=True)
        return True

    assert Snapshots(objects, PLACE, folder, checkpoints=True).push(dropped)
    assert len(restored(objects, tmp_path / "b")) == 2


def test_without_checkpoints_nothing_of_a_training_is_pushed(
    objects: Objects, tmp_path: Path
) -> None:
    folder = begun_step(tmp_path / "a", parts=0)
    checkpoint(folder, 100)
    assert not Snapshots(objects, PLACE, folder, checkpoints=False).push(always)
    assert objects.sizes("run") == {}


def test_a_push_that_is_called_off_changes_nothing_that_is_seen(
    objects: Objects, tmp_path: Path
) -> None:
    folder = begun_step(tmp_path / "a")
    assert not Snapshots(objects, PLACE, folder, checkpoints=True).push(lambda: False)
    assert read_begun(objects, PLACE) is None


def add_part(folder: Path, number: int, text: str) -> None:
    (folder / f"part-{number:05d}.parquet").write_text(text)


def test_a_machine_that_was_overtaken_replaces_and_removes_nothing(
    objects: Objects, tmp_path: Path
) -> None:
    stopped = Snapshots(objects, PLACE, begun_step(tmp_path / "a"), checkpoints=True)
    (tmp_path / "a" / ".journal-00003.jsonl").write_text("{}\n")
    stopped.push(always)
    restored(objects, tmp_path / "b")
    add_part(tmp_path / "b", 4, "newer")
    goes_on = Snapshots(objects, PLACE, tmp_path / "b", checkpoints=True)
    goes_on.push(always)
    (tmp_path / "a" / ".journal-00003.jsonl").unlink()
    with pytest.raises(Overtaken, match="another machine goes on with this step"):
        stopped.push(always)
    assert restored(objects, tmp_path / "c") == files_of(tmp_path / "b")
    add_part(tmp_path / "b", 5, "newest")
    assert goes_on.push(always)
    assert restored(objects, tmp_path / "d") == files_of(tmp_path / "b")


def test_a_push_that_was_held_up_while_another_machine_went_on_comes_too_late(
    objects: Objects, tmp_path: Path
) -> None:
    folder = begun_step(tmp_path / "a")
    held_up = Snapshots(objects, PLACE, folder, checkpoints=True)
    held_up.push(always)
    add_part(folder, 4, "older")
    create, newer = objects.create, tmp_path / "b"

    def late(key: str, data: bytes) -> bool:
        objects.create = create  # type: ignore[method-assign]
        restored(objects, newer)
        snapshots = Snapshots(objects, PLACE, newer, checkpoints=True)
        for number in (5, 6):
            add_part(newer, number, "newer")
            snapshots.push(always)
        return create(key, data)

    objects.create = late  # type: ignore[method-assign]
    with pytest.raises(Overtaken):
        held_up.push(always)
    assert restored(objects, tmp_path / "c") == files_of(newer)


def test_a_record_whose_answer_was_lost_is_no_other_machines(
    objects: Objects, tmp_path: Path
) -> None:
    folder = begun_step(tmp_path / "a")
    snapshots, create = Snapshots(objects, PLACE, folder, checkpoints=True), objects.create

    def lost(key: str, data: bytes) -> bool:
        create(key, data)
        raise StoreError("no answer")

    objects.create = lost  # type: ignore[method-assign]
    with pytest.raises(StoreError, match="no answer"):
        snapshots.push(always)
    objects.create = create  # type: ignore[method-assign]
    add_part(folder, 4, "more")
    assert snapshots.push(always)
    assert restored(objects, tmp_path / "b") == files_of(folder)


def test_what_is_replaced_while_it_is_fetched_leaves_no_folder(
    objects: Objects, tmp_path: Path
) -> None:
    Snapshots(objects, PLACE, begun_step(tmp_path / "a"), checkpoints=True).push(always)
    begun = read_begun(objects, PLACE)
    assert begun
    forget_begun(objects, PLACE)
    with pytest.raises(StoreError):
        restore(objects, PLACE, begun, tmp_path / "b", clear=lambda: None)
    assert not (tmp_path / "b").exists()
    assert objects.sizes("") == {}
