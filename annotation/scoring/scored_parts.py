"""Scored responses with their prompts, part by part: what pairs and demonstrations read."""

from collections.abc import Iterator
from math import ceil
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from annotation.config import CandidatesConfig
from annotation.scoring.prompt_lookup import Prompts
from annotation.selection.scored_responses import (
    DecidedBy,
    only_annotator,
    policy_of,
    read_ahead,
    sources_of,
)
from contracts.steps.inputs import Inputs
from contracts.tables.schemas import PROMPTS, RESPONSES, SCORES


class ScoredInputs(Inputs):
    """Scored responses and their prompts."""

    prompts: Annotated[Path, PROMPTS]
    responses: Annotated[Path, RESPONSES]
    scores: Annotated[Path, SCORES]


class ScoredParts:
    """The parts of responses, and the annotator whose scores decide.

    Raises:
        UserError: the inputs do not belong together, or no annotator is named and there are
            several.
    """

    def __init__(self, config: CandidatesConfig, inputs: ScoredInputs) -> None:
        self._prompts = Prompts(inputs.prompts, ("messages", "split"))
        self.sources = sources_of(inputs.responses, inputs.scores)
        annotator = config.annotator or only_annotator(self.sources)
        self.rows = sum(pq.read_metadata(path).num_rows for path, _ in self.sources)
        self.facts = DecidedBy(policy=policy_of(inputs.responses), annotator=annotator)

    def __iter__(self) -> Iterator[tuple[pa.Table, np.ndarray]]:
        """Each part's responses, and one float64 score a response, NaN where there is none."""
        return read_ahead(self.sources, self.facts.annotator)

    def spread(self, rows: int) -> Iterator[tuple[pa.Table, np.ndarray]]:
        """Parts with their scores: all of them up to `rows` responses, else every second, third,
        ..., so that they hold about that many."""
        every = max(1, ceil(self.rows / rows))
        return read_ahead(self.sources[::every], self.facts.annotator)

    def prompts_of(self, ids: pa.StringArray, index: np.ndarray) -> pa.Table:
        """The prompts whose ids stand at `index` in `ids`, in that order."""
        return self._prompts.take(ids.take(pa.array(index)))
