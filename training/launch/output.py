"""What training's processes print, passed on."""

from collections import deque
from collections.abc import Iterable

from contracts.errors import OnPolicyError, UserError
from runtime.stage_process import parse_error

# A worker whose error is the user's mistake says so: its exit code ends at the launcher.
MISTAKE_MARK = "::mistake"
_KEPT_LINES = 12


def pass_on(lines: Iterable[str]) -> OnPolicyError:
    """Print what the processes say until they end; what to raise if they have failed."""
    error, kind = "", OnPolicyError
    last: deque[str] = deque(maxlen=_KEPT_LINES)
    for line in lines:
        line = line.rstrip()
        if message := parse_error(line):
            error = error or message
        elif line == MISTAKE_MARK:
            kind = UserError
        elif line and not error:
            # After a worker's own message comes only the launcher's account of its end.
            last.append(line)
            print(line, flush=True)
    return kind(error or "training ended early; its last lines:\n" + "\n".join(last))
