"""A judge's replies reach the disk, or the stage hears that they do not."""

import os
from pathlib import Path

import pytest

from evaluation.judging.reply_journal import ReplyJournal
from runtime.chat_api.completion import Completion, Lost, Paid, Refusal


def test_the_last_reply_is_on_disk_when_the_stage_ends(tmp_path: Path, monkeypatch) -> None:
    sizes: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda file: sizes.append(os.fstat(file).st_size))
    path = tmp_path / "replies.jsonl"
    with ReplyJournal(path) as journal:
        journal.append("first", Completion("m"))
        while not sizes:  # the thread has begun its pause
            pass
        journal.append("last", Completion("M"))
    assert sizes[-1] == path.stat().st_size


def test_a_disk_that_refuses_a_reply_ends_the_stage(tmp_path: Path, monkeypatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):  # noqa: SIM117  raised at its end
        with ReplyJournal(tmp_path / "replies.jsonl") as journal:
            journal.append("first", Completion("m"))
    monkeypatch.undo()
    assert list(ReplyJournal(tmp_path / "replies.jsonl").replies()) == ["first"]


def test_answers_refusals_and_what_was_lost_are_read_back_in_their_order(tmp_path: Path) -> None:
    paid: list[Paid] = [
        Lost(3, 1),
        Refusal(200, "no text", 5, 9),
        Completion("m", {"m": -0.1}, 5, 1),
    ]
    with ReplyJournal(tmp_path / "replies.jsonl") as journal:
        for one in paid:
            journal.append("game", one)
    assert ReplyJournal(tmp_path / "replies.jsonl").replies() == {"game": paid}
