"""A language model that is asked for its judgement."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field

from annotation.annotators.base import AnnotatorVariant, Setting
from contracts.checks import Check
from runtime.chat_api.config import ChatModel, ChatResources
from runtime.chat_api.endpoint import key_of, refuse_unreachable

if TYPE_CHECKING:
    from annotation.scorers.protocol import Scorer


class JudgeResources(ChatResources):
    """How a judge is asked."""

    concurrency: Annotated[int, Field(ge=1)] = 16
    """Requests in flight, shared by the stage's workers."""
    attempts: Annotated[int, Field(ge=1)] = 12
    """Times a request is sent before the stage stops; it goes on from there when run again. The
    client waits 0.5 s, doubled up to 8 s, or as long as the endpoint says (at most 2 minutes)."""


class JudgeConfig(AnnotatorVariant, ChatModel):
    """A language model behind an OpenAI-compatible chat endpoint, asked for its judgement."""

    preloads: ClassVar[str] = "annotation.scorers.judge.scorer"
    keeps_answers: ClassVar[bool] = True
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

    def build(self, setting: Setting) -> "Scorer":
        """A client of the endpoint."""
        from annotation.scorers.judge.scorer import open_judge

        return open_judge(self, setting.answers)

    @property
    def is_relative(self) -> bool:
        """Games against the prompt's other responses are."""
        return self.compare == "pairwise"

    def checks(self, key: str) -> Iterator[Check]:
        """That there is a key, and somebody who listens."""
        who = f"annotator {self.name!r}"
        yield Check(f"{key}.resources.api_key_env", lambda: key_of(who, self))
        yield Check(f"{key}.base_url", lambda: refuse_unreachable(who, self))

    def shared_by(self, workers: int) -> Self:
        """The config with each worker's share of the requests in flight."""
        share = max(1, self.resources.concurrency // workers)
        resources = self.resources.model_copy(update={"concurrency": share})
        return self.model_copy(update={"resources": resources})
