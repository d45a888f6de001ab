"""Stage: pairs scored with the reference model.

Done once a round and kept: DPO and its kin compare every epoch
with the same numbers, and the reference is not in memory while the policy trains.
"""

from pathlib import Path
from typing import Annotated

from contracts.steps.fingerprint import of_input
from contracts.steps.inputs import Inputs, Model
from contracts.steps.manifest import Result
from contracts.steps.step import Stage
from contracts.tables.parts import iter_parts, part_path, part_paths
from contracts.tables.schemas import REFERENCE, TOKENS
from runtime.device import what_auto_is
from runtime.stage_process import main
from training.config import ReferenceConfig, TrainResources
from training.launch.accelerate import run_workers
from training.launch.job import write_job
from training.tokens.checks import MadeOfTokens, refuse_bad_rows

_JOB = ".job.json"


class ReferenceInputs(Inputs):
    """Pairs as tokens, and the reference."""

    tokens: Annotated[Path, TOKENS]
    policy: Model
    """The model that the loss compares with."""


class ReferenceFacts(MadeOfTokens):
    """What the reference makes of the pairs."""

    reference: str
    """Its fingerprint."""
    chosen_logp_per_token: float
    """Mean log-prob a token of the chosen responses, nats."""
    rejected_logp_per_token: float


def run(config: ReferenceConfig, inputs: ReferenceInputs, out: Path) -> Result:
    """Score every pair; one part for each part of tokens, those that are there are kept.

    Raises:
        UserError: a row cannot be scored.
        OnPolicyError: scoring failed; finished parts stay.
    """
    tokens = inputs.tokens
    rows = refuse_bad_rows(tokens)
    if any(not part_path(out, number).exists() for number in range(len(part_paths(tokens)))):
        job = write_job(out / _JOB, config, tokens, inputs.policy, out)
        run_workers(_launched(config.resources), job, "training.loop.reference_worker")
    facts = ReferenceFacts(
        reference=of_input(inputs.policy), tokens=of_input(str(tokens)), **_means(out, rows)
    )
    return Result(rows, facts=facts)


def _launched(resources: TrainResources) -> TrainResources:
    """Where the reference is whole in each process, they need not talk."""
    if resources.strategy == "fsdp":
        return resources
    return resources.model_copy(update={"strategy": "none"})


def _means(out: Path, rows: int) -> dict[str, float]:
    """Mean log-prob a token of the chosen and the rejected responses."""
    sums = {"chosen": 0.0, "rejected": 0.0}
    for part in iter_parts(out):
        for side in sums:
            mean = part[f"{side}_logp"].to_numpy() / part[f"{side}_tokens"].to_numpy()
            sums[side] += float(mean.sum())
    return {f"{side}_logp_per_token": round(total / rows, 6) for side, total in sums.items()}


def here(config: ReferenceConfig) -> dict[str, str]:
    """What `dtype: auto` means on this machine."""
    return what_auto_is(config.dtype)


STAGE = Stage(
    name="training.reference", version=2, config=ReferenceConfig, inputs=ReferenceInputs,
    output=REFERENCE, facts=ReferenceFacts, run=run, here=here,
)  # fmt: skip

if __name__ == "__main__":
    main(STAGE)
