"""Numbers in a verdict's reasons."""

import pytest

from evaluation.verdicts.plain_number import plain


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (-9e-06, "0"), (0.0123, "0.0123"), (-0.00012, "-0.0001"), (1.17, "1.17"), (60.0, "60"),
        (57.312, "57.31"), (1234567.0, "1,234,567"), (0.0, "0"),
    ],
)  # fmt: skip
def test_a_number_has_no_exponent_and_no_idle_digits(value: float, told: str) -> None:
    assert plain(value) == told


def test_a_change_has_its_sign() -> None:
    assert (plain(0.5, "+"), plain(-0.5, "+"), plain(1e-9, "+")) == ("+0.5", "-0.5", "0")
