"""What was paid for, on disk from the moment it comes: answers, refusals, and what was lost."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock, Thread
from types import TracebackType
from typing import Any

from contracts.tables.journal import Journal
from runtime.chat_api.completion import Completion, Lost, Paid, Refusal

# Replies are paid for, so they wait 20 ms for the disk, not ten seconds; one fsync serves all
# that came meanwhile.
_SYNC_SECONDS = 0.02


@dataclass(frozen=True)
class Reply:
    """What a request for a game brought, by the game's key."""

    key: str
    paid: Paid


class ReplyJournal:
    """From any thread. Appended before anything else is done with a reply, so `kill -9` loses none
    that came.

    A thread syncs what was appended, many at a time, so a power cut loses those of the last
    hundredths of a second at most, and no request waits for the disk. What the disk refuses is
    raised by the next `append`, and all is on it at the end.
    """

    def __init__(self, path: Path) -> None:
        self._journal = Journal(path, _unpack, _pack)
        self._appended = Event()
        self._ended = Event()
        self._failed: OSError | None = None
        self._one_at_a_time = Lock()

    def replies(self) -> dict[str, list[Paid]]:
        """What was paid for so far by key, oldest first."""
        by_key: dict[str, list[Paid]] = defaultdict(list)
        for one in self._journal.records():
            by_key[one.key].append(one.paid)
        return by_key

    def __enter__(self) -> "ReplyJournal":
        self._journal.__enter__()
        self._syncing = Thread(target=self._sync, daemon=True)
        self._syncing.start()
        return self

    def append(self, key: str, paid: Paid) -> None:
        """Keep what a request brought.

        Raises:
            OSError: this one, or one before it, cannot be brought to disk.
        """
        if self._failed:
            raise self._failed
        with self._one_at_a_time:
            self._journal.append([Reply(key, paid)])
        self._appended.set()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._appended.set()
        self._syncing.join()
        try:
            self._sync_last()
        except OSError:
            if kind is None:
                raise
        finally:
            self._journal.__exit__(kind, error, trace)

    def _sync_last(self) -> None:
        """What was appended since the thread's last time."""
        if self._failed:
            raise self._failed
        self._journal.sync_now()

    def _sync(self) -> None:
        try:
            while self._appended.wait() and not self._ended.is_set():
                self._appended.clear()
                self._journal.sync_now()
                self._ended.wait(_SYNC_SECONDS)
        except OSError as error:
            self._failed = error


def _pack(reply: Reply) -> dict[str, object]:
    return {"key": reply.key, **vars(reply.paid)}


def _unpack(fields: dict[str, Any]) -> Reply:
    key = str(fields.pop("key"))
    if "text" in fields:
        return Reply(key, Completion(**fields))
    return Reply(key, Refusal(**fields) if "status" in fields else Lost(**fields))
