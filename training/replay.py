"""Stage: a round's tokens with some of earlier rounds' mixed in, each marked with its round.

What an earlier policy sampled is off-policy by now. Replay keeps a policy from forgetting what
earlier rounds taught (DICE, arXiv 2406.09760); `weighting: wpo` weighs such pairs.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa

from contracts.errors import UserError
from contracts.steps.facts import read_facts
from contracts.steps.inputs import Inputs
from contracts.steps.manifest import Result
from contracts.steps.step import Stage
from contracts.tables.parts import iter_parts, write_part
from contracts.tables.schemas import REPLAYED_TOKENS, TOKENS
from runtime.stage_process import main
from training.config import ReplayConfig
from training.tokens.checks import FormattedFor

_MARK = "replayed_from"


class ReplayInputs(Inputs):
    """The round's own tokens, and those of earlier rounds."""

    tokens: Annotated[Path, TOKENS]
    earlier: dict[str, Annotated[Path, TOKENS]]
    """By the round's number."""


class ReplayFacts(FormattedFor):
    """What was mixed."""

    own: int
    """Pairs of the round itself."""
    replayed: dict[str, int]
    """Pairs of earlier rounds, by round."""


def run(config: ReplayConfig, inputs: ReplayInputs, out: Path) -> Result:
    """Write the round's rows in their order, then the replayed ones.

    Raises:
        UserError: a table of tokens is not finished.
    """
    formatted = read_facts(inputs.tokens, FormattedFor)
    if formatted is None:
        raise UserError(f"{inputs.tokens}: is no finished table of tokens")
    new = parts = 0
    for parts, part in enumerate(iter_parts(inputs.tokens, TOKENS.names), start=1):
        write_part(out, parts - 1, _marked(part, None), REPLAYED_TOKENS)
        new += part.num_rows
    rows = {number: _rows(folder) for number, folder in inputs.earlier.items()}
    chosen = choose(config, new, rows)
    for number, places in chosen.items():
        if len(places):
            table = _taken(inputs.earlier[number], places)
            write_part(out, parts, _marked(table, int(number)), REPLAYED_TOKENS)
            parts += 1
    replayed = {number: len(places) for number, places in chosen.items()}
    facts = ReplayFacts(**formatted.model_dump(), own=new, replayed=replayed)
    return Result(new + sum(replayed.values()), facts=facts)


def choose(config: ReplayConfig, own: int, rows: dict[str, int]) -> dict[str, np.ndarray]:
    """Which rows of each earlier round are replayed: each is as likely as any other.

    So many that they are `config.share` of all, or all that there are. The same seed and the same
    tables give the same rows.

    Args:
        own: rows of the round itself.
        rows: how many each earlier round has.

    Returns:
        Places in each round's table, ascending, int64.
    """
    counts = [*rows.values()]
    total = sum(counts)
    # share = taken / (own + taken), solved for taken.
    count = min(total, round(own * config.share / (1 - config.share)))
    places = np.sort(np.random.default_rng(config.seed).permutation(total)[:count])
    starts = np.cumsum([0, *counts])
    return {
        number: places[(places >= start) & (places < end)] - start
        for number, start, end in zip(rows, starts[:-1], starts[1:], strict=True)
    }


def _rows(folder: Path) -> int:
    return sum(part.num_rows for part in iter_parts(folder, ["prompt_id"]))


def _taken(folder: Path, places: np.ndarray) -> pa.Table:
    """Rows of a table, read a part at a time."""
    taken, start = [], 0
    for part in iter_parts(folder, TOKENS.names):
        end = start + part.num_rows
        taken.append(part.take(pa.array(places[(places >= start) & (places < end)] - start)))
        start = end
    return pa.concat_tables(taken)


def _marked(table: pa.Table, number: int | None) -> pa.Table:
    return table.append_column(_MARK, pa.array([number] * table.num_rows, pa.int32()))


STAGE = Stage(
    name="training.replay", version=1, config=ReplayConfig, inputs=ReplayInputs,
    output=REPLAYED_TOKENS, facts=ReplayFacts, run=run,
)  # fmt: skip

if __name__ == "__main__":
    main(STAGE)
