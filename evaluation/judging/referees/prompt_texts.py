"""The official prompts, read from the files beside this module and checked by their hashes."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contracts.chat import Message
from contracts.errors import OnPolicyError

_FOLDER = Path(__file__).parent / "prompts"
_SHA256 = {
    "alpaca_eval_clf.txt": "784227e6dc2832fc08c43d2c8ea3a308e7523780187a1aaad2f85e30bac85f62",
    "arena_hard_v0.1.json": "c2fc88e8d631bb881fd4d256de50fcad9ab9de418f5de90b49f90ca85adda968",
    "mt_bench_single.json": "8ebbcd89536dde2ce7bcadfa07f5a1a04cfb1206e8067564da73f7959c9e3d2b",
}
"""Of each file as its source has it (`prompts/README.md`)."""


@dataclass(frozen=True)
class PromptFile:
    """A file of prompts."""

    text: str
    sha256: str


def prompt_file(name: str) -> PromptFile:
    """A prompt file, which nobody has edited.

    Raises:
        OnPolicyError: its hash is another: what it holds is not the benchmark's prompt.
    """
    data = (_FOLDER / name).read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    if sha256 != _SHA256[name]:
        raise OnPolicyError(
            f"{_FOLDER / name}: is not the benchmark's own prompt (its hash is {sha256}); "
            "install the package anew"
        )
    return PromptFile(data.decode(), sha256)


def prompt_json(name: str) -> tuple[dict[str, Any], str]:
    """A prompt file in JSON, and its hash.

    Raises:
        OnPolicyError: as `prompt_file`.
    """
    file = prompt_file(name)
    return json.loads(file.text), file.sha256


def two_messages(system: str, user: str) -> tuple[Message, ...]:
    """A system message and the user's."""
    return ({"role": "system", "content": system}, {"role": "user", "content": user})


def filled(template: str, values: Mapping[str, str]) -> str:
    """`template` with each `{name}` replaced, in one pass: braces in a value stay as they are."""
    parts, rest = [], template
    while rest:
        places = [(rest.find("{" + name + "}"), name) for name in values]
        place, name = min(((p, n) for p, n in places if p >= 0), default=(-1, ""))
        if place < 0:
            break
        parts += [rest[:place], values[name]]
        rest = rest[place + len(name) + 2 :]
    return "".join([*parts, rest])
