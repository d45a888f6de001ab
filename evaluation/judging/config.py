"""Who judges, and how."""

from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import Field

from contracts.config.base import Config
from evaluation.judging.files import PinnedFile
from runtime.chat_api.config import ChatModel, ChatResources

BenchmarkName = Literal["alpaca_eval", "arena_hard", "mt_bench"]
BENCHMARKS: tuple[BenchmarkName, ...] = get_args(BenchmarkName)
"""All that can be judged."""


class JudgeResources(ChatResources):
    """How a judge is asked."""

    concurrency: Annotated[int, Field(ge=1)] = 20
    """Requests in flight to begin with; 0.8 of them where over a tenth of the last two rounds were
    refused by a 429, one more after each full round of answers."""
    most_concurrency: Annotated[int, Field(ge=1)] = 64
    """Requests in flight at most."""
    attempts: Annotated[int, Field(ge=1)] = 8
    """Times a request is sent before its judgement is an error row: after 0.5 s, doubled up to
    30 s, or as long as the endpoint's `Retry-After` says."""
    max_unanswered_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the judgements that may end unanswered. Above it there is no result yet, and the
    same command asks for those alone."""
    smoke: Annotated[int, Field(ge=0)] = 4
    """Judgements made first: unless one of them can be read, no more are paid for. 0 for none."""
    max_cost: Annotated[float, Field(gt=0)] | None = None
    """Judging stops before it has cost more than this, by the longest judgement (`max_tokens`)
    that each request may bring; the same command goes on under a higher one. A request that was
    sent and brought no answer counts as one. In the currency of `prices`."""
    prices: Path | None = None
    """A YAML file of prices by model, for a million tokens: `gpt-4.1: {input: 2, output: 8}`."""


class LLMJudge(ChatModel):
    """A language model that judges answers to benchmarks."""

    temperature: Annotated[float, Field(ge=0)] | None = None
    """Null is the benchmark's own; with any other nothing compares with published figures."""
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    """Longest judgement; null is the benchmark's own."""
    logprobs: bool = True
    """AlpacaEval's preference by the log-probs of the judge's one token. False asks for none and
    takes the token as a hard label, which compares with no figures by log-probs."""
    readings: Annotated[int, Field(ge=1)] = 2
    """Times a judgement is asked for where what comes cannot be read. Arena-Hard's own second
    time is a follow-up in the same conversation."""
    repeats: Annotated[int, Field(ge=0)] = 50
    """Questions judged twice, which says how much the judge differs from itself; 0 for none."""
    resources: JudgeResources = JudgeResources()
    """How it is asked; no part of the result's identity."""


class JudgingConfig(Config):
    """One judge over one benchmark's answers."""

    benchmark: BenchmarkName
    """Whose prompts, games and files."""
    judge: LLMJudge
    """Who judges."""
    files: dict[str, PinnedFile] = Field({})
    """Of inputs that lie on the hub or must have a hash, by the input's name."""


class RunJudge(LLMJudge):
    """A judge of a run: of the start's answers and of every round's."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=60)]
    """What its folder and its rows are called."""
    benchmarks: list[BenchmarkName] | None = Field(None, min_length=1)
    """What it judges; null is each of `evaluation.benchmarks` that can be judged."""
    enabled: bool | None = None
    """Whether it is asked. Null: where its key is in the environment when the run is claimed,
    which holds for the whole run; set it to judge a run later that began without a key."""
