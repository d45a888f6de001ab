"""Stage: the prompts of one round, a slice that no other round takes."""

from pathlib import Path
from typing import Annotated

import pyarrow as pa
import pyarrow.compute as pc

from contracts.errors import UserError
from contracts.steps.inputs import Inputs
from contracts.steps.manifest import Result
from contracts.steps.step import Stage
from contracts.tables.parts import read_table, write_part
from contracts.tables.schemas import PROMPTS
from generation.config import SelectConfig
from generation.prompts import rank
from runtime.stage_process import main


def select(prompts: pa.Table, config: SelectConfig) -> pa.Table:
    """The rows of a slice, in the table's order.

    A seeded hash of the prompt's id gives each prompt its place: slices of the same seed and
    splits never overlap, however many there are, and the order is the same in every round.

    Raises:
        UserError: no prompt stands at these places.
    """
    pool = prompts.filter(pc.is_in(prompts["split"], pa.array(config.splits)))
    identifiers = pool["prompt_id"].to_pylist()
    ranked = sorted(range(len(identifiers)), key=lambda row: rank(config.seed, identifiers[row]))
    end = None if config.count is None else config.start + config.count
    rows = sorted(ranked[config.start : end])
    if not rows:
        raise UserError(
            f"there are {len(identifiers)} prompts in {'/'.join(config.splits)}, none from place "
            f"{config.start} on: lower `prompts_per_round` or `rounds`, or give more prompts "
            "(`prompts.limit`)"
        )
    return pool.take(pa.array(rows))


class SelectInputs(Inputs):
    """All prompts of the run."""

    prompts: Annotated[Path, PROMPTS]


def run(config: SelectConfig, inputs: SelectInputs, out: Path) -> Result:
    """Write the slice as PROMPTS."""
    chosen = select(read_table(inputs.prompts), config)
    write_part(out, 0, chosen, PROMPTS)
    return Result(chosen.num_rows)


STAGE = Stage(
    name="generation.select", version=1, config=SelectConfig, inputs=SelectInputs,
    output=PROMPTS, run=run,
)  # fmt: skip

if __name__ == "__main__":
    main(STAGE)
