"""What goes to the store goes from a thread of its own: no outage holds up or ends a stage."""

import threading
from collections import deque
from collections.abc import Callable

from contracts.errors import OnPolicyError, UserError, first_line, named_first_line
from flows.pipeline.console import saying
from runtime.store.objects import StoreError

_RETRY_SECONDS = 30.0


class Pusher:
    """Pushes in the order given, so that nothing is there before what it was made of."""

    def __init__(self, warn: Callable[[str], None]) -> None:
        """
        Args:
            warn: told, from the thread, when pushing fails and when it works again.
        """
        self._warn = warn
        self._jobs: deque[tuple[str, Callable[[], object]]] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._is_down = self._is_ending = False
        self._fault: OnPolicyError | None = None

    def put(self, name: str, push: Callable[[], object]) -> None:
        """Push later; returns at once.

        Raises:
            UserError: an earlier push met what waiting does not mend, e.g. another machine's step.
        """
        self._raise_fault()
        with self._changed:
            self._jobs.append((name, push))
            self._changed.notify()
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="pusher", daemon=True)
            self._thread.start()

    def finish(self) -> None:
        """Wait until all is pushed; of a store that is down, until it was asked once more.

        Raises:
            UserError: as `put`.
        """
        with self._changed:
            self._is_ending = True
            self._changed.notify()
        if self._thread:
            with saying("pushing to the store"):
                self._thread.join()
        self._raise_fault()
        if self._jobs:
            names = ", ".join(name for name, _ in self._jobs)
            self._warn(f"not in the store yet: {names}. All of it is kept here; the same "
                       "`onpolicy run`, given again, pushes it")  # fmt: skip

    def _raise_fault(self) -> None:
        if self._fault:
            raise self._fault

    def _work(self) -> None:
        while True:
            with self._changed:
                if self._is_down and not self._is_ending:
                    self._changed.wait(_RETRY_SECONDS)  # or until the next step is finished
                while not self._jobs and not self._is_ending:
                    self._changed.wait()
                if not self._jobs:
                    return
                is_last = self._is_ending
                name, push = self._jobs[0]
            if (not self._is_pushed(name, push) and is_last) or self._fault:
                return

    def _is_pushed(self, name: str, push: Callable[[], object]) -> bool:
        try:
            push()
        except UserError as error:
            with self._changed:
                self._fault = error
                self._jobs.clear()  # they stand on what was refused
            return False
        except Exception as error:  # noqa: BLE001 - the thread's end would be all pushes' end
            why = first_line(error) if isinstance(error, StoreError) else named_first_line(error)
            if not self._is_down:
                self._warn(f"{name} is not in the store yet ({why}): the run goes "
                           "on, and it is tried again")  # fmt: skip
            self._is_down = True
            return False
        else:
            if self._is_down:
                self._warn(f"the store answers again: {name} is pushed")
            self._is_down = False
        with self._changed:
            self._jobs.popleft()
        return True
