"""Running a stage as a process of its own: `python -m MODULE STEP.json`."""

import errno
import importlib
import json
import logging
import os
import select
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeGuard

from contracts.errors import OnPolicyError, UserError, named_first_line
from contracts.steps.disk_space import NO_ROOM
from contracts.steps.step import Stage, run_step_file
from runtime.gpu_busy import busy_share, gpu_reader
from runtime.lean_imports import spare_pandas
from runtime.stdout import print_line

log = logging.getLogger(__name__)

_ERROR_MARK = "::error "
AHEAD = "--ahead"
"""In place of a step file, which is named on standard input once a run comes to the step."""
_FORBIDDEN = (errno.EROFS, errno.EACCES, errno.EPERM)


def main(stage: Stage, argv: Sequence[str] | None = None) -> None:
    """Run the step file named on the command line and exit: 0 done, 2 user's mistake, 1 failure."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    configure_logging()
    # pyarrow's first scalar would import pandas: 1.3 s of every stage (benchmarks/RESULTS.md).
    spare_pandas()
    if arguments == [AHEAD]:
        arguments = [_step_file_told()]

    def run() -> None:
        if len(arguments) != 1:
            raise UserError(f"usage: python -m {stage.name} STEP.json")
        with busy_share(gpu_reader()) as busy:
            manifest = run_step_file(stage, Path(arguments[0]), busy)
        if not _is_followed():  # else the run tells it
            log.info("%s: %d rows in %.1f s", stage.name, manifest.rows, manifest.seconds)

    code = exit_code_of(run)
    sys.stdout.flush()
    sys.stderr.flush()
    # All output is fsynced by now; tearing down vLLM's and torch's modules would take seconds.
    os._exit(code)


def _step_file_told() -> str:
    """The step file that the run names; it ends without one where it has no use for this."""
    # A pipe gives a line that is shorter than this in one piece.
    told = os.read(0, select.PIPE_BUF)
    if not told:
        os._exit(0)
    importlib.invalidate_caches()  # of a user's functions, which may have been written since
    return os.fsdecode(told.rstrip(b"\n"))


def exit_code_of(run: Callable[[], None]) -> int:
    """Call `run`; print an error as one message, with its traceback under ONPOLICY_DEBUG=1."""
    if _is_followed():
        _die_with_parent()
    try:
        run()
    except KeyboardInterrupt:
        return fail("interrupted; run the same command again to go on", 1)
    except Exception as error:
        if os.environ.get("ONPOLICY_DEBUG") == "1":
            traceback.print_exc()
        return fail(describe(error), exit_code(error))
    return 0


def fail(message: str, code: int) -> int:
    """Print an error: in plain words, or as a line that a parent process reads whole where one
    follows; returns the exit code."""
    if _is_followed():
        print_line(_ERROR_MARK + json.dumps(message))
    else:
        print(message, file=sys.stderr, flush=True)
    return code


def _is_followed() -> bool:
    return os.environ.get("ONPOLICY_PARENT") == "stdin"


def parse_error(line: str) -> str | None:
    """The message in a line that `fail` printed, or None."""
    if not line.startswith(_ERROR_MARK):
        return None
    try:
        return str(json.loads(line[len(_ERROR_MARK) :]))
    except ValueError:  # torn: the stage was killed as it wrote the line
        return None


def describe(error: BaseException) -> str:
    """One message for an error, with the way out."""
    if isinstance(error, OnPolicyError):
        return str(error)
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        what, way_out = "the disk is full", "free some space"
        if error.errno == errno.EFBIG:
            what, way_out = "File too large", "raise the limit (`ulimit -f`)"
        return (
            f"{what} ({_file_of(error) or 'while writing'}); {way_out} and run the same command "
            "again: what was finished is kept"
        )
    if _is_forbidden(error):
        return (
            f"{_file_of(error)}: cannot be read or written ({os.strerror(error.errno or 0)}); "
            "make it yours, or name a folder of your own"
        )
    return f"{named_first_line(error)} (--debug shows the traceback)"


def exit_code(error: BaseException) -> int:
    """2 where what the user gave is at fault, a folder that is not theirs included; else 1."""
    return UserError.exit_code if _is_forbidden(error) else getattr(error, "exit_code", 1)


def _is_forbidden(error: BaseException) -> TypeGuard[OSError]:
    return isinstance(error, OSError) and error.errno in _FORBIDDEN and bool(_file_of(error))


def _file_of(error: OSError) -> str:
    """The file that an error is about, the copy of two; for a hidden one of ours its folder."""
    path = error.filename2 or error.filename
    if not isinstance(path, str | bytes | os.PathLike):
        return ""
    whole = Path(os.fsdecode(path))
    return str(whole.parent if whole.name.startswith(".") else whole)


def configure_logging() -> None:
    """Plain log lines on standard error, without timestamps: the flow adds its own."""
    logging.basicConfig(
        level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    # httpx has a line a request at INFO, and a judge sends thousands.
    for noisy in ("httpx", "httpx2", "openai", "filelock", "fsspec", "datasets"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _die_with_parent() -> None:
    """End this process and its children when the flow dies, kill -9 included.

    The flow holds the other end of standard input, and has nothing more to say: end of file means
    that it is gone. An orphan would go on writing to a folder that a new run wants.
    """

    def watch() -> None:
        while os.read(0, 1):
            pass
        os.killpg(os.getpgrp(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()
