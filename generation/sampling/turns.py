"""Later turns: what a prompt that follows another one asks, once that is answered.

Its ids are known only then. What was answered is read from the parts that are written, so a run
that is killed between two turns goes on from them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from contracts.chat import ChatFormat, Message, RowError
from contracts.tables.parts import part_path, read_part
from generation.config import SampleConfig
from generation.engines.requests import Asked, Plan, Prompt, Refused, Request
from generation.sampling.journal import Journals
from generation.sampling.prompts import read_prompts
from generation.sampling.scheduler import Parts


class Turns:
    """The requests of a plan's parts; those of later turns hold the answers before them."""

    def __init__(
        self, planned: Plan, prompts: Path, config: SampleConfig, chat: ChatFormat, context: int
    ) -> None:
        """
        Args:
            prompts: the folder that the plan was made from.
            context: most tokens of prompt and answer together.
        """
        self.planned = planned
        self._config = config
        self._chat = chat
        self._context = context
        self._prompts: dict[str, Prompt] = {}
        if any(one.follow_up for part in range(len(planned)) for one in planned.prompts_in(part)):
            self._prompts = {prompt.prompt_id: prompt for prompt in read_prompts(prompts)}

    def parts(self, missing: Sequence[int], out: Path, journals: Journals) -> Parts:
        """Index and requests of each missing part; None as long as what it follows is not written.

        Args:
            missing: indices, in order.
        """
        for index in missing:
            prompts = self.planned.prompts_in(index)
            needed = self.planned.part_of(
                before.prompt_id for one in prompts for before in self._before(one)
            )
            while any(map(journals.is_open, needed)):
                yield None
            answers = _answers(out, needed)
            yield index, [request for one in prompts for request in self._requests(one, answers)]

    def _before(self, one: Asked) -> list[Prompt]:
        """The turns before a prompt, the first one first."""
        before: list[Prompt] = []
        prompt = one.follow_up
        while prompt and prompt.follows:
            prompt = self._prompts[prompt.follows]
            before.insert(0, prompt)
        return before

    def _requests(self, one: Asked, answers: Mapping[str, str]) -> list[Request]:
        requests = self.planned.requests_of(one)
        if not one.follow_up:
            return requests
        return [self._after(one, request, answers) for request in requests]

    def _after(self, one: Asked, request: Request, answers: Mapping[str, str]) -> Request:
        """A later turn's request, its conversation put before it."""
        assert one.follow_up
        messages: list[Message] = []
        for before in self._before(one):
            answer = answers.get(f"{before.prompt_id}-{request.sample}")
            if answer is None:
                says = f"{before.prompt_id} has no answer"
                return replace(request, prompt=[], refusal=Refused("no_turn_before", says))
            messages += [*before.messages, {"role": "assistant", "content": answer}]
        try:
            ids = self._chat.prompt_ids([*messages, *one.follow_up.messages])
        except RowError as error:
            return replace(request, prompt=[], refusal=Refused(error.reason, str(error)))
        room = self._context - one.decoding.get("max_tokens", self._config.max_tokens)
        if len(ids) > room:
            says = f"{len(ids)} tokens with the turns before; {room} have room"
            return replace(request, prompt=[], refusal=Refused("prompt_too_long", says))
        return replace(request, prompt=ids)


def _answers(out: Path, parts: Iterable[int]) -> dict[str, str]:
    """Texts of these parts by response id."""
    texts: dict[str, str] = {}
    for index in parts:
        table = read_part(part_path(out, index), ["response_id", "text"])
        texts |= dict(zip(*(column.to_pylist() for column in table.columns), strict=True))
    return texts
