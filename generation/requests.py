"""From prompts to requests: token ids, seeds and places, all known before an engine starts."""

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from contracts.chat import ChatFormat, Message, RowError
from generation.config import SampleConfig


@dataclass(frozen=True)
class Request:
    """One sample to draw."""

    prompt_id: str
    sample: int
    seed: int
    prompt: list[int]
    """Token ids, ready to be answered."""

    @property
    def response_id(self) -> str:
        """Unique in a table, and the same in every run of the step."""
        return f"{self.prompt_id}-{self.sample}"


@dataclass(frozen=True)
class Sample:
    """What an engine answered to a request."""

    response_id: str
    tokens: list[int]
    """Token ids, the one that ended the answer included."""
    finish_reason: str
    """`stop`, or `length` where max_tokens cut the answer."""
    logprob: float | None = None
    """Sum of the tokens' log-probs before temperature and filters."""


@dataclass(frozen=True)
class Failure:
    """Why a request has no sample; never a stand-in for one."""

    response_id: str
    error: str


Outcome = Sample | Failure


def sample_seed(run_seed: int, prompt_id: str, sample: int) -> int:
    """A sample's own seed, in [0, 2**63): a hash, so neither order nor slices move it."""
    digest = hashlib.sha256(f"{run_seed}:{prompt_id}:{sample}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def plan(
    prompts: Iterable[tuple[str, list[Message]]],
    config: SampleConfig,
    chat: ChatFormat,
    context: int,
    dropped: Counter[str],
) -> list[list[Request]]:
    """The requests of each part. Prompts that cannot be asked are counted in `dropped`.

    A prompt must leave room for `max_tokens` in the context of `context` tokens: an answer
    cut by the context would look like one that max_tokens cut.
    """
    asked = []
    for prompt_id, messages in prompts:
        try:
            ids = chat.prompt_ids(messages)
        except RowError as error:
            dropped[error.reason] += 1
            continue
        if len(ids) + config.max_tokens > context:
            dropped["prompt_too_long"] += 1
            continue
        asked.append(_requests(prompt_id, ids, config))
    size = config.prompts_per_part
    return [
        [request for prompt in asked[first : first + size] for request in prompt]
        for first in range(0, len(asked), size)
    ]


def _requests(prompt_id: str, ids: list[int], config: SampleConfig) -> list[Request]:
    seeds = config.seeds or [sample_seed(config.seed, prompt_id, i) for i in range(config.n)]
    return [Request(prompt_id, sample, seed, ids) for sample, seed in enumerate(seeds)]
