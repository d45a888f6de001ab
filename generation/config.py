"""The configs of the generation stages."""

import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from contracts.config.base import Config
from contracts.config.variants import Variants
from contracts.errors import UserError
from generation.engine_kinds.base import EngineVariant
from generation.engine_kinds.transformers import TransformersEngine
from generation.engine_kinds.vllm import VllmEngine

Split = Literal["train", "test"]


class PromptSource(Config):
    """One source of a mixture of prompts."""

    path: str
    """Hub id (owner/name), or a .jsonl, .json (a list of records), both also .gz, or .parquet."""
    hub_split: str = "train"
    """Split of a hub dataset, e.g. train_prefs."""
    revision: str | None = None
    """Revision of a hub dataset; pin a commit for runs that must be repeatable."""
    column: str = "prompt"
    """Column of the prompts: text, or a message list whose closing answers are cut off."""
    system: str | None = Field(None, min_length=1)
    """System message put before every prompt that has none."""
    weight: float | None = Field(None, gt=0)
    """Share of the mixture, relative to the other weights; without weights all is taken."""
    limit: int | None = Field(None, ge=1)
    """Take at most the first so many different prompts of this source."""

    @property
    def reference(self) -> str:
        """The prompts as a stage's input: a path, or owner/name@revision."""
        is_hub = self.revision and not Path(self.path).exists()
        return f"{self.path}@{self.revision}" if is_hub else self.path


class PromptsConfig(Config):
    """Where the prompts come from, and which are held out."""

    path: str | None = None
    """The one source: a hub id (owner/name), or a .jsonl, .json (also .gz) or .parquet file."""
    hub_split: str = "train"
    """Split of a hub dataset, e.g. train_prefs."""
    revision: str | None = None
    """Revision of a hub dataset; pin a commit for runs that must be repeatable."""
    column: str = "prompt"
    """Column of the prompts: text, or a message list whose closing answers are cut off."""
    system: str | None = Field(None, min_length=1)
    """System message put before every prompt that has none."""
    sources: list[PromptSource] = Field([])
    """Several sources instead of `path`, each with its own keys, weight and limit."""
    limit: int | None = Field(None, ge=1)
    """Take the first so many different prompts; of a mixture, so many in all."""
    test_size: int = Field(0, ge=0)
    """Prompts held out: those with the lowest hash of seed and question. Adding prompts
    changes the choice only where a new prompt's hash is among the lowest."""
    seed: int = 42
    """Seed of the held-out choice."""
    near_duplicates: float | None = Field(None, gt=0, le=1)
    """Take out prompts at least so like an earlier one (Jaccard index of their three-word
    runs, e.g. 0.8); null takes out exact duplicates only."""
    decontaminate: list[str] = Field([])
    """Files of benchmark questions that no prompt may hold: AlpacaEval, Arena-Hard, MT-Bench."""
    decontaminate_ngram: int = Field(8, ge=2)
    """Words in a run that counts as shared with a question (Tulu 3: 8; GPT-3: 13)."""
    decontaminate_overlap: float = Field(0.5, ge=0, le=1)
    """Take a prompt out if it holds this share of a question's runs; 0: a single one is enough."""

    @property
    def mixture(self) -> list[PromptSource]:
        """The sources, however they are given."""
        if self.path is None:
            return self.sources
        keys = ("path", "hub_split", "revision", "column", "system")
        return [PromptSource(**{key: getattr(self, key) for key in keys})]

    @model_validator(mode="after")
    def _sources_are_clear(self) -> "PromptsConfig":
        if (self.path is None) == (not self.sources):
            raise ValueError("give the prompts as `path`, or as a list of `sources`")
        if self.limit is not None and self.limit <= self.test_size:
            raise ValueError(
                f"limit: {self.limit} prompts, of which test_size holds out {self.test_size}, "
                "leave none to train on; raise limit or lower test_size"
            )
        weights = [source.weight for source in self.sources]
        if None in weights and any(weights):
            raise ValueError("give every source a weight, or none of them")
        fields = type(self).model_fields
        for key in ("hub_split", "revision", "column", "system"):
            if self.sources and getattr(self, key) != fields[key].default:
                raise ValueError(f"{key}: belongs under each of the sources")
        return self


