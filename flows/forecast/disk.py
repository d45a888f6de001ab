"""Bytes that a row of a table takes on the disk, by its columns."""

import pyarrow as pa

from contracts.tables.schemas import FLOATS, MESSAGES, TOKEN_IDS

_A_TOKEN = 4  # of its text, or its id
_AN_ID, _A_WORD = 20, 2  # words repeat, and parquet keeps each once
_OBJECTIVES = 19  # ArmoRM's, the most there are


def bytes_a_row(table: pa.Schema, prompt: int, answer: int) -> int:
    """Bytes of a row of a table, uncompressed.

    Args:
        prompt: tokens of a prompt.
        answer: tokens of an answer.
    """
    return sum(_bytes_of(column, table, prompt, answer) for column in table)


def _bytes_of(column: pa.Field, table: pa.Schema, prompt: int, answer: int) -> int:
    if column.type in (MESSAGES, TOKEN_IDS) or column.name == "text":
        return _A_TOKEN * _tokens_of(column.name, table, prompt, answer)
    if column.type == FLOATS:
        return 4 * _OBJECTIVES
    if pa.types.is_primitive(column.type):
        return -(-int(column.type.bit_width) // 8)
    return _AN_ID if column.name.endswith("_id") else _A_WORD


def _tokens_of(name: str, table: pa.Schema, prompt: int, answer: int) -> int:
    if name == "messages":  # a prompt, or a whole conversation where a response is in it
        return prompt + answer * ("response_id" in table.names)
    return prompt if name.startswith("prompt") else answer
