"""Two runs never hold one GPU: the second waits, is told for whom, and keeps nothing meanwhile."""

import threading
from pathlib import Path

import pytest

from contracts.errors import UserError
from runtime import gpu_lock
from runtime.gpu_lock import hold_gpus, lock_folder


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_lock, "_EVERY_SECONDS", 0.01)


class Run(threading.Thread):
    """Holds its GPUs until it is told to end."""

    def __init__(self, folder: Path, name: str, gpus: list[str]) -> None:
        super().__init__(name=name, daemon=True)
        self._folder, self._gpus = folder, gpus
        self.waits_for: list[str] = []
        self.holds, self.waits, self.ends = (threading.Event() for _ in range(3))

    def run(self) -> None:
        def wait(busy: str) -> None:
            self.waits_for.append(busy)
            self.waits.set()

        with hold_gpus(self._gpus, self.name, wait, self._folder):
            self.holds.set()
            self.ends.wait(10)


def test_the_second_run_waits_until_the_first_has_ended_and_says_for_whom(tmp_path: Path) -> None:
    first, second = Run(tmp_path, "runs/a", ["0", "1"]), Run(tmp_path, "runs/b", ["1", "2"])
    first.start()
    assert first.holds.wait(10)
    second.start()
    assert second.waits.wait(10) and not second.holds.is_set()
    assert second.waits_for == ["GPU 1 is in use by runs/a"]
    other = Run(tmp_path, "runs/c", ["2"])  # which the waiting one keeps from nobody
    other.start()
    assert other.holds.wait(10)
    for run in (other, first):
        run.ends.set()
    assert second.holds.wait(10)
    second.ends.set()


def test_other_gpus_are_free_and_without_a_gpu_nobody_waits(tmp_path: Path) -> None:
    runs = [Run(tmp_path, "a", ["0"]), Run(tmp_path, "b", ["1"]), Run(tmp_path, "c", []),
            Run(tmp_path, "d", [])]  # fmt: skip
    for run in runs:
        run.start()
        assert run.holds.wait(10) and not run.waits_for
        run.ends.set()


def test_a_folder_that_somebody_else_has_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "locks").symlink_to(tmp_path / "elsewhere")
    with (
        pytest.raises(UserError, match="locks: is not a folder of yours"),
        hold_gpus(["0"], "a", print, tmp_path / "locks"),
    ):
        pass


def test_all_processes_of_a_user_lock_in_one_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = lock_folder()
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # as SLURM sets it for each job
    monkeypatch.setattr("tempfile.tempdir", None)
    assert lock_folder() == before
