"""What judging costs, before and while it goes on."""

from pathlib import Path

import pytest

from contracts.errors import UserError
from evaluation.judging.cost import Budget, OverBudget, Price, estimate, read_price
from evaluation.judging.game import Game
from runtime.chat.completion import Completion

PRICE = Price(input=2.0, output=8.0)


def games(count: int) -> list[Game]:
    message = {"role": "user", "content": "x" * 4000}
    return [Game(f"q{n}", "alone", (message,), "p") for n in range(count)]  # type: ignore[arg-type]


def test_before_the_first_answer_four_bytes_are_a_token_and_each_judgement_the_longest() -> None:
    found = estimate(games(10), [], most=100, price=PRICE)
    assert (found.prompt_tokens, found.completion_tokens) == (10_000, 1000)
    assert found.cost == pytest.approx((10_000 * 2 + 1000 * 8) / 1e6)
    assert found.told() == "10 judgements, 10,000 + 1,000 tokens, about 0.03"


def test_then_the_endpoints_own_counts_say_it() -> None:
    seen = [(game, Completion("x", {}, 500, 20)) for game in games(2)]
    found = estimate(games(10), seen, most=100, price=None)
    assert (found.prompt_tokens, found.completion_tokens, found.cost) == (5000, 200, None)


def test_a_judgement_that_may_pass_the_limit_is_not_begun() -> None:
    budget = Budget(10.0, Price(input=1e6, output=0.0))
    budget.paid([Completion("x", {}, 3, 0)])  # 3.00
    first, second = budget.promise(), budget.promise()
    with pytest.raises(OverBudget, match="every judgement that came is kept: raise"):
        budget.promise()
    budget.release(first)
    budget.release(second)
    assert budget.promise() == 3.0


def test_a_price_is_two_numbers_of_the_very_model(tmp_path: Path) -> None:
    path = tmp_path / "prices.yaml"
    path.write_text("judge-1: {input: 2, output: 8}\nbad: {input: two, output: 8}\n")
    assert read_price(path, "judge-1") == PRICE
    assert read_price(None, "judge-1") is None
    with pytest.raises(UserError, match="has no prices of 'judge-2'; add"):
        read_price(path, "judge-2")
    with pytest.raises(UserError, match="the prices of 'bad' are not two numbers"):
        read_price(path, "bad")
