"""How many requests an endpoint is sent at once: as many as it bears.

Additive increase, multiplicative decrease, as TCP's congestion avoidance and inspect-ai's adaptive
connections have it: one more for each full round of answers, 0.8 of it for each episode of 429. A
429 among many answers is none: with a fifth less for each of 20 among 805, judging took 5 % longer.
"""

from dataclasses import dataclass

_DECREASE = 0.8
# 429s within a second are of requests sent before the limit fell: it falls once for all of them.
_EPISODE_SECONDS = 1.0
_BEARABLE_SHARE = 0.1


@dataclass
class AdaptiveLimit:
    """The limit; the caller says what happened and when, in seconds of any clock."""

    limit: float
    """Requests in flight to begin with."""
    most: int
    """It never grows above this."""
    episodes: int = 0
    """Times that it was lowered."""
    _refused_share: float = 0.0
    """Of the last requests, by 429; each counts less by as much as two rounds leave it behind."""
    _episode_began: float = float("-inf")

    def __post_init__(self) -> None:
        self.limit = min(self.limit, self.most)

    @property
    def width(self) -> int:
        """Requests that may be in flight now; at least one."""
        return max(1, int(self.limit))

    def answered(self) -> None:
        """A request was answered: a full round of them makes room for one more."""
        self._count(0.0)
        self.limit = min(self.most, self.limit + 1 / self.width)

    def throttled(self, sent: float, now: float) -> None:
        """A request that was sent at `sent` got a 429 at `now`.

        Only where more than a tenth of the last two rounds did is it an episode. One that was sent
        before the limit was lowered, or comes within a second of that, tells of the same episode:
        20 requests refused at once lower the limit once.
        """
        self._count(1.0)
        if self._refused_share <= _BEARABLE_SHARE:
            return
        if sent < self._episode_began or now < self._episode_began + _EPISODE_SECONDS:
            return
        self._episode_began = now
        self.episodes += 1
        self.limit = max(1.0, self.limit * _DECREASE)

    def _count(self, refused: float) -> None:
        self._refused_share += (refused - self._refused_share) / (2 * self.width)
