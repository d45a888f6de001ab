"""What judging costs: prices from a file, tokens as the endpoint counts them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from contracts.config.base import read_yaml
from contracts.errors import OnPolicyError, UserError
from evaluation.judging.game import Game
from runtime.chat.completion import Completion

_BYTES_A_TOKEN = 4.0
"""Of English text, until the endpoint's own counts say better."""
_MILLION = 1e6


@dataclass(frozen=True)
class Price:
    """Of a million tokens."""

    input: float
    output: float

    def of(self, prompt_tokens: float, completion_tokens: float) -> float:
        """What so many tokens cost."""
        return (prompt_tokens * self.input + completion_tokens * self.output) / _MILLION


@dataclass(frozen=True)
class Estimate:
    """Of judgements to come."""

    judgements: int
    prompt_tokens: float
    completion_tokens: float
    cost: float | None
    """None where no price is known."""

    def told(self) -> str:
        """One line."""
        tokens = f"{self.prompt_tokens:,.0f} + {self.completion_tokens:,.0f} tokens"
        cost = "no price given" if self.cost is None else f"about {self.cost:,.2f}"
        return f"{self.judgements:,} judgements, {tokens}, {cost}"


class OverBudget(OnPolicyError):
    """`max_cost` is reached; what was paid for is kept."""


def read_price(path: Path | None, model: str) -> Price | None:
    """A model's price in a file; None without a file.

    Raises:
        UserError: the file cannot be read, or does not have the model's two prices.
    """
    if path is None:
        return None
    prices = read_yaml(path).get(model)
    if not isinstance(prices, dict) or set(prices) != {"input", "output"}:
        raise UserError(
            f"{path}: has no prices of {model!r}; add `{model}: {{input: 2, output: 8}}`"
        )
    if not all(isinstance(one, (int, float)) and one >= 0 for one in prices.values()):
        raise UserError(f"{path}: the prices of {model!r} are not two numbers from 0 on")
    return Price(float(prices["input"]), float(prices["output"]))


def estimate(
    games: Sequence[Game], seen: Sequence[tuple[Game, Completion]], most: int, price: Price | None
) -> Estimate:
    """What the games will cost, by what those `seen` did.

    Args:
        most: tokens that a judgement may have; so many are counted until some were seen.
    """
    counted = [(game, reply) for game, reply in seen if reply.prompt_tokens]
    rate = 1 / _BYTES_A_TOKEN
    written = float(most)
    if counted:
        rate = sum(reply.prompt_tokens for _, reply in counted) / sum(
            _size(game) for game, _ in counted
        )
        written = sum(reply.completion_tokens for _, reply in counted) / len(counted)
    read = sum(map(_size, games)) * rate
    cost = price.of(read, written * len(games)) if price else None
    return Estimate(len(games), read, written * len(games), cost)


class Budget:
    """Money spent and promised; from any thread."""

    def __init__(self, most: float | None, price: Price | None) -> None:
        """
        Raises:
            UserError: there is a limit, but no price to reckon by.
        """
        if most is not None and price is None:
            raise UserError("`max_cost` needs a file of `prices` with this judge's")
        self._most = most
        self._price = price
        self._lock = Lock()
        self._promised = 0.0
        self.spent = 0.0
        """So far, of this judging from its beginning on; 0 without a price."""
        self._answers = 0
        self.expected = 0.0
        """Of one judgement, before any was answered."""

    def paid(self, replies: Iterable[Completion]) -> None:
        """Count answers that came."""
        with self._lock:
            for reply in replies:
                self._answers += 1
                if self._price:
                    self.spent += self._price.of(reply.prompt_tokens, reply.completion_tokens)

    def promise(self) -> float:
        """Put aside what one more judgement may cost; gives it back to `release`.

        Raises:
            OverBudget: it may cost more than is left.
        """
        with self._lock:
            one = self.spent / self._answers if self._answers else self.expected
            if self._most is not None and self.spent + self._promised + one > self._most:
                raise OverBudget(
                    f"judging has cost {self.spent:,.2f} and the next judgement would pass "
                    f"`max_cost` ({self._most:,.2f}); every judgement that came is kept: raise "
                    "`resources.max_cost` and run the same command again"
                )
            self._promised += one
            return one

    def release(self, promised: float) -> None:
        """The judgement was answered, or was not."""
        with self._lock:
            self._promised -= promised

    def refuse_beyond(self, expected: Estimate) -> None:
        """Stop before most of a benchmark is paid for that cannot be ended.

        Raises:
            OverBudget: what is to come is more than is left.
        """
        if self._most is None or expected.cost is None:
            return
        if self.spent + expected.cost > self._most:
            raise OverBudget(
                f"what is left ({expected.told()}) and what was spent ({self.spent:,.2f}) are more "
                f"than `max_cost` ({self._most:,.2f}); raise `resources.max_cost` and run the same "
                "command again: every judgement that came is kept"
            )


def _size(game: Game) -> int:
    return sum(len(message["content"].encode()) for message in game.messages)
