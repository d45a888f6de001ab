"""A step outside a flow: its bar, and those of its lines that a terminal shows."""

import os
from functools import partial

from contracts.steps.manifest import Manifest
from evaluation import judge
from flows.pipeline.console import console, print_warning, step_line
from flows.pipeline.log_lines import is_ours
from flows.pipeline.planning.planned_step import PlannedStep
from flows.pipeline.run_step import run_step


def run_shown(step: PlannedStep) -> Manifest:
    """Run a step unless it is done, under a bar with its title.

    Raises:
        OnPolicyError: for the reasons of `run_step`.
    """
    with step_line(step.title) as bar:
        return run_step(step, partial(show_line, step), bar.update)


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
