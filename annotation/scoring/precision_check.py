"""How far a reward model in bfloat16 agrees with itself in float32.

What matters is the order of a prompt's responses: near ties flip (recipe, section 3: up to 0.006
in a raw reward). So a sample of prompts is scored once more, by the same model in float32 through
our own batches, when all parts are written and the models that wrote them are gone from memory:
8B parameters take 16 GB in bfloat16, 32 GB in float32, never both at once. (vLLM, which keeps
what it has taken, is the exception.) No score changes; the figures go into the manifest.
"""

import gc
import hashlib
import heapq
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict

from annotation.annotators.base import AnnotatorVariant
from annotation.config import ScoreConfig
from annotation.scoring.inputs import ScoreInputs
from annotation.scoring.part import COLUMNS, prepare_part, score_part
from annotation.scoring.part_scorer import open_scorer
from annotation.scoring.prompt_lookup import Prompts
from contracts.tables.parts import part_paths, read_part

log = logging.getLogger(__name__)


class Agreement(BaseModel):
    """How two annotations of the same responses agree."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompts: int
    responses: int = 0
    rank_correlation: float | None = None
    """Spearman's over all responses."""
    mean_absolute_difference: float | None = None
    deviation: float | None = None
    """Standard deviation of the scores in float32."""
    flipped_pairs: float | None = None
    """Share of prompts whose best or whose worst response is another one; null where no prompt
    has two scores."""
    reason: str | None = None
    """Why nothing was compared."""

    @property
    def told(self) -> str:
        """One line for a log."""
        if self.reason:
            return f"not compared with float32: {self.reason}"
        if self.rank_correlation is None or self.flipped_pairs is None:
            return f"compared with float32 on {self.prompts} prompts"
        return (
            f"rank correlation with float32 {self.rank_correlation:.5f}, best or worst response "
            f"another in {100 * self.flipped_pairs:.1f} % of {self.prompts} prompts"
        )


def agreements(config: ScoreConfig, inputs: ScoreInputs, out: Path) -> dict[str, Agreement]:
    """For each annotator that runs below float32, how its scores in `out` agree with float32's."""
    resources = config.resources
    exact = [one for a in config.annotators if (one := a.exact(resources))]
    if not exact or not resources.agreement_prompts:
        return {}
    gc.collect()
    sample = _sample(inputs.responses, resources.agreement_prompts)
    if sample is None:
        return {}
    prompts = Prompts(inputs.prompts)

    def rescore(annotator: AnnotatorVariant) -> pa.Table:
        scorers = {annotator.name: open_scorer(annotator, inputs, resources)}
        return score_part(prepare_part(sample, prompts, scorers))

    by_annotator = {}
    for annotator in exact:
        scores = _stored(out, annotator.name, sample)
        by_annotator[annotator.name] = _agreement(annotator, scores, rescore)
        log.info("%s: %s", annotator.name, by_annotator[annotator.name].told)
    return by_annotator


def agreement_of(rough: pa.Table, exact: pa.Table) -> Agreement:
    """How two annotations of the same responses agree; rows are SCORES, joined by response."""
    other = exact.select(["response_id", "score"]).rename_columns(["response_id", "exact"])
    both = rough.select(["response_id", "prompt_id", "score"]).join(
        other, "response_id", join_type="inner"
    )
    both = both.drop_null().sort_by("response_id")
    pairs = (both["score"].to_numpy(), both["exact"].to_numpy())
    return Agreement(
        prompts=len(both["prompt_id"].unique()),
        responses=both.num_rows,
        rank_correlation=_spearman(*pairs),
        mean_absolute_difference=float(np.abs(pairs[0] - pairs[1]).mean()) if len(both) else None,
        deviation=float(pairs[1].std()) if len(both) else None,
        flipped_pairs=_flipped(both["prompt_id"], *pairs),
    )


def _agreement(
    exact: AnnotatorVariant, stored: pa.Table, rescore: Callable[[AnnotatorVariant], pa.Table]
) -> Agreement:
    import torch

    try:
        return agreement_of(stored, rescore(exact))
    except torch.OutOfMemoryError:
        # The scores are made; what is only told of them is not worth losing them for.
        log.warning("%s: does not fit in float32, so nothing is compared", exact.name)
        return Agreement(prompts=0, reason="the model does not fit the device in float32")
    finally:
        gc.collect()
        torch.cuda.empty_cache()


def _sample(responses: Path, count: int) -> pa.Table | None:
    """All responses of `count` prompts, chosen by a hash of their ids: the same in every run."""
    where: dict[str, list[Path]] = {}
    for path in part_paths(responses):
        for prompt_id in read_part(path, ["prompt_id"])["prompt_id"].unique().to_pylist():
            where.setdefault(prompt_id, []).append(path)
    chosen = heapq.nsmallest(count, where, key=lambda i: hashlib.sha256(i.encode()).digest())
    paths = sorted({path for prompt_id in chosen for path in where[prompt_id]})
    tables = [read_part(path, COLUMNS) for path in paths]
    ids = pa.array(chosen, pa.string())
    sampled = [t.filter(pc.is_in(t["prompt_id"], ids)) for t in tables]
    return pa.concat_tables(sampled) if sampled else None


def _stored(out: Path, name: str, sample: pa.Table) -> pa.Table:
    """The annotator's rows of these responses."""
    ids = sample["response_id"].combine_chunks()
    columns = ["response_id", "prompt_id", "annotator", "score"]
    parts = (read_part(path, columns) for path in part_paths(out))
    return pa.concat_tables(
        [
            t.filter((pc.field("annotator") == name) & pc.field("response_id").isin(ids))
            for t in parts
        ]
    )


def _spearman(first: np.ndarray, second: np.ndarray) -> float | None:
    """Correlation of the ranks, None where there is no spread."""
    if len(first) < 2 or not first.std() or not second.std():
        return None
    return float(np.corrcoef(_ranks(first), _ranks(second))[0, 1])


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks, equal values sharing their mean."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return (ends - (counts - 1) / 2)[inverse]


def _flipped(prompts: pa.ChunkedArray, rough: np.ndarray, exact: np.ndarray) -> float | None:
    codes = prompts.combine_chunks().dictionary_encode().indices.to_numpy()
    groups = [np.flatnonzero(codes == code) for code in range(codes.max(initial=-1) + 1)]
    extremes = [
        [(values[rows].argmax(), values[rows].argmin()) for values in (rough, exact)]
        for rows in groups
        if len(rows) > 1
    ]
    return float(np.mean([a != b for a, b in extremes])) if extremes else None
