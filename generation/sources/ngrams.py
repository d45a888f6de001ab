"""The words of a prompt, as overlap between prompts is counted."""

import re
import unicodedata
from collections.abc import Sequence

from contracts.chat import Message

_WORD = re.compile(r"[^\W_]+")

NGram = tuple[str, ...]


def words(text: str) -> list[str]:
    """Runs of letters and digits, in lower case and Unicode's NFKC form."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).lower())


def ngrams(of: Sequence[str], size: int) -> list[NGram]:
    """Every run of `size` words, in order; none where there are fewer."""
    return [tuple(of[first : first + size]) for first in range(len(of) - size + 1)]


def asked(messages: Sequence[Message]) -> list[str]:
    """What the user says, turn by turn.

    Not what the system says: many prompts share one system message, which would make them
    all alike.
    """
    return [turn["content"] for turn in messages if turn["role"] == "user"]
