"""The next stage's process begins while a stage is at work, and waits to be told its step.

It has then imported what it needs, and touched nothing else: no folder, no GPU. One that nobody
tells anything ends with the run, as any stage does.
"""

import os
from contextlib import suppress

from contracts.steps.step import Stage
from flows.pipeline.planning.planned_step import PlannedStep
from runtime.child_process import Child
from runtime.module_process import start_module
from runtime.stage_process import AHEAD


class _Waiting:
    """The process that waits."""

    module = ""
    child: Child | None = None


def begin(stage: Stage) -> None:
    """Begin a process of the stage that comes next, where the machine has room for one more."""
    if _Waiting.module != stage.module:
        stop()
        with suppress(OSError):  # else the stage at work would end for want of the next one
            _Waiting.child = start_module(stage.module, [AHEAD], {})
            _Waiting.module = stage.module


def process_of(step: PlannedStep) -> Child:
    """The step's process: the one that waits for it, or a new one."""
    step_file = str(step.out / "_step.json")
    if _Waiting.module == step.stage.module and (child := _Waiting.child):
        _Waiting.module, _Waiting.child = "", None
        assert child.stdin
        with suppress(BrokenPipeError):  # it has been killed
            os.write(child.stdin.fileno(), os.fsencode(f"{step_file}\n"))
            return child
        child.wait()
    return start_module(step.stage.module, [step_file], {})


def stop() -> None:
    """End the process that waits, if one does."""
    if child := _Waiting.child:
        _Waiting.module, _Waiting.child = "", None
        with suppress(ProcessLookupError):
            child.kill()
        child.wait()
