"""How responses are scored, and how pairs are chosen from the scores."""

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from contracts.config.base import Config, Resources
from contracts.models.model import ModelConfig
from runtime.chat.config import ChatModel


class ScoreResources(Resources):
    """How scoring runs."""

    device: str = "auto"
    """`auto` (a CUDA device where there is one), `cpu`, `cuda` or `cuda:1`."""
    workers: Annotated[int, Field(ge=0)] | None = None
    """Worker processes, each with the models, that take parts off one list. Null is one for each
    GPU that can be seen; on a CPU, or with no model to load, it is 0: the stage's own process,
    where a crash ends the stage."""
    hang_timeout: Annotated[float, Field(ge=3)] | None = 600
    """Seconds without a sign of life from a worker that scores, after which it is killed and the
    part counts as one that crashed it; null waits for ever. A sign comes with each batch."""
    load_timeout: Annotated[float, Field(ge=3)] | None = 1800
    """Seconds in which a worker must have loaded its models, after which it is given up: the
    others go on, and the last one's end is the stage's; null waits for ever."""
    batch_tokens: Annotated[int, Field(ge=1)] | None = None
    """Tokens a batch may hold, padding included; halved where they do not fit the memory.

    By default 16,384 on a GPU; 2,048 on a CPU, where larger ones leave its caches (10 % slower).
    """
    layout: Literal["auto", "shared", "packed", "padded"] = "auto"
    """ArmoRM batches: the prompt once for all its responses, attention for each response on its
    own (`shared`) or in one call through FlexAttention (`packed`), or right-padded conversations.
    `auto` is `packed` on CUDA, where small calls cost more than they compute, else `shared`."""
    agreement_prompts: Annotated[int, Field(ge=0)] = 64
    """Prompts scored once more in float32 where a reward model runs in less; the report says how
    far the two agree. 0 for none. The scores themselves stay as they are."""


class _Named(Config):
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]*$")]
    """The annotator's name in the tables."""


class RewardModel(ModelConfig, _Named):
    """What the annotators with a model share."""

    max_length: Annotated[int, Field(ge=8)] = 4096
    """Longest conversation in tokens (ArmoRM's own limit: recipe, section 3)."""
    too_long: Literal["error", "truncate"] = "error"
    """A longer conversation has no score, or is scored on its first `max_length` tokens."""
    pad_token: str | None = None
    """Padding token where model and tokenizer name none; never the end-of-turn token."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """The backbone's dtype; `auto` is bfloat16 on CUDA and float32 on the CPU, each a step of its
    own."""


class ArmoRMConfig(RewardModel):
    """A reward model of ArmoRM's kind: raw objectives and a gate that weighs them."""

    kind: Literal["armorm"] = "armorm"
    weights: dict[str, float] | None = None
    """Weights of your own over the raw objectives, by name, in place of the gate's."""
    engine: Literal["native", "vllm"] = "native"
    """What computes it: our own batches, the faster ones on a CPU, or vLLM with its prefix cache.
    In the identity, for in bfloat16 their last bits decide near ties differently."""


class ClassifierConfig(RewardModel):
    """Any sequence classifier with one label, e.g. Skywork's or FsfairX's reward models."""

    kind: Literal["classifier"] = "classifier"


class PairwiseConfig(RewardModel):
    """A model that compares two responses: PairRM's published architecture.

    Every two responses of a prompt are compared in both orders; a score is the mean logit over
    the others, so it orders one prompt's responses and says nothing across prompts.
    """

    kind: Literal["pairwise"] = "pairwise"
    max_length: Annotated[int, Field(ge=24)] = 2048
    """Longest prompt with two responses, in tokens (PairRM's own limit)."""
    prompt_length: Annotated[int, Field(ge=8)] = 1224
    """Longest prompt in tokens; each response gets half of what it leaves (PairRM's own limit)."""


ModelAnnotator = ArmoRMConfig | ClassifierConfig | PairwiseConfig
"""The annotators whose model runs here."""


class _NoModel(_Named):
    @property
    def reference(self) -> None:
        """There is no model to load."""
        return None


class FunctionConfig(_NoModel):
    """A Python function `(messages, response text) -> float`, for rewards that can be computed."""

    kind: Literal["function"] = "function"
    function: Annotated[str, Field(pattern=r"^[\w.]+:\w+$")]
    """Where it is: `module:callable`. The module is imported, so name only code you trust."""
    version: int = 1
    """Raise it when something changes that the function's own module does not show, such as what
    it imports or reads: scores made before are then not taken for its own."""


