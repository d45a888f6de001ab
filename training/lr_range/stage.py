"""Stage: a learning-rate range test, one row a step, and a suggestion among the facts.

The trainer is the real one, its policy is thrown away. A test that was stopped starts anew.
"""

import json
import logging
import shutil
from pathlib import Path
from typing import Annotated, Self

import pyarrow as pa
from pydantic import Field, model_validator

from contracts.config.base import Config
from contracts.errors import OnPolicyError
from contracts.steps.facts import Facts
from contracts.steps.manifest import Result
from contracts.steps.step import Stage
from contracts.tables.parts import write_part
from contracts.tables.schemas import LEARNING_RATES
from runtime.device import what_auto_is
from runtime.stage_process import main
from training.adapters.qlora import refuse_unquantizable
from training.advice.config_advice import published_rates
from training.config import TrainConfig
from training.launch.accelerate import run_workers
from training.launch.job import write_job
from training.tokens.checks import (
    TrainInputs,
    refuse_bad_rows,
    refuse_other_policy,
    refuse_other_reference,
)

log = logging.getLogger(__name__)

# Named here and in training.lr_range.worker, which imports torch.
_WORK = ".work"
_DIVERGED = "diverged"
_SIZE = "parameters.json"


class LrRangeConfig(Config):
    """Training in which the learning rate grows by a constant factor a step."""

    training: TrainConfig
    """What is trained, and where; its own rate and schedule are not used."""
    low: Annotated[float, Field(gt=0)]
    """First learning rate."""
    high: Annotated[float, Field(gt=0)]
    """Last learning rate."""
    steps: Annotated[int, Field(ge=10)] = 60
    """Optimizer steps, each on a global batch of its own while there are pairs."""

    @model_validator(mode="after")
    def _grows(self) -> Self:
        if self.high <= self.low:
            raise ValueError(f"high ({self.high:g}) must be above low ({self.low:g})")
        return self


class LrRangeFacts(Facts):
    """What the losses say; rates are null where they show none."""

    pairs: int
    steps: int
    """Steps until the last rate, or until the loss had left."""
    parameters: float
    """The policy's size."""
    suggestion: float | None
    """The rate to train with."""
    steepest: float | None
    """The rate at which the smoothed loss falls fastest."""
    lowest: float | None
    """The rate at which it is lowest."""
    diverges: float | None
    """The first rate after that at which it is above its start."""
    reasons: list[str]


def run(config: LrRangeConfig, inputs: TrainInputs, out: Path) -> Result:
    """Train through the rates until the last one, or until the loss has doubled.

    Raises:
        UserError: a row cannot be trained on, was formatted for another policy, or lacks its
            reference.
        OnPolicyError: training failed for another reason than a loss that is not finite.
    """
    refuse_other_policy(inputs.tokens, inputs.policy)
    refuse_other_reference(config.training, inputs)
    refuse_unquantizable(config.training)
    pairs = refuse_bad_rows(inputs.tokens)
    work = out / _WORK
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    rates = {"low": config.low, "high": config.high, "count": config.steps}
    job = write_job(
        work / "job.json", config.training, inputs.tokens, inputs.policy, work, inputs.reference,
        range=rates,
    )  # fmt: skip
    try:
        run_workers(config.training.resources, job, "training.lr_range.worker")
    except OnPolicyError:
        if not (work / _DIVERGED).exists():
            raise
        log.info("the loss is not finite any more; the test ends here")
    facts = _suggestion(config, pairs, work, out)
    shutil.rmtree(work)
    return Result(facts.steps, facts=facts)


def _suggestion(config: LrRangeConfig, pairs: int, work: Path, out: Path) -> LrRangeFacts:
    """Write the table; what it says."""
    from training.lr_range.suggestion import smooth, suggest

    lines = (work / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    rates, losses = ([row[name] for row in rows] for name in ("learning_rate", "loss"))
    table = pa.table({
        "step": [row["step"] for row in rows],
        "learning_rate": rates,
        "loss": losses,
        "smoothed": smooth(losses) if rows else [],
        "margin": [row.get("rewards/margins") for row in rows],
        "accuracy": [row.get("rewards/accuracies") for row in rows],
        "grad_norm": [row["grad_norm"] for row in rows],
    })  # fmt: skip
    write_part(out, 0, table, LEARNING_RATES)
    parameters = json.loads((work / _SIZE).read_text())
    bounds = published_rates(config.training, parameters)
    suggestion = suggest(rates, losses, bounds, ended_early=len(rows) < config.steps)
    return LrRangeFacts(
        pairs=pairs,
        steps=len(rows),
        parameters=parameters,
        suggestion=suggestion.rate,
        steepest=suggestion.steepest,
        lowest=suggestion.lowest,
        diverges=suggestion.diverges,
        reasons=suggestion.reasons,
    )


def here(config: LrRangeConfig) -> dict[str, str]:
    """What `dtype: auto` means on this machine."""
    return what_auto_is(config.training.dtype)


STAGE = Stage(
    name="training.lr_range.stage", version=1, config=LrRangeConfig, inputs=TrainInputs,
    output=LEARNING_RATES, facts=LrRangeFacts, run=run, here=here,
)  # fmt: skip

if __name__ == "__main__":
    main(STAGE)
