"""`python -m MODULE ARGUMENTS` as a child of this process: forked where it can be, else begun."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence

from contracts.errors import OnPolicyError
from runtime.child_process import Child, end_group_after, environment_with, start_child
from runtime.fork_server.running import fork


def start_module(module: str, arguments: Sequence[str], environment: Mapping[str, str]) -> Child:
    """Start `python -m module` with the arguments, its input and output as pipes."""
    variables = environment_with(environment)
    theirs_in, ours_in = os.pipe()
    ours_out, theirs_out = os.pipe()
    stdin = os.fdopen(ours_in, "w")
    stdout = os.fdopen(ours_out, errors="replace")
    try:
        streams = theirs_in, theirs_out, theirs_out
        if child := fork(module, arguments, variables, streams, (stdin, stdout)):
            return child
    finally:
        os.close(theirs_in)
        os.close(theirs_out)
    stdin.close()
    stdout.close()
    return start_child([sys.executable, "-m", module, *arguments], environment)


def answer_of(module: str, argument: str, mark: str) -> str:
    """What `python -m module argument` prints behind `mark`, on a line of its own.

    Raises:
        OnPolicyError: it ends without an answer.
    """
    process = start_module(module, [argument], {})
    assert process.stdout is not None
    last = "no word"
    for line in process.stdout:
        if line.startswith(mark):
            process.wait()
            return line.removeprefix(mark)
        last = line.strip() or last
    raise OnPolicyError(f"{module} ended with code {process.wait()}: {last}")


def start_attached(
    module: str, arguments: Sequence[str], environment: Mapping[str, str], stdin: int
) -> Child:
    """Start `python -m module` with our output and errors, and `stdin` as its standard input."""
    variables = environment_with(environment)
    sys.stdout.flush()
    sys.stderr.flush()
    if child := fork(module, arguments, variables, (stdin, 1, 2), (None, None)):
        return child
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdin=stdin, text=True, start_new_session=True, env=variables,
    )  # fmt: skip
    end_group_after(process.pid)
    return process