class JudgeResources(Resources):
    """How a judge is asked."""

    concurrency: Annotated[int, Field(ge=1)] = 16
    """Requests in flight, shared by the stage's workers."""
    attempts: Annotated[int, Field(ge=1)] = 12
    """Times a request is sent before the stage stops; it goes on from there when run again. The
    client waits 0.5 s, doubled up to 8 s, or as long as the endpoint says (at most 2 minutes)."""
    timeout: Annotated[float, Field(gt=0)] = 120.0
    """Seconds that one answer may take."""


class JudgeConfig(_NoModel, ChatModel):
    """A language model behind an OpenAI-compatible chat endpoint, asked for its judgement."""

    kind: Literal["judge"] = "judge"
    compare: Literal["pairwise", "pointwise"] = "pairwise"
    """Every two responses of a prompt in both orders (the score is games won less games lost,
    over all games), or each response alone on a scale of 1 to 10."""
    criteria: str = "helpfulness, correctness, depth and clarity"
    """What is to be judged, put into the question."""
    temperature: Annotated[float, Field(ge=0)] = 0.0
    """Sampling temperature of the judge."""
    max_tokens: Annotated[int, Field(ge=1)] = 1024
    """Longest judgement in tokens."""
    resources: JudgeResources = JudgeResources()
    """How it is asked; no part of the result's identity."""


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


class EnsembleConfig(_NoModel):
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


Annotator = Annotated[
    ArmoRMConfig
    | ClassifierConfig
    | PairwiseConfig
    | JudgeConfig
    | FunctionConfig
    | EnsembleConfig,
    Field(discriminator="kind"),
]
"""One source of scores."""


def scored_alone(annotators: Sequence[Annotator]) -> list[Annotator]:
    """Those whose score of a response does not depend on the prompt's other responses.

    Only they tell one policy from another: comparisons and z-scores within a prompt have a mean
    of 0 whatever the policy, and a single answer has none.
    """
    alone = [annotator for annotator in annotators if not _is_relative(annotator)]
    names = {annotator.name for annotator in alone}
    return [
        annotator
        for annotator in alone
        if not isinstance(annotator, EnsembleConfig)
        or names.issuperset(member.name for member in annotator.members)
    ]


def _is_relative(annotator: Annotator) -> bool:
    if isinstance(annotator, JudgeConfig):
        return annotator.compare == "pairwise"
    if isinstance(annotator, EnsembleConfig):
        return annotator.scale == "prompt"
    return isinstance(annotator, PairwiseConfig)


class ScoreConfig(Config):
    """Scoring every response with every annotator."""

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
        known = {a.name for a in self.annotators if not isinstance(a, EnsembleConfig)}
        for ensemble in self.ensembles:
            for member in ensemble.members:
                if member.name not in known:
                    raise ValueError(
                        f"ensemble {ensemble.name!r}: no annotator is named {member.name!r}; "
                        f"there is {', '.join(sorted(known))}"
                    )
        return self

    @property
    def ensembles(self) -> list[EnsembleConfig]:
        """The annotators that are computed from others' scores."""
        return [a for a in self.annotators if isinstance(a, EnsembleConfig)]


class CandidatesConfig(Config):
    """Whose scores decide, and which responses take part."""

    annotator: str | None = None
    """Whose scores decide; the only annotator where none is named."""
    truncated: Literal["keep", "drop", "never_chosen"] = "never_chosen"
    """What becomes of responses that were cut at the token limit; the recipe keeps them."""
    length_penalty: float = 0.0
    """Taken off a score for each token of the response, before anything is compared."""


class PairsConfig(CandidatesConfig):
    """Which two responses of a prompt become the chosen and the rejected one."""

    strategy: Literal["max_min", "max_random", "max_second", "all_above_margin"] = "max_min"
    """The best response against the worst (the recipe), a random lower one, or the next lower;
    or every response against every lower one, several pairs a prompt."""
    min_margin: Annotated[float, Field(ge=0)] = 0.0
    """Pairs with a smaller difference of scores are dropped; ties always are."""
    min_deviation: Annotated[float, Field(ge=0)] = 0.0
    """Prompts whose scores have a smaller standard deviation are dropped."""
    max_length_ratio: Annotated[float, Field(ge=1)] | None = None
    """Largest ratio of the longer response's tokens to the shorter one's."""
    max_similarity: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Largest share of three-word runs that chosen and rejected may have in common, e.g. 0.9."""
    seed: int = 0
    """Seed of `max_random`; what is drawn for a prompt depends on nothing but it and the prompt."""


class DemonstrationsConfig(CandidatesConfig):
    """Which response of a prompt becomes its demonstration (best of n, for SFT)."""

    min_score: float | None = None
    """Prompts whose best response scores lower are dropped."""
