"""Searches of all texts: begun in a thread, and shown as far as they are.

What one has found is a table of the index. As a list of 300,000 rows that each page binds anew, it
cost a page 0.6 to 1.1 s of CPU.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count

import duckdb

_PATIENCE = 0.25
"""Seconds that a page waits for a search before it shows what is found so far."""
_FILES_AT_ONCE = 48
_KEPT = 16

Look = Callable[[Sequence[str], str, str], None]
"""Adds what in some files matches a pattern to a table."""


@dataclass
class Search:
    """One search, under way or done."""

    files: int
    hits: str
    """The table of the rows of the responses that match."""
    looked: int = 0
    """Files looked through."""
    error: Exception | None = None
    """What it ended by, if not by its end."""
    done: threading.Event = field(default_factory=threading.Event)

    @property
    def percent(self) -> int:
        """How far it is."""
        return 100 if self.done.is_set() else 100 * self.looked // max(1, self.files)


class Searches:
    """The last few searches by their words, so that a page further or another order is quick."""

    def __init__(self, execute: Callable[[str], object]) -> None:
        """`execute`: a statement of the index's database."""
        self._execute = execute
        self._numbers = count()
        self._known: OrderedDict[tuple[str, str], Search] = OrderedDict()
        self._lock = threading.Lock()
        self._one = threading.Lock()

    def begin(self, words: str, where: str, files: Sequence[str], look: Look) -> Search:
        """The search for `words`; waits a little for its end.

        Raises:
            duckdb.Error: a part cannot be read. Who asks again begins it anew.
        """
        key = (words, where)
        with self._lock:
            if key not in self._known:
                self._known[key] = Search(len(files), f"hits_{next(self._numbers)}")
                self._execute(f"CREATE TABLE {self._known[key].hits} (row INTEGER)")
                arguments = (self._known[key], f"%{_plain(words)}%", files, look)
                threading.Thread(target=self._run, args=arguments, daemon=True).start()
            self._known.move_to_end(key)
            while len(self._known) > _KEPT:
                self._forget(next(iter(self._known)))
            search = self._known[key]
        search.done.wait(_PATIENCE)
        if search.error:
            with self._lock:
                if self._known.get(key) is search:
                    self._forget(key)
            raise search.error
        return search

    def _forget(self, key: tuple[str, str]) -> None:
        """One that is still under way ends, as its table is gone."""
        with suppress(duckdb.TransactionException):  # it writes right now
            self._execute(f"DROP TABLE {self._known.pop(key).hits}")

    def _run(self, search: Search, pattern: str, files: Sequence[str], look: Look) -> None:
        try:
            with self._one:  # each takes all cores
                for first in range(0, len(files), _FILES_AT_ONCE):
                    some = files[first : first + _FILES_AT_ONCE]
                    look(some, pattern, search.hits)
                    search.looked += len(some)
        except Exception as error:  # noqa: BLE001 - told on the page that waits for it
            search.error = error
        finally:
            search.done.set()


def _plain(words: str) -> str:
    """What is searched for, without the meaning that `%` and `_` have in a pattern."""
    for mark in ("\\", "%", "_"):
        words = words.replace(mark, f"\\{mark}")
    return words
