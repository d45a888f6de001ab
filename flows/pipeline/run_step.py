"""One step as a process of its own, so that its memory is freed when it ends."""

import os
import signal
import subprocess
from collections.abc import Callable

from contracts.errors import OnPolicyError, UserError
from contracts.steps.manifest import Manifest
from contracts.steps.step import claim
from flows.pipeline import stage_ahead
from flows.pipeline.folder import paid
from flows.pipeline.folder.reuse import take_over
from flows.pipeline.planning.planned_step import PlannedStep
from runtime.child_process import Child
from runtime.progress import Reading, parse_progress
from runtime.stage_process import parse_error

# SIGINT lets a stage end its engine and its own children; what is left after that is killed. A run
# that is cancelled is to be gone within 10 s, and all that counts is in journals already.
_STOP_SECONDS = 4.0

OnLine = Callable[[str], None]
OnProgress = Callable[[Reading], None]


def run_step(
    step: PlannedStep,
    on_line: OnLine,
    on_progress: OnProgress,
    following: PlannedStep | None = None,
) -> Manifest:
    """Run a step in a subprocess unless it is done, here or in another run; its log lines and
    progress come as they do.

    Args:
        following: the step after it, whose process begins meanwhile.

    Raises:
        ConfigDrift: the step's folder was made by another config or from other inputs.
        UserError: the stage ended with exit code 2, with its own message.
        OnPolicyError: it ended with any other code, or was killed.
    """
    if manifest := take_over(step):
        on_line(f"INFO taken over from {manifest.taken_from}: same settings, same inputs")
        return manifest
    if manifest := claim(step.stage, step.config, step.inputs, step.out):
        return manifest
    paid.bring_back(step.run, step.path)
    process = stage_ahead.process_of(step)
    try:
        if following and not following.done:
            stage_ahead.begin(following.stage)
        error, last = _follow(process, on_line, on_progress)
        code = process.wait()
    except BaseException:
        _stop(process)
        raise
    if code:
        _raise_failure(step, code, error or last)
    if manifest := step.done:
        return manifest
    raise OnPolicyError(f"{step.out}: {step.stage.name} ended without a manifest")


def _follow(process: Child, on_line: OnLine, on_progress: OnProgress) -> tuple[str | None, str]:
    """Pass the output on; the stage's own error message if it gave one, and its last line."""
    error, last = None, ""
    if process.stdout is None:
        raise OnPolicyError("the stage's output is not captured")
    for line in process.stdout:
        line = line.rstrip()
        if reading := parse_progress(line):
            on_progress(reading)
        elif message := parse_error(line):
            error = message
        elif line:
            last = line
            on_line(line)
    return error, last


def _raise_failure(step: PlannedStep, code: int, message: str) -> None:
    if code == UserError.exit_code:
        raise UserError(message)
    if code < 0:
        name = signal.Signals(-code).name
        hint = "; it may have run out of memory" if -code == signal.SIGKILL else ""
        message = f"was killed by {name}{hint}"
    raise OnPolicyError(
        f"{step.title} failed: {message}\n"
        "Finished work is kept: run the same command again to go on from there."
    )


def _stop(process: Child) -> None:
    """Ask the stage and its children to end, then make them."""
    for number in (signal.SIGINT, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(_STOP_SECONDS)
        except ProcessLookupError:
            break
        except subprocess.TimeoutExpired:
            continue
