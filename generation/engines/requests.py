"""From prompts to requests: token ids, seeds and places, all known before an engine starts."""

import hashlib
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
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


class Plan:
    """The requests of each part, made when they are asked for: until then an id takes 4 bytes."""

    def __init__(self, prompts: Sequence[tuple[str, "array[int]"]], config: SampleConfig) -> None:
        """
        Args:
            prompts: id and token ids of each.
        """
        self._prompts = prompts
        self._config = config

    def __len__(self) -> int:
        """Parts."""
        return -(-len(self._prompts) // self._config.prompts_per_part)

    def __getitem__(self, index: int) -> list[Request]:
        prompts = self._of(index)
        return [request for name, ids in prompts for request in self._requests(name, ids)]

    def __iter__(self) -> Iterator[list[Request]]:
        return (self[index] for index in range(len(self)))

    def requests_in(self, index: int) -> int:
        """How many a part has."""
        return len(self._of(index)) * self._config.samples

    @property
    def requests(self) -> int:
        """How many there are in all."""
        return len(self._prompts) * self._config.samples

    @property
    def longest_prompt(self) -> int:
        """In tokens."""
        return max(len(ids) for _, ids in self._prompts)

    def _of(self, index: int) -> Sequence[tuple[str, "array[int]"]]:
        size = self._config.prompts_per_part
        return self._prompts[index * size : (index + 1) * size]

    def _requests(self, prompt_id: str, ids: "array[int]") -> list[Request]:
        config, prompt = self._config, ids.tolist()
        seeds = config.seeds or [sample_seed(config.seed, prompt_id, i) for i in range(config.n)]
        return [Request(prompt_id, sample, seed, prompt) for sample, seed in enumerate(seeds)]


def plan(
    prompts: Iterable[tuple[str, list[Message]]],
    config: SampleConfig,
    chat: ChatFormat,
    context: int,
    dropped: Counter[str],
) -> Plan:
    """What is to be asked. Prompts that cannot be are counted in `dropped`.

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
        asked.append((prompt_id, array("i", ids)))
    return Plan(asked, config)
