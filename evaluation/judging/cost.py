"""What judging costs: prices from a file, tokens as the endpoint counts them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Condition

from contracts.chat import Message
from contracts.config.base import read_yaml
from contracts.errors import OnPolicyError, UserError
from evaluation.judging.referees.game import Game
from runtime.chat_api.completion import Completion, Paid, Refusal

_BYTES_A_TOKEN = 4.0
"""Of English text, until the endpoint's own counts say better."""
_MILLION = 1e6


@dataclass(frozen=True)
class Price:
    """What a model charges for a million tokens read, and a million written."""

    input: float
    output: float

    def of(self, prompt_tokens: float, completion_tokens: float) -> float:
        """What so many tokens cost."""
        return (prompt_tokens * self.input + completion_tokens * self.output) / _MILLION


@dataclass(frozen=True)
class Estimate:
    """Tokens and cost of the judgements to come."""

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
    games: Sequence[Game],
    seen: Sequence[tuple[Game, Sequence[Completion | Refusal]]],
    most: int,
    price: Price | None,
) -> Estimate:
    """What the games will cost, by what those `seen` did, follow-ups and second readings included.

    Args:
        most: tokens that a judgement may have; so many are counted until some were seen.
    """
    counted = [
        (game, replies) for game, replies in seen if all(one.prompt_tokens for one in replies)
    ]
    rate = 1 / _BYTES_A_TOKEN
    written = float(most)
    if counted:
        of_them = [reply for _, replies in counted for reply in replies]
        size = sum(_size(game) for game, _ in counted)
        rate = sum(reply.prompt_tokens for reply in of_them) / max(1, size)
        written = sum(reply.completion_tokens for reply in of_them) / len(counted)
    read = sum(map(_size, games)) * rate
    cost = price.of(read, written * len(games)) if price else None
    return Estimate(len(games), read, written * len(games), cost)


class Budget:
    """Money spent and promised; from any thread.

    A request is promised what it may cost at most, its longest answer; what it did cost takes the
    promise's place at once. Only the prompt's tokens are estimated, by the most that were seen to
    a byte.
    """

    def __init__(self, most: float | None, price: Price | None, max_tokens: int) -> None:
        """
        Args:
            max_tokens: most tokens of an answer.

        Raises:
            UserError: there is a limit, but no price to reckon by.
        """
        if most is not None and price is None:
            raise UserError(
                "`resources.max_cost` needs `resources.prices`: a YAML file with a line "
                "`MODEL: {input: 2, output: 8}` for this judge's model, per million tokens"
            )
        self._most = most
        self._price = price or Price(0.0, 0.0)
        self._max_tokens = max_tokens
        self._changed = Condition()
        self._under_way = 0
        self._promised = 0.0
        self._tokens_a_byte: float | None = None
        self.spent = 0.0
        """So far, of this judging from its beginning on; 0 without a price."""

    def paid(self, size: int, reply: Paid) -> None:
        """Count a reply that came, or a request that was lost.

        Args:
            size: bytes of its prompt.
        """
        with self._changed:
            self._pay(size, reply)

    def promise(self, size: int) -> float:
        """Put aside what one more judgement may cost; gives it back to `settle`.

        Waits where what is under way leaves too little, until that is paid.

        Raises:
            OverBudget: it may cost more than is left.
        """
        with self._changed:
            while not self._is_enough_for(size) and self._under_way:
                self._changed.wait()
            if not self._is_enough_for(size):
                raise OverBudget(
                    f"judging has cost {self.spent:,.2f} and the next judgement could pass "
                    f"`max_cost` ({self._most:,.2f}); every judgement that came is kept: raise "
                    "`resources.max_cost` and run the same command again"
                )
            promised = self._at_most(size)
            self._promised += promised
            self._under_way += 1
            return promised

    def settle(self, promised: float, size: int, reply: Paid | None) -> None:
        """Replace a promise by what the request cost; None where it cost nothing."""
        with self._changed:
            self._promised -= promised
            self._under_way -= 1
            if reply is not None:
                self._pay(size, reply)
            self._changed.notify_all()

    def _is_enough_for(self, size: int) -> bool:
        if self._most is None:
            return True
        return self.spent + self._promised + self._at_most(size) <= self._most

    def _at_most(self, size: int) -> float:
        return self._price.of(self._prompt_tokens(size), self._max_tokens)

    def _prompt_tokens(self, size: int) -> float:
        rate = 1 / _BYTES_A_TOKEN if self._tokens_a_byte is None else self._tokens_a_byte
        return size * rate

    def _pay(self, size: int, reply: Paid) -> None:
        if isinstance(reply, Refusal) and not reply.is_paid:
            return
        if reply.prompt_tokens:
            rate = reply.prompt_tokens / max(1, size)
            self._tokens_a_byte = max(rate, self._tokens_a_byte or 0.0)
        written = reply.completion_tokens or self._written(reply)
        self.spent += self._price.of(reply.prompt_tokens or self._prompt_tokens(size), written)

    def _written(self, reply: Paid) -> float:
        """Tokens of an answer that its endpoint did not count."""
        if not isinstance(reply, Completion):
            return float(self._max_tokens)  # it may have thought to the end
        counted = max(1.0, len(reply.text.encode()) / _BYTES_A_TOKEN)
        return min(counted, float(self._max_tokens))

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


def size_of(messages: Iterable[Message]) -> int:
    """Bytes of a prompt."""
    return sum(len(message["content"].encode()) for message in messages)


def _size(game: Game) -> int:
    return size_of(game.messages)
