"""Stage: what a round gained: rewards of the held-out answers before and after it.

An answer without a score counts: a mean over the answers that happened to be scored would leave
out a policy's worst. Its prompt is left out of the gain and its interval, but the interval's ends
at the lowest and highest score seen stand beside them (`evaluation.bootstrap`), its share is told
of each policy, and policies whose shares differ are told apart by no reward.
Rows are dropped as `unscored` where no policy has a score of an annotator for a held-out prompt,
e.g. where the prompt alone is too long for it: that tells no policy from another.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, field_serializer

from contracts.errors import OnPolicyError
from contracts.steps.facts import Facts
from contracts.steps.inputs import Inputs
from contracts.steps.manifest import Result
from contracts.steps.step import Stage
from contracts.tables.parts import read_table, write_part
from contracts.tables.schemas import COMPARISON, PROMPTS, SCORES
from evaluation.bootstrap import Gain, Rewards, bounded_gain
from evaluation.config import CompareConfig
from evaluation.expected_answers import expected_answers
from runtime.stage_process import main

_POLICIES = ("start", "before", "after")
_KEYS = ["annotator", "prompt_id"]
_COLUMNS = [*_KEYS, "score", "error", "cut"]


class CompareInputs(Inputs):
    """The held-out prompts, and the scores of each policy's answers to them."""

    prompts: Annotated[Path, PROMPTS]
    start_scores: Annotated[Path, SCORES]
    before_scores: Annotated[Path, SCORES]
    after_scores: Annotated[Path, SCORES]


class Shares(BaseModel):
    """Shares of an annotator's answers, by policy: `start`, `before`, `after`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    unscored: dict[str, float]
    cut: dict[str, float]
    """Scored on a part of them."""


class Gains(Shares):
    """An annotator's mean rewards, where there is a prompt whose every answer has a score."""

    start: float
    before: float
    after: float
    over_start: Gain
    over_before: Gain

    @field_serializer("over_start", "over_before")
    def _with_verdict(self, gain: Gain) -> dict[str, Any]:
        return {**asdict(gain), "verdict": gain.verdict}


class CompareFacts(Facts):
    """What each annotator says, by its name."""

    gains: dict[str, Gains | Shares]


def run(config: CompareConfig, inputs: CompareInputs, out: Path) -> Result:
    """Compare the policies.

    Raises:
        OnPolicyError: not one held-out prompt was scored for every policy.
    """
    prompts = read_table(inputs.prompts, ["prompt_id", "split"])
    held_out = prompts.filter(pc.field("split") == "test")["prompt_id"]
    folders = (inputs.start_scores, inputs.before_scores, inputs.after_scores)
    scores = {
        policy: _of_prompts(read_table(folder, _COLUMNS), held_out)
        for policy, folder in zip(_POLICIES, folders, strict=True)
    }
    table = pair_up(scores)
    annotators = table["annotator"].unique().to_pylist()
    gains = {name: summarize(table, scores, name, config) for name in annotators}
    if not any(isinstance(gain, Gains) for gain in gains.values()):
        raise OnPolicyError(
            f"{inputs.after_scores}: no held-out prompt has a score of every policy to compare"
        )
    write_part(out, 0, table.select(COMPARISON.names), COMPARISON)
    compared = len(held_out) * count_annotators(scores)
    dropped = {"unscored": compared - table.num_rows}
    return Result(table.num_rows, dropped, CompareFacts(gains=gains))


def count_annotators(scores: Mapping[str, pa.Table]) -> int:
    """How many annotators scored any of the policies, or tried to."""
    return len(
        {name for rows in scores.values() for name in rows["annotator"].unique().to_pylist()}
    )


