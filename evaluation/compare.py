"""What a round gained: rewards of the held-out answers before and after it.

Rows are dropped as `unscored` where a policy has no score of an annotator for a held-out prompt.
Inputs: `prompts`, and the scores of each policy's answers: `start_scores`, `before_scores` and
`after_scores`. Output: COMPARISON.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from contracts.errors import OnPolicyError
from contracts.manifest import Result
from contracts.parts import read_table, write_part
from contracts.process import main
from contracts.step import Inputs, Stage
from contracts.tables import COMPARISON
from evaluation.bootstrap import paired_gain
from evaluation.config import CompareConfig

_POLICIES = ("start", "before", "after")


def run(config: CompareConfig, inputs: Inputs, out: Path) -> Result:
    """Compare the policies.

    Raises:
        OnPolicyError: not one held-out prompt was scored for every policy.
    """
    prompts = read_table(Path(inputs["prompts"]), ["prompt_id", "split"])
    held_out = prompts.filter(pc.field("split") == "test").select(["prompt_id"])
    scores = {policy: read_table(Path(inputs[f"{policy}_scores"])) for policy in _POLICIES}
    table = pair_up(held_out, {policy: mean_rewards(rows) for policy, rows in scores.items()})
    if not table.num_rows:
        raise OnPolicyError(f"{inputs['after_scores']}: no held-out prompt has a score to compare")
    write_part(out, 0, table, COMPARISON)
    annotators = pc.unique(table["annotator"]).to_pylist()
    return Result(
        rows=table.num_rows,
        dropped={"unscored": held_out.num_rows * count_annotators(scores) - table.num_rows},
        facts={"gains": {name: summarize(table, name, config) for name in annotators}},
    )


def mean_rewards(scores: pa.Table) -> pa.Table:
    """Mean score per (prompt_id, annotator); a prompt with an unscored answer is left out.

    A mean over the answers that happened to be scored would compare unlike samples.
    """
    # One chunk, one thread: the order of additions moves the last bits of a mean.
    groups = scores.combine_chunks().group_by(["prompt_id", "annotator"], use_threads=False)
    grouped = groups.aggregate([("score", "mean"), ("error", "count")])
    return grouped.filter(pc.field("error_count") == 0).select(
        ["prompt_id", "annotator", "score_mean"]
    )


def count_annotators(scores: Mapping[str, pa.Table]) -> int:
    """How many annotators scored any of the policies, or tried to."""
    return len(
        {name for rows in scores.values() for name in rows["annotator"].unique().to_pylist()}
    )


def pair_up(held_out: pa.Table, rewards: Mapping[str, pa.Table]) -> pa.Table:
    """One row per held-out prompt and annotator with all policies' rewards, sorted."""
    table = held_out
    for policy in _POLICIES:
        keys = ["prompt_id"] if policy == _POLICIES[0] else ["prompt_id", "annotator"]
        renamed = rewards[policy].rename_columns(["prompt_id", "annotator", policy])
        table = table.join(renamed, keys=keys, join_type="inner")
    return table.sort_by([("annotator", "ascending"), ("prompt_id", "ascending")])


def summarize(table: pa.Table, annotator: str, config: CompareConfig) -> dict[str, Any]:
    """Mean rewards, and the gains over the start and over the round before, with intervals."""
    rows = table.filter(pc.field("annotator") == annotator)
    columns: dict[str, np.ndarray] = {name: rows[name].to_numpy() for name in _POLICIES}

    def gain(old: str) -> dict[str, float]:
        return asdict(
            paired_gain(
                columns[old], columns["after"], config.resamples, config.confidence, config.seed
            )
        )

    return {
        **{name: float(values.mean()) for name, values in columns.items()},
        "over_start": gain("start"),
        "over_before": gain("before"),
    }


STAGE = Stage(name="evaluation.compare", version=1, config=CompareConfig, run=run)

if __name__ == "__main__":
    main(STAGE)