class SelectConfig(Config):
    """Which prompts a round takes."""

    splits: list[Split] = Field(["train"], min_length=1)
    """Splits to take prompts from."""
    start: int = Field(0, ge=0)
    """First place of the slice, in a seeded order that depends on the prompts' ids alone."""
    count: int | None = Field(None, ge=1)
    """Length of the slice; null takes all that is left."""
    seed: int = 42
    """Seed of that order; the same in every round, so that slices do not overlap."""


Engine = Annotated[
    VllmEngine | TransformersEngine,
    Field(discriminator="kind"),
    Variants("onpolicy.engines", EngineVariant),
]
"""What runs the model."""


class SampleConfig(Config):
    """How responses are sampled. The defaults are the recipe's (section 1)."""

    n: int = Field(5, ge=1)
    """Samples per prompt."""
    temperature: float = Field(0.8, ge=0)
    """Softmax temperature; 0 is greedy."""
    top_p: float = Field(0.95, gt=0, le=1)
    """Keep the likeliest tokens up to this probability."""
    top_k: int = Field(0, ge=0)
    """Keep so many likeliest tokens; 0 keeps all."""
    min_p: float = Field(0.0, ge=0, le=1)
    """Drop tokens less likely than this share of the likeliest one's probability."""
    max_tokens: int = Field(4096, ge=1)
    """Most tokens in an answer, its end of turn included."""
    stop: list[Annotated[str, Field(min_length=1)]] = Field([])
    """Strings that end an answer; they are cut off its text."""
    seed: int = Field(42, ge=0, lt=2**63)
    """Each sample's own seed is a hash of this, the prompt's id and the sample's index."""
    seeds: list[Annotated[int, Field(ge=0, lt=2**63)]] | None = Field(None, min_length=1)
    """Seeds used as they are, one sample each (the recipe: 13, 21, 42, 79, 100); replaces n."""
    logprobs: bool = False
    """Store the log-probability of each answer under the policy (temperature 1)."""
    prompts_per_part: int = Field(64, ge=1)
    """Prompts in one part file, with all their samples."""
    max_model_len: int | None = Field(None, ge=2)
    """Longest prompt + answer in tokens; null is the model's own limit."""
    bos: Literal["template", "prepend"] = "template"
    """Who gives the BOS token, as in the model's config."""
    date: datetime.date | None = None
    """The day that a chat template is told which reads the clock, as in the model's config."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Precision of the weights. `auto` is float32 on the CPU; on a GPU the model's own, or where
    that is float32, or none of the GPU's, bfloat16 (float16 before compute capability 8.0)."""
    engine: Engine = VllmEngine()
    """What runs the model."""

    def context(self, limit: int, told: str = "") -> int:
        """Most tokens of prompt and answer together, of a model that looks at `limit`.

        Args:
            told: the message's beginning.

        Raises:
            UserError: an answer of `max_tokens` leaves no room for a prompt.
        """
        context = min(self.max_model_len or limit, limit)
        if self.max_tokens >= context:
            raise UserError(
                f"{told}{self.max_tokens} leaves no room for a prompt in the policy's context of "
                f"{context} tokens; lower it"
            )
        return context

    @property
    def samples(self) -> int:
        """Samples per prompt, whichever way they are asked for."""
        return len(self.seeds) if self.seeds else self.n

    @model_validator(mode="after")
    def _samples_differ(self) -> "SampleConfig":
        if self.temperature == 0 and self.samples > 1:
            raise ValueError("temperature 0 makes every sample the same: set n: 1")
        if self.seeds and len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds holds a seed twice, which makes the same sample twice")
        if self.max_model_len and self.max_tokens >= self.max_model_len:
            raise ValueError("max_tokens leaves no room for a prompt: it must be < max_model_len")
        return self
