"""Train a policy on pairs. Inputs: `tokens`, `policy`. Output: a model folder, metrics.parquet.

This process only checks, launches and waits; torch lives in its children (training.worker).
"""

import json
import logging
import shutil
from pathlib import Path

import pyarrow.compute as pc

from contracts.errors import UserError
from contracts.fingerprint import of_input
from contracts.manifest import Result, read_manifest
from contracts.parts import iter_parts, write_atomic
from contracts.process import main
from contracts.step import Inputs, Stage
from training.config import TrainConfig
from training.launch import run_workers

log = logging.getLogger(__name__)

# Named here and in training.worker and training.checkpoints, which import torch.
_CHECKPOINTS = ".checkpoints"
_TRAINED = ".trained.json"


def run(config: TrainConfig, inputs: Inputs, out: Path) -> Result:
    """Train, going on from the last checkpoint in `out` if there is one.

    Raises:
        UserError: a row cannot be trained on, or was formatted for another policy.
        OnPolicyError: training failed; says why, checkpoints stay.
    """
    tokens = Path(inputs["tokens"])
    refuse_other_policy(tokens, inputs["policy"])
    rows = refuse_bad_rows(tokens)
    checkpoints, trained = out / _CHECKPOINTS, out / _TRAINED
    if not trained.exists():
        checkpoints.mkdir(exist_ok=True)
        job = {
            "config": config.model_dump(mode="json"),
            "tokens": str(tokens.resolve()),
            "policy": inputs["policy"],
            "out": str(out.resolve()),
        }
        write_atomic(checkpoints / "job.json", json.dumps(job).encode())
        run_workers(config.resources, checkpoints / "job.json")
    facts = json.loads(trained.read_text())
    shutil.rmtree(checkpoints, ignore_errors=True)
    log.info("%s", facts)
    return Result(rows, facts=facts)


def refuse_other_policy(tokens: Path, policy: str) -> None:
    """Refuse tokens that were made with another policy's tokenizer.

    Raises:
        UserError: names both.
    """
    manifest = read_manifest(tokens)
    made_for = manifest.facts.get("formatted_for") if manifest else None
    if made_for != (wanted := of_input(policy)):
        raise UserError(
            f"{tokens}: was formatted for policy {made_for or 'unknown'}, not for {wanted} "
            f"({policy}); format the pairs for this policy"
        )


def refuse_bad_rows(tokens: Path) -> int:
    """The number of rows, each of which can be trained on.

    Raises:
        UserError: there is none, or some have no prompt or no response token in the loss.
    """
    rows, bad = 0, []
    for part in iter_parts(tokens):
        in_loss = [
            pc.greater(pc.list_value_length(part[f"{side}_ids"]), part[f"{side}_loss_start"])
            for side in ("chosen", "rejected")
        ]
        has_prompt = pc.greater(pc.list_value_length(part["prompt_ids"]), 0)
        good = pc.and_(pc.and_(*in_loss), has_prompt)
        bad += part.filter(pc.invert(good))["prompt_id"].to_pylist()
        rows += part.num_rows
    if bad:
        raise UserError(
            f"{tokens}: {len(bad)} rows have no prompt or no response token in the loss, "
            f"e.g. {', '.join(bad[:5])}; format the pairs again, or leave these out"
        )
    if not rows:
        raise UserError(f"{tokens}: holds no row; there is nothing to train on")
    return rows


STAGE = Stage(name="training.train", version=1, config=TrainConfig, run=run)

if __name__ == "__main__":
    main(STAGE)
