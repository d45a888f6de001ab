"""One thing that was looked at."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """What is so, and what to do about it."""

    state: Literal["ok", "note", "stop"]
    """`stop`: a run would end of it."""
    what: str
    says: str
    way_out: str = ""