def pair_up(scores: Mapping[str, pa.Table]) -> pa.Table:
    """One row per prompt and annotator, sorted: each policy's mean, total and missing scores.

    Each policy counts as many answers to a prompt as the policy that has most: a request that
    failed has no row, and counts as an answer without a score.
    """
    totals = {policy: _totals(rows, policy) for policy, rows in scores.items()}
    table = pa.concat_tables([rows.select(_KEYS) for rows in totals.values()])
    table = table.group_by(_KEYS, use_threads=False).aggregate([])
    for rows in totals.values():
        table = table.join(rows, keys=_KEYS, join_type="left outer")
    table = table.sort_by([(key, "ascending") for key in _KEYS])
    counted = {
        name: pc.fill_null(table[name], 0).to_numpy() for name in table.column_names[len(_KEYS) :]
    }
    answers = expected_answers([counted[f"{policy}_rows"] for policy in _POLICIES])
    columns: dict[str, Any] = {key: table[key] for key in _KEYS} | {"answers": answers}
    for policy in _POLICIES:
        total, scored = counted[f"{policy}_total"], counted[f"{policy}_scored"]
        has_all_scores = scored == answers
        mean = np.divide(total, answers, where=has_all_scores, out=np.zeros(len(total)))
        columns |= {policy: pa.array(mean, mask=~has_all_scores), f"{policy}_total": total}
        columns[f"{policy}_unscored"] = (answers - scored).astype(np.int32)
    scored = np.sum([counted[f"{policy}_scored"] for policy in _POLICIES], axis=0)
    return pa.table(columns).filter(pa.array(scored > 0))


def summarize(
    table: pa.Table, scores: Mapping[str, pa.Table], annotator: str, config: CompareConfig
) -> Gains | Shares:
    """An annotator's mean rewards and the gains over the start and over the round before.

    The shares of answers without a score, and of those scored on a part of them, are told even
    where no prompt has all its scores and there is no gain to tell.
    """
    rows = table.filter(pc.field("annotator") == annotator)
    scores_of = {p: found.filter(pc.field("annotator") == annotator) for p, found in scores.items()}
    answers = pc.sum(rows["answers"]).as_py()
    shares = Shares(
        unscored={p: pc.sum(rows[f"{p}_unscored"]).as_py() / answers for p in _POLICIES},
        cut={p: pc.count(scores_of[p]["cut"]).as_py() / answers for p in _POLICIES},
    )
    rewards = _rewards(rows, [found["score"] for found in scores_of.values()])
    has_all_scores = ~np.isnan(rewards["after"].mean)
    if not has_all_scores.any():
        return shares

    def gain(old: str) -> Gain:
        settings = (config.resamples, config.confidence, config.seed)
        return bounded_gain(rewards[old], rewards["after"], *settings)

    means = {
        policy: float(scores_of.mean[has_all_scores].mean())
        for policy, scores_of in rewards.items()
    }
    return Gains(
        **means, over_start=gain("start"), over_before=gain("before"),
        unscored=shares.unscored, cut=shares.cut,
    )  # fmt: skip


def _of_prompts(scores: pa.Table, prompt_ids: pa.ChunkedArray) -> pa.Table:
    return scores.filter(pc.is_in(scores["prompt_id"], value_set=prompt_ids.combine_chunks()))


def _totals(scores: pa.Table, policy: str) -> pa.Table:
    """Sum and number of the scores and number of rows, per annotator and prompt."""
    # One chunk, one thread: the order of additions moves the last bits of a sum.
    groups = scores.combine_chunks().group_by(_KEYS, use_threads=False)
    aggregates = [("score", "sum"), ("score", "count"), ([], "count_all")]
    names = [*_KEYS, f"{policy}_total", f"{policy}_scored", f"{policy}_rows"]
    return groups.aggregate(aggregates).rename_columns(names)


def _rewards(rows: pa.Table, scores: Sequence[pa.ChunkedArray]) -> dict[str, Rewards]:
    """Each policy's rewards; no mean where any policy lacks one, so that all are over one set."""
    lowest = min(pc.min(column).as_py() for column in scores if column.null_count < len(column))
    highest = max(pc.max(column).as_py() for column in scores if column.null_count < len(column))
    answers = rows["answers"].to_numpy()
    missing = {policy: rows[f"{policy}_unscored"].to_numpy() for policy in _POLICIES}
    whole = np.sum(list(missing.values()), axis=0) == 0

    def of(policy: str) -> Rewards:
        total = rows[f"{policy}_total"].to_numpy()
        low, high = ((total + missing[policy] * bound) / answers for bound in (lowest, highest))
        return Rewards(
            np.where(whole, total / answers, np.nan), low, high, int(missing[policy].sum())
        )

    return {policy: of(policy) for policy in _POLICIES}


STAGE = Stage(
    name="evaluation.compare", version=4, config=CompareConfig, inputs=CompareInputs,
    output=COMPARISON, facts=CompareFacts, run=run,
)  # fmt: skip

if __name__ == "__main__":
    main(STAGE)
