"""Stage: a policy trained on pairs, a model folder with its metrics.parquet.

This process only checks, launches and waits; torch lives in its children (training.loop.worker).
"""

import shutil
from pathlib import Path

from contracts.models.weights import refuse_other_weights
from contracts.steps.facts import Facts
from contracts.steps.manifest import Result
from contracts.steps.step import Stage
from runtime.device import what_auto_is
from runtime.progress import print_phase
from runtime.stage_process import main
from training import carried
from training.adapters.qlora import refuse_unquantizable
from training.config import TrainConfig
from training.launch.accelerate import run_workers
from training.launch.disk_space import refuse_no_room, steps_of
from training.launch.job import write_job
from training.tokens.checks import (
    TrainInputs,
    refuse_bad_rows,
    refuse_other_policy,
    refuse_other_reference,
)

# Named here and in training.loop.worker and training.loop.checkpoints, which import torch.
_CHECKPOINTS = ".checkpoints"
_TRAINED = ".trained.json"


class TrainFacts(Facts):
    """How it was trained."""

    steps: int
    """Optimizer steps."""
    pairs: int
    processes: int
    engine: str
    zero_stage: int
    """DeepSpeed's; 0 where there is none."""
    metrics: dict[str, float]
    """The last step's."""


def run(config: TrainConfig, inputs: TrainInputs, out: Path) -> Result:
    """Train, going on from the last checkpoint in `out` if there is one.

    Raises:
        UserError: a row cannot be trained on, was formatted for another policy, or lacks its
            reference; or its optimizer's state cannot be taken over.
        OnPolicyError: training failed; says why, checkpoints stay.
    """
    for tracker in config.trackers:
        tracker.refuse_unready()
    refuse_other_policy(inputs.tokens, inputs.policy)
    refuse_other_reference(config, inputs)
    refuse_unquantizable(config)
    rows = refuse_bad_rows(inputs.tokens)
    weights = refuse_other_weights(inputs.policy)
    state = carried.refuse_other_state(config, inputs, weights)
    checkpoints, trained = out / _CHECKPOINTS, out / _TRAINED
    # The mark stands where a kill came between the training's end and the manifest.
    if not trained.exists():
        if weights:
            refuse_no_room(config, weights, out, steps_of(config, rows))
        checkpoints.mkdir(exist_ok=True)
        job = write_job(
            checkpoints / "job.json", config, inputs.tokens, inputs.base or inputs.policy, out,
            inputs.reference, **(state.as_job if state else {}),
        )  # fmt: skip
        print_phase("starting the processes and loading the policy")
        run_workers(config.resources, job, "training.loop.worker")
    facts = TrainFacts.model_validate_json(trained.read_text())
    shutil.rmtree(checkpoints, ignore_errors=True)
    return Result(rows, facts=facts)


def here(config: TrainConfig) -> dict[str, str]:
    """What `dtype: auto` means on this machine."""
    return what_auto_is(config.dtype)


STAGE = Stage(
    name="training.train", version=2, config=TrainConfig, inputs=TrainInputs,
    output="a model, metrics.parquet", facts=TrainFacts, run=run, here=here,
)  # fmt: skip

if __name__ == "__main__":
    main(STAGE)
