"""Work beside the main thread's: one item ahead, one call behind."""

import threading
from collections.abc import Iterator

import pytest

from runtime.beside import OneBehind, made_ahead


def test_the_next_item_is_made_while_the_one_before_is_worked_with() -> None:
    begun = [threading.Event() for _ in range(3)]

    def items() -> Iterator[int]:
        for number, event in enumerate(begun):
            event.set()
            yield number

    coming = made_ahead(items())
    assert next(coming) == 0
    assert begun[1].wait(10)
    assert not begun[2].is_set()  # one ahead, and no more
    assert list(coming) == [1, 2]


def test_an_items_error_comes_in_its_place() -> None:
    def items() -> Iterator[int]:
        yield 0
        raise ValueError("the second")

    got = []
    with pytest.raises(ValueError, match="the second"):
        got.extend(made_ahead(items()))
    coming = made_ahead(items())
    assert next(coming) == 0
    with pytest.raises(ValueError, match="the second"):
        next(coming)


def test_who_stops_early_waits_for_no_item() -> None:
    never = threading.Event()

    def items() -> Iterator[int]:
        yield 0
        never.wait()
        yield 1

    coming = made_ahead(items())
    assert next(coming) == 0
    coming.close()  # type: ignore[attr-defined]
    never.set()


def test_calls_behind_are_made_in_order_and_all_of_them() -> None:
    made: list[int] = []
    with OneBehind() as behind:
        for number in range(20):
            behind(made.append, number)
    assert made == list(range(20))


def test_a_calls_error_is_raised_at_the_next_or_at_the_end() -> None:
    def refuse() -> None:
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"), OneBehind() as behind:
        behind(refuse)
    with OneBehind() as behind:
        behind(refuse)
        with pytest.raises(OSError, match="no space"):
            behind(print)


def test_an_error_beside_a_call_is_the_one_that_is_raised() -> None:
    made: list[int] = []
    with pytest.raises(KeyError), OneBehind() as behind:
        behind(made.append, 1)
        raise KeyError("of the caller")
    assert made == [1]
