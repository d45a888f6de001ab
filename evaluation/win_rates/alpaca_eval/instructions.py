"""Which instructions a benchmark has: AlpacaEval's own by hash, or those of a file."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from contracts.errors import UserError
from evaluation.win_rates.records import read_rows, text_of

_ALPACA_EVAL = Path(__file__).with_name("instructions.txt")
# 64 bits: that two of 805 instructions agree by chance is less likely than 1 in 10^13.
_DIGITS = 16


@dataclass(frozen=True)
class Instructions:
    """A benchmark's instructions in its own order, by which its other files number them."""

    hashes: Sequence[str]
    """First 16 hexadecimal digits of each instruction's sha256, UTF-8."""
    name: str

    @cached_property
    def _index(self) -> dict[str, int]:
        return {digits: index for index, digits in enumerate(self.hashes)}

    def index(self, instruction: str) -> int | None:
        """The instruction's number in the benchmark; None if it is not one of the benchmark's."""
        return self._index.get(text_hash(instruction))


def alpaca_eval() -> Instructions:
    """AlpacaEval's 805, in the order of its data set (revision 2edc6fad); hashes, not its text,
    whose licence is CC BY-NC 4.0."""
    return Instructions(_ALPACA_EVAL.read_text().split(), "AlpacaEval")


def instructions_among(asked: Sequence[str]) -> Instructions:
    """Those of another benchmark, in its order."""
    return Instructions([text_hash(text) for text in asked], "the questions asked")


def instructions_of(path: Path) -> Instructions:
    """The instructions in a JSON or JSONL file whose rows hold an `instruction`.

    Raises:
        UserError: the file cannot be read, a row holds no instruction, or one stands there twice.
    """
    hashes: dict[str, int] = {}
    for number, record in enumerate(read_rows(path), start=1):
        digits = text_hash(text_of(record, "instruction", f"{path}: row {number}"))
        if digits in hashes:
            raise UserError(
                f"{path}: row {number}: the instruction of row {hashes[digits]} again; a "
                "benchmark asks each once"
            )
        hashes[digits] = number
    return Instructions(list(hashes), str(path))


def text_hash(instruction: str) -> str:
    """The first 16 digits by which an instruction is known."""
    return hashlib.sha256(instruction.encode()).hexdigest()[:_DIGITS]
