"""What a call to a seat takes along, and its answer: lines of JSON as one piece of bytes, which Ray
passes on as it is. Of more arguments it would pickle each."""

import json
from collections.abc import Sequence
from typing import NamedTuple

_LINE = b"\n"


class Call(NamedTuple):
    """Messages to a worker, on their way to its seat."""

    life: int
    """Which of the workers that sat there."""
    first: int
    """Number of the first message: Ray may deliver calls in another order than they are made."""
    pause: float
    """Seconds for which the seat gathers messages before it answers."""
    messages: Sequence[bytes]

    def pack(self) -> bytes:
        """The call as bytes. JSON has no line breaks but where it is told to."""
        head = json.dumps([self.life, self.first, self.pause]).encode()
        return _LINE.join([head, *self.messages])


def unpack_call(frame: bytes) -> Call:
    """The call in such bytes."""
    head, *messages = frame.split(_LINE)
    life, first, pause = json.loads(head)
    return Call(life, first, pause, messages)


def pack_answer(messages: Sequence[bytes], code: int | None) -> bytes:
    """What a worker has said, and its exit code once it has ended, as bytes."""
    return _LINE.join([json.dumps(code).encode(), *messages])


def unpack_answer(frame: bytes) -> tuple[list[bytes], int | None]:
    """The messages and the exit code in such bytes."""
    head, *messages = frame.split(_LINE)
    return messages, json.loads(head)
