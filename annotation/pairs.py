"""Stage: preference pairs from the scores of a prompt's responses.

Reads responses and scores part by part and writes a part of pairs for each; the next parts
are read and the last ones written while one is paired. What is cheap is made anew after a
crash: the same bytes come out.
"""

import logging
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from annotation.config import PairsConfig
from annotation.scoring.scored_parts import ScoredInputs, ScoredParts
from annotation.selection.length_penalty import MOST_RESPONSES, auto_length_penalty
from annotation.selection.pairs import Selection, select_pairs
from annotation.selection.scored_responses import DecidedBy, candidates_of
from contracts.errors import OnPolicyError
from contracts.steps.manifest import Result
from contracts.steps.step import Stage
from contracts.tables.parts import write_part
from contracts.tables.schemas import MESSAGES, PAIRS
from runtime.beside import OneBehind
from runtime.progress import Progress
from runtime.stage_process import main

log = logging.getLogger(__name__)


class PairsInputs(ScoredInputs):
    """Scored responses and their prompts."""


class PairsFacts(DecidedBy):
    """What the pairs look like; lengths in tokens."""

    prompts: int
    """Prompts that have a pair."""
    margin_mean: float
    margin_quantiles: dict[str, float]
    chosen_tokens_mean: float
    rejected_tokens_mean: float
    chosen_longer_share: float
    length_penalty: float
    """Taken off a score for each token: the config's, or what its `auto` came to."""


def run(config: PairsConfig, inputs: PairsInputs, out: Path) -> Result:
    """Make the pairs.

    Raises:
        UserError: the inputs do not belong together, or the annotator is unknown.
        OnPolicyError: no pair came out.
    """
    _one_thread_each()
    parts = ScoredParts(config, inputs)
    config = _with_penalty(config, parts)
    progress = Progress(parts.rows, "responses")
    tally = Tally()
    # One part is written while the next is paired, so no more than two are in memory.
    with OneBehind() as behind:
        for index, (table, scored) in enumerate(parts):
            pairs, selection, tokens = pair_part(config, table, scored, parts)
            behind(write_part, out, index, pairs, PAIRS)
            tally.add(pairs, selection, tokens)
            progress.advance(table.num_rows)
    if not tally.rows:
        raise OnPolicyError(
            f"no pair came out of {sum(tally.dropped.values())} prompts: {dict(tally.dropped)}; "
            "sample more or more varied responses, or relax the filters under `pairs`"
        )
    facts = PairsFacts(
        **parts.facts.model_dump(), **tally.figures(), length_penalty=config.length_penalty
    )
    return Result(rows=tally.rows, dropped=dict(tally.dropped), facts=facts)


def _with_penalty(config: PairsConfig, parts: ScoredParts) -> PairsConfig:
    """The config with a number for its length penalty."""
    if config.length_penalty != "auto":
        return config
    some = (candidates_of(table, score) for table, score in parts.spread(MOST_RESPONSES))
    penalty = auto_length_penalty(config, some)
    log.info("length_penalty auto: %g a token", penalty)
    return config.model_copy(update={"length_penalty": penalty})


def _one_thread_each() -> None:
    """Keep arrow from using threads of its own: reading, pairing and writing have one each.

    More of them cost a fifth more CPU time on two cores. Its own allocator, too, keeps what
    each thread freed: 50 % more memory after 10^6 responses.
    """
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    pa.set_memory_pool(pa.system_memory_pool())


def pair_part(
    config: PairsConfig, responses: pa.Table, score: np.ndarray, parts: ScoredParts
) -> tuple[pa.Table, Selection, np.ndarray]:
    """PAIRS rows for a part of responses, how they were selected, and the responses' tokens.

    Args:
        score: one float64 a response, NaN where there is none.
    """
    candidates, ids = candidates_of(responses, score)
    selection = select_pairs(config, candidates, ids)
    prompts = parts.prompts_of(ids, selection.prompt)
    return _table(responses, prompts, selection), selection, candidates.tokens


@dataclass
class Tally:
    """Counts over all parts, kept in a few bytes for each pair."""

    rows: int = 0
    prompts: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    margins: list[np.ndarray] = field(default_factory=list)
    chosen_tokens: int = 0
    rejected_tokens: int = 0
    chosen_longer: int = 0

    def add(self, pairs: pa.Table, selection: Selection, tokens: np.ndarray) -> None:
        """Count a part in."""
        chosen, rejected = tokens[selection.chosen], tokens[selection.rejected]
        self.rows += pairs.num_rows
        self.prompts += len(np.unique(selection.prompt))
        self.dropped.update(selection.dropped)
        # Four bytes a pair are all that stays of a part: 240 KB for the recipe's 60,000.
        self.margins.append(pairs["margin"].to_numpy().astype(np.float32))
        self.chosen_tokens += int(chosen.sum())
        self.rejected_tokens += int(rejected.sum())
        self.chosen_longer += int((chosen > rejected).sum())

    def figures(self) -> dict[str, Any]:
        """The figures of `PairsFacts`."""
        margins = np.concatenate(self.margins)
        self.margins = [margins]
        mean = float(margins.mean(dtype=np.float64))
        levels = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
        quantiles = np.quantile(margins, levels, overwrite_input=True)
        return {
            "prompts": self.prompts,
            "margin_mean": mean,
            "margin_quantiles": {
                str(level): float(q) for level, q in zip(levels, quantiles, strict=True)
            },
            "chosen_tokens_mean": self.chosen_tokens / self.rows,
            "rejected_tokens_mean": self.rejected_tokens / self.rows,
            "chosen_longer_share": self.chosen_longer / self.rows,
        }


def _table(responses: pa.Table, prompts: pa.Table, selection: Selection) -> pa.Table:
    chosen = responses.take(pa.array(selection.chosen))
    rejected = responses.take(pa.array(selection.rejected))
    columns = {
        "prompt_id": prompts["prompt_id"],
        "prompt": prompts["messages"],
        "chosen": answers(chosen["text"]),
        "rejected": answers(rejected["text"]),
        "chosen_id": chosen["response_id"],
        "rejected_id": rejected["response_id"],
        "chosen_score": selection.chosen_score,
        "rejected_score": selection.rejected_score,
        "margin": selection.chosen_score - selection.rejected_score,
        "split": prompts["split"],
    }
    return pa.table(columns)


def answers(texts: pa.ChunkedArray) -> pa.Array:
    """Each text as a list of one assistant message."""
    content = texts.combine_chunks()
    roles = pa.DictionaryArray.from_arrays(
        pa.array(np.zeros(len(content), np.int8)), ["assistant"]
    ).cast(pa.string())
    fields = list(MESSAGES.value_type)
    messages = pa.StructArray.from_arrays([roles, content], fields=fields)
    offsets = pa.array(np.arange(len(content) + 1, dtype=np.int32))
    return pa.ListArray.from_arrays(offsets, messages, type=MESSAGES)


STAGE = Stage(
    name="annotation.pairs", version=3, config=PairsConfig, inputs=PairsInputs,
    output=PAIRS, facts=PairsFacts, run=run,
)  # fmt: skip

if __name__ == "__main__":
    main(STAGE)
