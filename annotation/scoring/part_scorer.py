"""A part of responses in, a part of scores out: every annotator, ready, in this process.

A part is prepared (read and tokenised) in a thread while the models score the one before: 0.17 ms
a response on two cores, beside 10 ms of an 8B model's on a GPU. Of 37,500 responses a GPU, the
recipe's 300,000 over eight, that would be 6 s of waiting beside 375 s of scoring, or 51 s where
all eight wait for the same two cores.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from annotation.annotators.base import AnnotatorVariant, ScoreResources, Setting
from annotation.config import ScoreConfig
from annotation.scorers.judge.answers import JudgeAnswers
from annotation.scorers.protocol import Scorer
from annotation.scoring.inputs import ScoreInputs
from annotation.scoring.part import (
    COLUMNS,
    PreparedPart,
    conversations_of,
    prepare_part,
    score_part,
)
from annotation.scoring.prompt_lookup import Prompts
from contracts.models.copies import located
from contracts.tables.parts import encode, read_part
from contracts.tables.schemas import SCORES
from runtime.beside import made_ahead

Parts = Mapping[int, Path]
"""Parts of responses, by their index."""


class PartScorer:
    """All annotators of a config, their models loaded."""

    def __init__(self, config: ScoreConfig, inputs: ScoreInputs, out: Path) -> None:
        """
        Raises:
            UserError: an annotator cannot be used, or there are no prompts.
        """
        keep = any(annotator.keeps_answers for annotator in config.annotators)
        self._answers = JudgeAnswers(out) if keep else None
        self._scorers = {
            annotator.name: open_scorer(annotator, inputs, config.resources, self._answers)
            for annotator in config.annotators
            if not annotator.combines
        }
        self._ensembles = [one for one in config.annotators if one.combines]
        self._prompts = Prompts(inputs.prompts)

    @property
    def facts(self) -> dict[str, Any]:
        """What the manifest records of each annotator."""
        return {name: scorer.facts for name, scorer in self._scorers.items()}

    def score(self, parts: Parts) -> Iterator[tuple[int, bytes]]:
        """Each part's SCORES, as the bytes of its file."""
        ahead = made_ahead((index, self.prepare(index, path)) for index, path in parts.items())
        for index, scored in ahead:
            yield index, scored()

    def prepare(self, index: int, path: Path) -> Callable[[], bytes]:
        """Read and tokenise a part, while another is scored; what is left gives its SCORES, as the
        bytes of its file. Always in the same thread."""
        responses = read_part(path, COLUMNS)
        part = prepare_part(responses, self._prompts, self._scorers)
        return partial(self._scored, index, path, part)

    def _scored(self, index: int, path: Path, part: PreparedPart) -> bytes:
        with self._answers.part(index) if self._answers else nullcontext():
            table = score_part(part, self._ensembles)
        return encode(table, SCORES, str(path))

    def one_by_one(self, index: int, path: Path) -> Iterator[str]:
        """Score a part's conversations one by one to find the one that crashes; the scores are
        thrown away, and each step is announced before it begins."""
        responses = read_part(path, COLUMNS)
        conversations, _ = conversations_of(responses, self._prompts)
        names = responses["prompt_id"].unique().to_pylist()
        with self._answers.part(index) if self._answers else nullcontext():
            for prompt_id, conversation in zip(names, conversations, strict=True):
                for name, scorer in self._scorers.items():
                    yield f"annotator {name!r} on prompt {prompt_id}"
                    scorer.score([conversation])

    def close(self) -> None:
        """Let go of the models."""
        self._scorers.clear()


def open_scorer(
    annotator: AnnotatorVariant,
    inputs: ScoreInputs,
    resources: ScoreResources,
    answers: JudgeAnswers | None = None,
) -> Scorer:
    """The annotator, its model loaded.

    Raises:
        UserError: it cannot be used; says why.
    """
    return annotator.build(Setting(resources, located(inputs.model_of(annotator)), answers))
