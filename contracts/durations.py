"""Spans of time as a reader has them. It imports nothing, for commands that answer at once."""

from datetime import timedelta


def in_words(seconds: float) -> str:
    """`6.0 s`; from a minute on `0:01:30`."""
    return f"{seconds:.1f} s" if seconds < 60 else str(timedelta(seconds=round(seconds)))
