"""Scores made of other annotators' scores."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn, Self

from pydantic import Field, model_validator

from annotation.annotators.base import AnnotatorVariant, Setting
from contracts.config.base import Config

if TYPE_CHECKING:
    from annotation.scorers.protocol import Conversation, Score


class Member(Config):
    """An annotator in an ensemble. Its scores count as weight * (score - mean) / std."""

    name: str
    """The annotator's name."""
    weight: float = 1.0
    """Its weight; the weights are divided by their sum."""
    mean: float = 0.0
    """Mean of its scores; the manifest of an earlier run's scores says it."""
    std: Annotated[float, Field(gt=0)] = 1.0
    """Standard deviation of its scores; the same manifest says it."""


class EnsembleConfig(AnnotatorVariant):
    """The weighted mean of other annotators, with their disagreement in its own column."""

    kind: Literal["ensemble"] = "ensemble"
    members: Annotated[list[Member], Field(min_length=2)]
    """Who counts; each is an annotator of the same list."""
    scale: Literal["raw", "prompt"] = "raw"
    """Members' scores as they are, or as z-scores among the responses of each prompt, which
    brings annotators of any scale together but says nothing across prompts. Neither looks at
    other prompts, so no score depends on what else is in its part or its run."""

    @model_validator(mode="after")
    def _weights_count(self) -> Self:
        if sum(member.weight for member in self.members) <= 0:
            raise ValueError("the weights of the members must add up to more than 0")
        return self

    def build(self, setting: Setting) -> NoReturn:
        """An ensemble has no scorer: it is computed by `combine`."""
        raise NotImplementedError(self.kind)

    @property
    def combines(self) -> list[str]:
        """Names of the annotators whose scores it combines."""
        return [member.name for member in self.members]

    def combine(
        self,
        conversations: "Sequence[Conversation]",
        scores_of: "Mapping[str, Sequence[Score]]",
    ) -> "list[Score]":
        """The weighted mean of its members' scores."""
        from annotation.scorers.ensemble import combine

        return combine(self, conversations, scores_of)

    @property
    def is_relative(self) -> bool:
        """z-scores within a prompt are."""
        return self.scale == "prompt"
