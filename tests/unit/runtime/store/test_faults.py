"""Fifty seeded runs of two machines over a server that fails: nothing is lost, nothing doubled,
and no half step is ever seen."""

import threading
from pathlib import Path

import pytest
from s3_server import S3
from stored_steps import files_of, made_step

from runtime.store.finished import TakenByAnother, pull, push, read_finished
from runtime.store.objects import Objects, StoreError

# How many of them are met depends on who comes first; nine requests at least are made.
_FAULTS, _AMONG = 4, 16
# Shorter than a request that hangs; longer than any other takes.
_SECONDS = 0.4


class Machine(threading.Thread):
    """Pushes its step until the store has it, or another machine's."""

    def __init__(self, address: str, place: str, folder: Path) -> None:
        super().__init__()
        self.objects = Objects(address, retries=0, seconds=_SECONDS)
        self.place, self.folder = place, folder
        self.lost = False
        self.attempts = 0

    def run(self) -> None:
        while True:
            self.attempts += 1
            try:
                push(self.objects, self.place, self.folder)
                return
            except TakenByAnother:
                self.lost = True
                return
            except StoreError:
                continue


class Reader(threading.Thread):
    """Looks all the while, and pulls what it sees."""

    def __init__(self, address: str, place: str, out: Path) -> None:
        super().__init__()
        self.objects = Objects(address, retries=0, seconds=_SECONDS)
        self.place, self.out = place, out

    def run(self) -> None:
        while not self.out.exists():
            try:
                if done := read_finished(self.objects, self.place):
                    pull(self.objects, self.place, done, self.out)
            except StoreError:
                continue


@pytest.mark.parametrize("seed", range(50))
def test_of_two_machines_one_wins_whatever_fails(s3: S3, tmp_path: Path, seed: int) -> None:
    place = "run/round-1/responses"
    folders = [made_step(tmp_path / "a", "fish", parts=2)]
    folders.append(made_step(tmp_path / "b", "fowl" if seed % 2 else "fish", parts=2))
    machines = [Machine(s3.bucket, place, folder) for folder in folders]
    reader = Reader(s3.bucket, place, tmp_path / "read")
    s3.faults.plan(seed, _FAULTS, _AMONG)
    for one in (*machines, reader):
        one.start()
    for one in (*machines, reader):
        one.join(60)
    assert s3.faults.happened
    winners = [machine for machine in machines if not machine.lost]
    assert len(winners) == (1 if seed % 2 else 2)
    assert files_of(tmp_path / "read") == files_of(winners[0].folder)
    manifests = [key for key in Objects(s3.bucket).sizes("run") if key.endswith("_manifest.json")]
    assert manifests == [f"{place}/_manifest.json"]
