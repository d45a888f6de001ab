"""Numbers as a reader has them: no exponents, no digits that say nothing."""

from typing import Literal


def plain(value: float, sign: Literal["", "+"] = "") -> str:
    """`1,234`, `57.31`, `0.0123`: four digits that count, from the fourth decimal on none.

    Args:
        sign: `+` to have it before what is above zero.
    """
    size = abs(value)
    decimals = 0 if size >= 1000 else 1 if size >= 100 else 2 if size >= 10 else 3
    if size < 1:
        decimals = 4
    told = f"{value:,.{decimals}f}"
    if "." in told:
        told = told.rstrip("0").rstrip(".")
    if told == "-0":
        told = "0"
    return f"+{told}" if sign and value > 0 and told != "0" else told
