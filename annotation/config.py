"""How responses are scored, and how pairs are chosen from the scores."""

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from annotation.annotators.armorm import ArmoRMConfig
from annotation.annotators.base import AnnotatorVariant, ScoreResources
from annotation.annotators.classifier import ClassifierConfig
from annotation.annotators.ensemble import EnsembleConfig
from annotation.annotators.function import FunctionConfig
from annotation.annotators.judge import JudgeConfig
from annotation.annotators.pairwise import PairwiseConfig
from annotation.strategies.all_above_margin import AllAboveMargin
from annotation.strategies.base import StrategyVariant
from annotation.strategies.max_low_sigma import MaxLowSigma
from annotation.strategies.max_min import MaxMin
from annotation.strategies.max_random import MaxRandom
from annotation.strategies.max_second import MaxSecond
from contracts.config.base import Config
from contracts.config.variants import Variants

Annotator = Annotated[
    ArmoRMConfig
    | ClassifierConfig
    | PairwiseConfig
    | JudgeConfig
    | FunctionConfig
    | EnsembleConfig,
    Field(discriminator="kind"),
    Variants("onpolicy.annotators", AnnotatorVariant),
]
"""One source of scores."""


def scored_alone(annotators: Sequence[Annotator]) -> list[Annotator]:
    """The annotators whose score of a response does not depend on the prompt's other responses.

    Only these can compare two policies: comparisons and z-scores within a prompt have a mean of 0
    for every policy, and a single answer has none.
    """
    alone = [annotator for annotator in annotators if not annotator.is_relative]
    names = {annotator.name for annotator in alone}
    return [annotator for annotator in alone if names.issuperset(annotator.combines)]


class ScoreConfig(Config):
    """The scoring stage: every annotator scores every response."""

    annotators: Annotated[list[Annotator], Field(min_length=1)]
    """Who scores; each response gets one row from each."""
    resources: ScoreResources = ScoreResources()
    """Where and in what batches; no part of the result's identity."""

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [annotator.name for annotator in self.annotators]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"two annotators are named {twice[0]!r}; give each its own name")
        return self

    @model_validator(mode="after")
    def _members_are_annotators(self) -> Self:
        known = {annotator.name for annotator in self.annotators if not annotator.combines}
        for annotator in self.annotators:
            for member in annotator.combines:
                if member not in known:
                    raise ValueError(
                        f"ensemble {annotator.name!r}: no annotator is named {member!r}; "
                        f"there is {', '.join(sorted(known))}"
                    )
        return self


class CandidatesConfig(Config):
    """Whose scores decide, and which responses take part."""

    annotator: str | None = None
    """Whose scores decide; the only annotator where none is named."""
    truncated: Literal["keep", "drop", "never_chosen"] = "never_chosen"
    """What becomes of responses that were cut at the token limit; the recipe keeps them."""


Strategy = Annotated[
    MaxMin | MaxLowSigma | MaxRandom | MaxSecond | AllAboveMargin,
    Field(discriminator="kind"),
    Variants("onpolicy.pair_strategies", StrategyVariant),
]
"""How pairs are picked."""


class PairsConfig(CandidatesConfig):
    """Which two responses of a prompt become the chosen and the rejected one."""

    strategy: Strategy = MaxMin()
    """The best response against the worst (`max_min`, the recipe), one that is bad but not the
    worst of many (`max_low_sigma`), a random lower one (`max_random`), or the next lower
    (`max_second`); or every response against every lower one, several pairs a prompt
    (`all_above_margin`)."""
    length_penalty: float | Literal["auto"] = 0.0
    """Taken off a score for each token of the response, before anything is compared. `auto`: as
    much, at least 0, as makes chosen responses as long as rejected ones on average (DICE,
    arXiv 2406.09760)."""
    min_margin: Annotated[float, Field(ge=0)] = 0.0
    """Pairs with a smaller difference of scores are dropped; ties always are."""
    min_deviation: Annotated[float, Field(ge=0)] = 0.0
    """Prompts whose scores have a smaller standard deviation are dropped."""
    max_length_ratio: Annotated[float, Field(ge=1)] | None = None
    """Largest ratio of the longer response's tokens to the shorter one's."""
    max_length_difference: Annotated[int, Field(ge=0)] | None = None
    """Most tokens by which one response may be longer than the other."""
    max_similarity: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Largest share of three-word runs that chosen and rejected may have in common, e.g. 0.9."""
    seed: int = 0
    """Seed of strategies that draw; what is drawn for a prompt depends on nothing but it and the
    prompt."""


class DemonstrationsConfig(CandidatesConfig):
    """Which response of a prompt becomes its demonstration (best of n, for SFT)."""

    length_penalty: float = 0.0
    """Taken off a score for each token of the response, before anything is compared."""
    min_score: float | None = None
    """Prompts whose best response scores lower are dropped."""
