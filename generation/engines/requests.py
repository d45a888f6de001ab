"""From prompts to requests: token ids, seeds and places, all known before an engine starts."""

import hashlib
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from contracts.chat import ChatFormat, Message, RowError
from contracts.errors import UserError
from generation.config import SampleConfig

DECODING = ("temperature", "top_p", "max_tokens")
"""The keys of the sampling config that a prompt may have a value of its own for."""

Decoding = Mapping[str, float]
"""A prompt's own values of some of these."""
_CONFIGS_OWN: Decoding = {}


@dataclass(frozen=True)
class Refused:
    """Why a later turn is not asked. Trying again would not help, so it is not a failure."""

    reason: str
    """What it is counted under, as a prompt that is left out."""
    says: str

    def __str__(self) -> str:
        """As a table has it."""
        return f"{self.reason}: {self.says}"


@dataclass(frozen=True)
class Request:
    """One sample to draw."""

    prompt_id: str
    sample: int
    seed: int
    prompt: list[int]
    """Token ids, ready to be answered."""
    decoding: Decoding = field(default_factory=lambda: _CONFIGS_OWN)
    """What it has in place of the config's values."""
    refusal: Refused | None = None
    """Why it cannot be asked, and no engine gets it."""

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
    # 63 bits, since the table's column is a signed int64.
    return int.from_bytes(digest[:8], "big") >> 1


@dataclass(frozen=True)
class Prompt:
    """A row of PROMPTS, or of a table that says more of each prompt."""

    prompt_id: str
    messages: list[Message]
    n: int | None = None
    """Samples, in place of the config's; a follow-up has as many as what it follows."""
    decoding: Decoding = field(default_factory=lambda: _CONFIGS_OWN)
    follows: str | None = None
    """Id of the prompt whose conversation, with its answer, `messages` go on with."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt that can be asked; until then one of its ids takes 4 bytes."""

    prompt_id: str
    ids: "array[int]"
    """Token ids; of a follow-up, those of its own messages alone."""
    n: int
    decoding: Decoding
    turn: int = 0
    follow_up: Prompt | None = None
    """The prompt itself, where its ids are known only with the answer before it."""


class Plan:
    """The requests of each part, made when they are asked for. Each turn has parts of its own,
    after those of the turns before it."""

    def __init__(self, prompts: Sequence[Asked], config: SampleConfig) -> None:
        self._config = config
        size = config.prompts_per_part
        self._parts = [
            prompts_of_turn[first : first + size]
            for _, group in groupby(prompts, key=lambda one: one.turn)
            for prompts_of_turn in [list(group)]
            for first in range(0, len(prompts_of_turn), size)
        ]

    def __len__(self) -> int:
        """Parts."""
        return len(self._parts)

    def __getitem__(self, index: int) -> list[Request]:
        return [request for one in self.prompts_in(index) for request in self.requests_of(one)]

    def __iter__(self) -> Iterator[list[Request]]:
        return (self[index] for index in range(len(self)))

    def prompts_in(self, index: int) -> Sequence[Asked]:
        """The prompts of a part."""
        return self._parts[index]

    def requests_in(self, index: int) -> int:
        """The number of requests in a part."""
        return sum(one.n for one in self.prompts_in(index))

    def part_of(self, prompt_ids: Iterable[str]) -> set[int]:
        """The parts that hold these prompts."""
        ids = set(prompt_ids)
        parts = enumerate(self._parts)
        return {i for i, part in parts if any(one.prompt_id in ids for one in part)}

    @property
    def requests(self) -> int:
        """The number of requests in all parts."""
        return sum(map(self.requests_in, range(len(self))))

    @property
    def longest(self) -> int:
        """The largest number of tokens of a prompt and its answer together."""
        lengths: dict[str, int] = {}
        for part in self._parts:
            for one in part:
                before = lengths.get(one.follow_up.follows or "", 0) if one.follow_up else 0
                room = one.decoding.get("max_tokens", self._config.max_tokens)
                lengths[one.prompt_id] = before + len(one.ids) + int(room)
        return max(lengths.values())

    def requests_of(self, one: Asked) -> list[Request]:
        """A prompt's requests, by its ids."""
        config, prompt = self._config, one.ids.tolist()
        # One request a sample: to `n` samples of one request vLLM gives the seeds s to s + n - 1,
        # so that requests with neighbouring seeds would share samples.
        seeds = config.seeds or [sample_seed(config.seed, one.prompt_id, i) for i in range(one.n)]
        return [
            Request(one.prompt_id, sample, seed, prompt, one.decoding)
            for sample, seed in enumerate(seeds)
        ]


def plan_requests(
    prompts: Iterable[Prompt],
    config: SampleConfig,
    chat: ChatFormat,
    context: int,
    dropped: Counter[str],
) -> Plan:
    """The requests for all prompts. Prompts that cannot be asked are counted in `dropped`.

    A prompt must leave room for `max_tokens` in the context of `context` tokens: an answer
    cut by the context would look like one that max_tokens cut.

    Raises:
        UserError: a prompt follows one that is not before it in the table.
    """
    planned: dict[str, Asked] = {}
    left_out: set[str] = set()
    followed: set[str] = set()
    for prompt in prompts:
        if reason := _plan_one(prompt, config, chat, context, planned, left_out):
            dropped[reason] += 1
            left_out.add(prompt.prompt_id)
        elif prompt.follows:
            followed.add(prompt.follows)
    # What is followed comes first, so that its answers are there before the others are through.
    return Plan(
        sorted(planned.values(), key=lambda one: (one.turn, one.prompt_id not in followed)), config
    )


def _plan_one(
    prompt: Prompt,
    config: SampleConfig,
    chat: ChatFormat,
    context: int,
    planned: dict[str, Asked],
    left_out: set[str],
) -> str | None:
    """Add a prompt to those asked, or say why it cannot be."""
    before = planned.get(prompt.follows) if prompt.follows else None
    if prompt.follows and not before:
        if prompt.follows not in left_out:
            raise UserError(f"{prompt.prompt_id}: follows {prompt.follows}, which is not before it")
        return "turn_before_left_out"
    try:
        ids = chat.prompt_ids(prompt.messages)
    except RowError as error:
        return error.reason
    if len(ids) + prompt.decoding.get("max_tokens", config.max_tokens) > context:
        return "prompt_too_long"
    n = before.n if before else len(config.seeds) if config.seeds else prompt.n or config.n
    turn, follow_up = (before.turn + 1, prompt) if before else (0, None)
    planned[prompt.prompt_id] = Asked(
        prompt.prompt_id, array("i", ids), n, prompt.decoding, turn, follow_up
    )
    return None
