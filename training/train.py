"""Train a policy on pairs. Inputs: `tokens`, `policy`, and `reference` where the loss has one.
Output: a model folder, metrics.parquet.

This process only checks, launches and waits; torch lives in its children (training.loop.worker).
"""

import json
import logging
import shutil
from pathlib import Path

from contracts.models.weights import refuse_other_weights
from contracts.steps.manifest import Result
from contracts.steps.step import Inputs, Stage
from contracts.tables.parts import write_atomic
from runtime.device import what_auto_is
from runtime.stage_process import main
from training.adapters.qlora import refuse_unquantizable
from training.config import TrainConfig
from training.launch.accelerate import run_workers
from training.launch.disk_space import refuse_no_room, steps_of
from training.tokens.checks import refuse_bad_rows, refuse_other_policy, refuse_other_reference
from training.trackers import refuse_missing

log = logging.getLogger(__name__)

# Named here and in training.loop.worker and training.loop.checkpoints, which import torch.
_CHECKPOINTS = ".checkpoints"
_TRAINED = ".trained.json"


def run(config: TrainConfig, inputs: Inputs, out: Path) -> Result:
    """Train, going on from the last checkpoint in `out` if there is one.

    Raises:
        UserError: a row cannot be trained on, was formatted for another policy, or lacks its
            reference.
        OnPolicyError: training failed; says why, checkpoints stay.
    """
    tokens = Path(inputs["tokens"])
    refuse_missing(config.trackers)
    refuse_other_policy(tokens, inputs["policy"])
    refuse_other_reference(config, inputs)
    refuse_unquantizable(config)
    rows = refuse_bad_rows(tokens)
    weights = refuse_other_weights(inputs["policy"])
    checkpoints, trained = out / _CHECKPOINTS, out / _TRAINED
    if not trained.exists():
        if weights:
            refuse_no_room(config, weights, out, steps_of(config, rows))
        checkpoints.mkdir(exist_ok=True)
        reference = inputs.get("reference")
        job = {
            "config": config.model_dump(mode="json"),
            "tokens": str(tokens.resolve()),
            "policy": inputs["policy"],
            "reference": str(Path(reference).resolve()) if reference else None,
            "out": str(out.resolve()),
        }
        write_atomic(checkpoints / "job.json", json.dumps(job).encode())
        run_workers(config.resources, checkpoints / "job.json", "training.loop.worker")
    facts = json.loads(trained.read_text())
    shutil.rmtree(checkpoints, ignore_errors=True)
    log.info("%s", facts)
    return Result(rows, facts=facts)


def here(config: TrainConfig) -> dict[str, str]:
    """As `Stage.here`."""
    return what_auto_is(config.dtype)


STAGE = Stage(name="training.train", version=2, config=TrainConfig, run=run, here=here)

if __name__ == "__main__":
    main(STAGE)
