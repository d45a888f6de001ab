"""What judging costs, before and while it goes on."""

from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest

from contracts.errors import UserError
from evaluation.judging.cost import Budget, OverBudget, Price, estimate, read_price
from evaluation.judging.referees.game import Game
from runtime.chat_api.completion import Completion, Lost, Refusal

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
    seen = [(game, [Completion("x", {}, 500, 20)]) for game in games(2)]
    found = estimate(games(10), seen, most=100, price=None)
    assert (found.prompt_tokens, found.completion_tokens, found.cost) == (5000, 200, None)


def test_follow_ups_and_second_readings_count_with_their_judgement() -> None:
    first, second = games(2)
    twice = [Completion("x", {}, 500, 20), Refusal(200, "no text", 700, 100)]
    found = estimate(games(10), [(first, [twice[0]]), (second, twice)], most=100, price=None)
    assert (found.prompt_tokens, found.completion_tokens) == (8500, 700)


def test_a_judgement_whose_longest_answer_could_pass_the_limit_is_not_begun() -> None:
    budget = Budget(10.0, Price(input=0.0, output=1e4), max_tokens=500)  # at most 5.00 each
    for _ in range(90):
        budget.settle(budget.promise(0), 0, Completion("x", {}, 1, 1))
    assert budget.spent == pytest.approx(0.9)
    first = budget.promise(0)
    budget.settle(first, 0, Completion("x", {}, 1, 500))
    assert (first, budget.spent) == (5.0, pytest.approx(5.9))
    with pytest.raises(OverBudget, match="every judgement that came is kept: raise"):
        budget.promise(0)


def test_what_is_under_way_is_waited_for_and_paid_before_another_is_begun() -> None:
    budget = Budget(10.0, Price(input=0.0, output=1e4), max_tokens=500)
    promised = [budget.promise(0), budget.promise(0)]
    with ThreadPoolExecutor(1) as pool:
        third = pool.submit(budget.promise, 0)
        budget.settle(promised[0], 0, Completion("x", {}, 1, 1))
        assert not wait([third], timeout=0.02).done
        budget.settle(promised[1], 0, None)
        assert third.result() == 5.0
    assert budget.spent == pytest.approx(0.01)


def test_a_prompt_is_promised_by_the_most_tokens_to_a_byte_that_were_counted() -> None:
    budget = Budget(10.0, Price(input=1e6, output=0.0), max_tokens=1)
    assert budget.promise(4) == 1.0
    budget.paid(8, Completion("x", {}, 4, 1))
    assert budget.promise(4) == 2.0


def test_what_an_endpoint_does_not_count_is_reckoned_by_its_length() -> None:
    budget = Budget(None, Price(input=1e6, output=1e6), max_tokens=100)
    budget.paid(400, Completion("y" * 40))
    assert budget.spent == 100 + 10
    budget.paid(400, Refusal(200, "the answer has no content"))
    budget.paid(400, Refusal(400, "no"))
    assert budget.spent == 110 + 100 + 100


def test_a_request_that_was_lost_costs_what_was_counted_else_the_longest_answer() -> None:
    budget = Budget(None, Price(input=1e6, output=1e6), max_tokens=100)
    budget.paid(400, Lost())
    assert budget.spent == 100 + 100
    budget.settle(budget.promise(400), 400, Lost(90, 7))
    assert budget.spent == 200 + 90 + 7


def test_a_price_is_two_numbers_of_the_very_model(tmp_path: Path) -> None:
    path = tmp_path / "prices.yaml"
    path.write_text("judge-1: {input: 2, output: 8}\nbad: {input: two, output: 8}\n")
    assert read_price(path, "judge-1") == PRICE
    assert read_price(None, "judge-1") is None
    with pytest.raises(UserError, match="has no prices of 'judge-2'; add"):
        read_price(path, "judge-2")
    with pytest.raises(UserError, match="the prices of 'bad' are not two numbers"):
        read_price(path, "bad")
