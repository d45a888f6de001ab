"""What every annotator's config is: a name, and how its scorer is built.

A config is read where no model is, so what computes is imported where it is built.
"""

import datetime
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field

from contracts.checks import Check, refuse_absent
from contracts.config.base import Config, FileName, Resources
from contracts.models.model import ModelConfig, load_tokenizer, local_folder
from contracts.models.weights import read_config
from runtime.cluster.config import Cluster
from runtime.device import what_auto_is

if TYPE_CHECKING:
    from annotation.scorers.judge.answers import JudgeAnswers
    from annotation.scorers.protocol import Conversation, Score, Scorer

DateOf = Callable[[ModelConfig], datetime.date | None]


class ScoreResources(Resources):
    """How scoring runs."""

    device: str = "auto"
    """`auto` (a CUDA device where there is one), `cpu`, `cuda` or `cuda:1`."""
    workers: Annotated[int, Field(ge=0)] | None = None
    """Worker processes, each with the models, that take parts off one list. Null is one for each
    GPU that can be seen; on a CPU, or with no model to load, it is 0: the stage's own process,
    where a crash ends the stage."""
    cluster: Cluster | None = None
    """Where the workers run: null is this machine. The run's `resources.cluster`, unless given.
    Annotators that keep answers (a judge) are asked from this machine alone."""
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


@dataclass(frozen=True)
class Setting:
    """What a scorer is built with, beside its config."""

    resources: ScoreResources
    reference: str = ""
    """The model, by the commit that the run has fixed; empty where there is none."""
    answers: "JudgeAnswers | None" = None
    """Where answers that cost money are kept."""


class AnnotatorVariant(Config, ABC):
    """One source of scores."""

    preloads: ClassVar[str] = ""
    """The module to import early, where building it takes seconds."""
    keeps_answers: ClassVar[bool] = False
    """Whether it needs `Setting.answers`."""
    name: FileName
    """The annotator's name in the tables."""
    kind: str

    @abstractmethod
    def build(self, setting: Setting) -> "Scorer":
        """The annotator, ready to score.

        Raises:
            UserError: it cannot be used; says why.
        """

    @property
    def reference(self) -> str | None:
        """The model that is loaded here, if any."""
        return None

    @property
    def is_relative(self) -> bool:
        """Whether a response's score depends on the prompt's other responses."""
        return False

    @property
    def combines(self) -> Sequence[str]:
        """The annotators whose scores it combines; empty for one that scores by itself."""
        return ()

    def combine(
        self,
        conversations: "Sequence[Conversation]",
        scores_of: "Mapping[str, Sequence[Score]]",
    ) -> "list[Score]":
        """A score for each response, made of the scores of those it `combines`.

        Args:
            scores_of: their scores by name, in the order of the conversations' responses.
        """
        raise NotImplementedError(f"{self.kind} combines no scores")

    @property
    def looked_at(self) -> str:
        """What `look_inside` opens, for messages."""
        return self.reference or f"annotator {self.name!r}"

    def checks(self, key: str) -> Iterator[Check]:
        """The checks that need only files, headers and the environment; nothing is imported."""
        yield from ()

    def look_inside(self) -> None:
        """Import or open what the annotator names. A model that is only on the hub passes.

        Raises:
            UserError: says what is amiss.
        """

    def here(self, device: str) -> Mapping[str, str]:
        """What of this machine decides this annotator's scores, by its name in messages."""
        return {}

    def shared_by(self, workers: int) -> Self:
        """The annotator's config in each of `workers` workers."""
        return self

    def at(self, reference: str) -> Self:
        """The annotator with its model at another reference."""
        return self

    def dated(self, date_of: DateOf) -> Self:
        """The annotator whose model is told the day, unless it is told one or needs none."""
        return self

    def cutting(self) -> Self:
        """The annotator that scores the beginning of what is too long for it."""
        return self

    def exact(self, resources: ScoreResources) -> Self | None:
        """The annotator in float32; None where it computes in no less."""
        return None


class RewardModel(ModelConfig, AnnotatorVariant):
    """What the annotators with a model share."""

    applies_template: ClassVar[bool] = True
    """Whether it reads conversations through its tokenizer's chat template."""
    max_length: Annotated[int, Field(ge=8)] = 4096
    """Longest conversation in tokens (ArmoRM's own limit: recipe, section 3)."""
    too_long: Literal["error", "truncate"] = "error"
    """A longer conversation has no score, or is scored on its first `max_length` tokens."""
    pad_token: str | None = None
    """Padding token where model and tokenizer name none; never the end-of-turn token."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """The backbone's dtype; `auto` is bfloat16 on CUDA and float32 on the CPU, each a step of its
    own."""

    def refuse_headless(self) -> None:
        """Refuse a model without the layers that make its score.

        Raises:
            UserError: the model's files, where they are here, lack its heads.
        """

    def checks(self, key: str) -> Iterator[Check]:
        """That the model is there, with its heads."""
        yield Check(f"{key}.path", lambda: refuse_absent(self.reference))
        yield Check(f"{key}.path", self.refuse_headless, of=self.reference)

    def look_inside(self) -> None:
        """Try its tokenizer and template."""
        if not (folder := local_folder(self.reference)):
            return
        from annotation.scorers.padding import pad_id_of
        from contracts.chat import ChatFormat

        settings = read_config(folder)
        settings = settings.get("text_config") or settings
        chat = ChatFormat(load_tokenizer(self.reference), self.bos, self.date)
        pad_id_of(self, chat, settings.get("pad_token_id"), settings.get("vocab_size"))

    def here(self, device: str) -> Mapping[str, str]:
        """What `dtype: auto` means on this machine."""
        dtypes = what_auto_is(self.dtype, device)
        return {f"{self.name} {key}": value for key, value in dtypes.items()}

    def dated(self, date_of: DateOf) -> Self:
        """The annotator with the day that its chat template is told, if it applies a template."""
        return super().dated(date_of) if self.applies_template else self

    def cutting(self) -> Self:
        """The annotator with conversations that are too long truncated, not refused."""
        return self.model_copy(update={"too_long": "truncate"})

    def exact(self, resources: ScoreResources) -> Self | None:
        """The same annotator in float32; None if these resources run it in float32 anyway."""
        import torch

        from annotation.scorers.reward_models import placement

        if placement(self, resources)[1] == torch.float32:
            return None
        return self.model_copy(update={"dtype": "float32"})
