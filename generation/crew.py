"""The crew: one worker process per group of GPUs, work from one shared list, behind the
protocol of an engine.

A worker that dies gives its batches back. Killed from outside (SIGKILL, SIGTERM), it says
nothing against them. Where the engine itself crashed or hung, one of the requests in flight
may be why: the new worker gets them in halves, each half alone, until the one is found that
crashes it by itself, for the second time. That request becomes a failure, the others go on.
"""

import logging
from collections import Counter, deque
from collections.abc import Sequence
from typing import Any

from contracts.site import Site
from contracts.workers import Deaths, hear
from generation.engines import Batch, Job
from generation.member import Member
from generation.requests import Failure, Outcome, Sample

log = logging.getLogger(__name__)

_TRIES = 2


class Crew:
    """Several engines, each in a process of its own, used as one."""

    def __init__(self, site: Site, job: Job, batch: int) -> None:
        """Start the workers and wait for the first that is ready.

        Raises:
            UserError: an engine is not installed, or the model cannot be loaded.
            OnPolicyError: no worker lives long enough to be ready.
        """
        self.batch = batch
        self._queue: deque[Batch] = deque()
        self._crashes: Counter[str] = Counter()
        self._deaths = Deaths("sampling", "sample")
        self._members = [Member(site, job, number) for number in range(site.workers)]
        try:
            while not self.capacity:
                self._hear()
        except BaseException:
            self.close()
            raise

    @property
    def capacity(self) -> int:
        """Requests to keep in flight, at all workers that were ever ready."""
        return sum(member.capacity for member in self._members)

    def add(self, requests: Batch) -> None:
        """Put a batch on the shared list."""
        self._queue.append(requests)

    def step(self) -> list[Outcome]:
        """Hand out work and wait until a worker has something to say."""
        self._hand_out()
        return self._hear()

    def close(self) -> None:
        """End the workers."""
        for member in self._members:
            member.end()

    def _hand_out(self) -> None:
        """Suspects first, alone; then the list, to whoever has least, prompt by prompt."""
        for member in self._members:
            member.take_suspects()
        hungry = [member for member in self._members if member.hungry]
        while self._queue:
            free = [member for member in hungry if member.room > 0]
            if not free:
                break
            member = min(free, key=lambda one: one.load)
            prompt = self._queue[0][0].prompt_id
            while self._queue and member.room > 0 and self._queue[0][0].prompt_id == prompt:
                member.put(self._queue.popleft())
        for member in self._members:
            member.send_out()

    def _hear(self) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for member, message in hear(self._members):
            if message is None:
                outcomes += self._replace(member)
            else:
                outcomes += [member.finish(_outcome(fields)) for fields in message["outcomes"]]
        if outcomes:
            self._deaths.forget()
        return outcomes

    def _replace(self, member: Member) -> list[Failure]:
        """Start a dead worker anew; what is to be done with the batches that it held."""
        from_outside, reason = member.bury()
        lost, alone = member.lose()
        held = sum(map(len, lost))
        log.warning("worker %d ended (%s) with %d requests", member.number, reason, held)
        found = []
        if from_outside:
            self._give_back(member, lost, alone)
        elif lost:
            found = self._suspect(member, lost, reason)
        if not lost or from_outside:
            self._deaths.one_more(reason)
        member.begin()
        return found

    def _give_back(self, member: Member, lost: list[Batch], alone: bool) -> None:
        if alone:
            member.suspects.appendleft(lost)
        else:
            self._queue.extendleft(reversed(lost))

    def _suspect(self, member: Member, lost: list[Batch], reason: str) -> list[Failure]:
        """Queue the halves of what was in flight, or name the one request that it was."""
        for batch in lost:
            self._crashes.update(request.response_id for request in batch)
        if len(lost) == 1 and len(lost[0]) == 1:
            name = lost[0][0].response_id
            if self._crashes[name] >= _TRIES:
                log.error("request %s crashes the engine: %s", name, reason)
                return [Failure(name, reason)]
            member.suspects.appendleft(lost)
        elif len(lost) == 1:
            member.suspects.extendleft([[half] for half in reversed(_halves(lost[0]))])
        else:
            member.suspects.extendleft(reversed(_halves(lost)))
        return []


def _halves(of: Sequence[Any]) -> list[list[Any]]:
    middle = len(of) // 2
    return [list(of[:middle]), list(of[middle:])]


def _outcome(fields: dict[str, Any]) -> Outcome:
    return Failure(**fields) if "error" in fields else Sample(**fields)
