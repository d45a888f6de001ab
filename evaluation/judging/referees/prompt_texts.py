"""The official prompts, read from the files beside this module and checked by their hashes."""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from contracts.chat import Message
from contracts.errors import OnPolicyError

_FOLDER = Path(__file__).parent / "prompts"


def prompt_text(name: str, sha256: str) -> str:
    """A prompt file that nobody has edited.

    Args:
        sha256: its hash as its source has it (`prompts/README.md`).

    Raises:
        OnPolicyError: its hash is another: what it holds is not the benchmark's prompt.
    """
    data = (_FOLDER / name).read_bytes()
    actual = hashlib.sha256(data).hexdigest()
    if actual != sha256:
        raise OnPolicyError(
            f"{_FOLDER / name}: is not the benchmark's own prompt (its hash is {actual}); "
            "install the package anew"
        )
    return data.decode()


def prompt_json(name: str, sha256: str) -> dict[str, Any]:
    """A prompt file in JSON that nobody has edited.

    Raises:
        OnPolicyError: its hash is not `sha256`.
    """
    prompts: dict[str, Any] = json.loads(prompt_text(name, sha256))
    return prompts


def two_messages(system: str, user: str) -> tuple[Message, ...]:
    """A system message and the user's."""
    return ({"role": "system", "content": system}, {"role": "user", "content": user})


def filled(template: str, values: Mapping[str, str]) -> str:
    """`template` with each `{name}` replaced, in one pass: braces in a value stay as they are."""
    names = "|".join(map(re.escape, values))
    return re.sub(rf"\{{({names})\}}", lambda place: values[place[1]], template)
