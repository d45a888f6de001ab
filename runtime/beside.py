"""Work beside the main thread's: the next item is made, the last one put away; one of each."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, TypeVar

T = TypeVar("T")

_END = object()


def made_ahead(items: Iterable[T]) -> Iterator[T]:
    """The items, the next one made in a thread while the caller works with the one before.

    No more than one is ahead, and all are made in the same thread. What the making of one raises
    is raised where that one would come.
    """
    source = iter(items)
    thread = ThreadPoolExecutor(1)
    try:
        coming: Future[Any] = thread.submit(next, source, _END)
        while (item := coming.result()) is not _END:
            coming = thread.submit(next, source, _END)
            yield item
    finally:
        # Not waited for: a worker's next part may never come.
        thread.shutdown(wait=False, cancel_futures=True)


class OneBehind:
    """Calls made in a thread of their own, one after another; at most one is under way."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._last: Future[Any] | None = None

    def __call__(self, call: Callable[..., Any], *arguments: Any) -> None:
        """Make the call once the one before it is done, whose error is raised here."""
        self._settle()
        self._last = self._thread.submit(call, *arguments)

    def __enter__(self) -> "OneBehind":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        """Wait for the last call, and raise its error where there is no other."""
        self._thread.shutdown()
        if kind is None:
            self._settle()

    def _settle(self) -> None:
        last, self._last = self._last, None
        if last:
            last.result()
