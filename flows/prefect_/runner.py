"""Prefect's runner of a schedule, whose end a server that is gone does not hold up.

At its end it tells its server of each run that it stops, and pauses the schedule; where nobody
answers it tries both for minutes, and takes no second signal (Prefect 3.9.1, `Runner.astop`).
"""

import multiprocessing
import signal
import threading
import time
from typing import Any, NoReturn

from prefect import runner

from contracts.errors import UserError
from flows.prefect_.run_server import refuse_silent
from runtime.signals import end

_PATIENCE_SECONDS = 10.0


class Runner(runner.Runner):
    """Ends at a second SIGTERM, and some seconds after the first or Ctrl-C if its server is gone.

    Its runs end with it: what they have finished is kept.
    """

    def __init__(self, name: str, server: str) -> None:
        """
        Args:
            server: address of the server's API.
        """
        super().__init__(name=name, limit=None)
        self._server = server
        self._is_ending = False

    def handle_sigterm(self, *args: Any, **kwargs: Any) -> None:
        """Begin to end; a second signal ends it at once."""
        if self._is_ending:
            end_with_runs()
        self._end_where_silent()
        super().handle_sigterm(*args, **kwargs)

    async def __aexit__(self, *exc_info: Any) -> None:
        self._end_where_silent()
        await super().__aexit__(*exc_info)

    def _end_where_silent(self) -> None:
        if not self._is_ending:
            self._is_ending = True
            watch = threading.Thread(target=end_once_silent, args=(self._server,), daemon=True)
            watch.start()


def end_once_silent(server: str, every: float = _PATIENCE_SECONDS) -> None:
    """End this process unless its server answers, asked every so many seconds: with one that does,
    runs may take their time to end in order."""
    while True:
        time.sleep(every)
        try:
            refuse_silent(server)
        except UserError:
            end_with_runs()


def end_with_runs() -> NoReturn:
    """End this process at once, and with it the processes of the runs that it has started."""
    for started in multiprocessing.active_children():
        started.kill()
    end(signal.SIGTERM, None)
