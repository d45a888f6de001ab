"""A step outside a flow: its bar, and those of its lines that a terminal shows."""

import os
from functools import partial

from annotation.config import ScoreConfig
from contracts.steps.manifest import Manifest
from evaluation import judge
from flows.pipeline.console import console, print_warning, step_line
from flows.pipeline.log_lines import is_ours
from flows.pipeline.planning.planned_step import PlannedStep
from flows.pipeline.run_step import run_step
from generation.config import SampleConfig
from runtime.gpu_busy import gpus_in_sight
from runtime.gpu_lock import hold_gpus


def run_shown(step: PlannedStep) -> Manifest:
    """Run a step unless it is done, under a bar with its title; one with a model once no run
    computes on the GPUs.

    Raises:
        OnPolicyError: for the reasons of `run_step`.
    """
    has_model = isinstance(step.config, SampleConfig | ScoreConfig) and not step.done
    gpus = gpus_in_sight() if has_model else []
    wait = partial(_tell_waiting, step)
    with hold_gpus(gpus, str(step.out), wait), step_line(step.title) as bar:
        return run_step(step, partial(show_line, step), bar.update)


def _tell_waiting(step: PlannedStep, busy: str) -> None:
    print_warning(f"{step.title} waits: {busy}")


def show_line(step: PlannedStep, line: str) -> None:
    """A stage's line on the terminal; what a judge's stage informs of is what is to be paid. What
    libraries say of their own work is shown where all of it was asked for."""
    level, _, text = line.partition(" ")
    if not is_ours(line):
        if os.environ.get("ONPOLICY_DEBUG") == "1":
            console.print(line)
    elif level in ("WARNING", "ERROR", "CRITICAL"):
        print_warning(text)
    elif step.stage is judge.STAGE:
        console.print(f"  {text}")
