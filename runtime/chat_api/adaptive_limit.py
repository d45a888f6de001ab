"""How many requests an endpoint is sent at once: as many as it bears.

Additive increase, multiplicative decrease, as TCP's congestion avoidance and inspect-ai's adaptive
connections have it: one more for each full round of answers, 0.8 of it for each episode of 429.
"""

from dataclasses import dataclass

_DECREASE = 0.8
_EPISODE_SECONDS = 1.0


@dataclass
class AdaptiveLimit:
    """The limit; the caller says what happened and when, in seconds of any clock."""

    limit: float
    """Requests in flight to begin with."""
    most: int
    """It never grows above this."""
    episodes: int = 0
    """Times that it was lowered."""
    _episode_began: float = float("-inf")

    def __post_init__(self) -> None:
        self.limit = min(self.limit, self.most)

    @property
    def width(self) -> int:
        """Requests that may be in flight now; at least one."""
        return max(1, int(self.limit))

    def answered(self) -> None:
        """A request was answered: a full round of them makes room for one more."""
        self.limit = min(self.most, self.limit + 1 / self.width)

    def throttled(self, sent: float, now: float) -> None:
        """A request that was sent at `sent` got a 429 at `now`.

        One that was sent before the limit was lowered, or comes within a second of that, tells of
        the same episode: 20 requests refused at once lower the limit once.
        """
        if sent < self._episode_began or now < self._episode_began + _EPISODE_SECONDS:
            return
        self._episode_began = now
        self.episodes += 1
        self.limit = max(1.0, self.limit * _DECREASE)
