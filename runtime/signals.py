"""Ctrl-C and SIGTERM end every command with one line and a code of its own: 130, 143."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from contracts.errors import Interrupted, Terminated

GO_ON = "run the same command again to go on"
_SAID = {signal.SIGINT: "interrupted", signal.SIGTERM: "stopped by SIGTERM"}


class Sigterm(BaseException):
    """SIGTERM on its way up: like KeyboardInterrupt, no error that anybody may handle."""


def end_at_once() -> None:
    """Until work begins, and after it, a signal ends this process where it stands.

    Unwinding would not do: an import that is interrupted may swallow it or show a traceback.
    Children watch this process and end with it (`runtime.child_process`).
    """
    for number in _SAID:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup and `&` have it
            signal.signal(number, end)


@contextmanager
def interruptible() -> Iterator[None]:
    """Within, a signal raises, so that all that runs is ended in order.

    Raises:
        Interrupted: Ctrl-C.
        Terminated: SIGTERM.
    """
    before = {number: signal.getsignal(number) for number in _SAID}
    if before[signal.SIGINT] is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if before[signal.SIGTERM] is not signal.SIG_IGN:
        signal.signal(signal.SIGTERM, _raise)
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(f"{_SAID[signal.SIGINT]}; {GO_ON}") from None
    except Sigterm:
        raise Terminated(f"{_SAID[signal.SIGTERM]}; {GO_ON}") from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def end(number: int, _frame: Any) -> NoReturn:
    """End this process where it stands, by the code of the signal."""
    os.write(2, f"onpolicy: {_SAID[signal.Signals(number)]}\n".encode())
    os._exit(128 + number)


def _raise(_number: int, _frame: Any) -> NoReturn:
    raise Sigterm
