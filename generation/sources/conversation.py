"""A prompt as a conversation: what it is read from, and its identity."""

import unicodedata
from typing import Any

from contracts.chat import Message
from contracts.errors import UserError
from contracts.steps import fingerprint

Conversation = list[Message]

# Those that templates know; `developer` and `tool` only some of them, which then say so.
_INSTRUCTIONS = ("system", "developer")
_ROLES = frozenset({"system", "developer", "user", "assistant", "tool"})


def prompt_id(messages: Conversation) -> str:
    """Hash of a conversation's roles and texts.

    Texts count in Unicode's NFC form without surrounding blanks, so that two spellings of
    one prompt are one prompt; the stored text stays as it was given.
    """
    canonical = [
        [turn["role"], unicodedata.normalize("NFC", turn["content"]).strip()] for turn in messages
    ]
    return fingerprint.of_json(canonical)


def question_id(messages: Conversation) -> str:
    """The prompt's id without its instructions: one question, whoever is told to answer."""
    return prompt_id([turn for turn in messages if turn["role"] not in _INSTRUCTIONS])


def to_messages(origin: str, value: Any) -> Conversation:
    """The conversation without the assistant's closing turns; empty where it asks nothing.

    A list of texts, as MT-Bench's `turns`, counts as its first question: the later ones
    need the model's own answers before they can be asked.

    Raises:
        UserError: the value is neither text nor a message list.
    """
    if value is None or isinstance(value, str):
        return [{"role": "user", "content": value}] if value and value.strip() else []
    if isinstance(value, list) and all(isinstance(turn, str) for turn in value):
        return to_messages(origin, value[0] if value else None)
    if not isinstance(value, list):
        raise UserError(f"{origin}: a prompt is text or a message list, not {value!r:.60}")
    messages = [_to_message(origin, turn) for turn in value]
    while messages and messages[-1]["role"] == "assistant":
        messages.pop()
    return messages if messages and messages[-1]["content"].strip() else []


def _to_message(origin: str, turn: Any) -> Message:
    match turn:
        case {"role": str(role), "content": str(content)}:
            return {"role": role, "content": content}
        case {"content": str(content)}:
            return {"role": "user", "content": content}
    raise UserError(f"{origin}: a message needs a role and a content, not {turn!r:.60}")


def unusable(messages: Conversation) -> str | None:
    """Why the assistant cannot answer a conversation, or None if it can."""
    if not messages:
        return "empty_prompt"
    if not _is_unicode(messages):
        return "invalid_unicode"
    if any(turn["role"] not in _ROLES for turn in messages):
        return "unknown_role"
    return None if messages[-1]["role"] == "user" else "no_question"


def _is_unicode(messages: Conversation) -> bool:
    """False for half of a surrogate pair, which JSON can spell and no UTF-8 file can hold."""
    try:
        for turn in messages:
            turn["content"].encode()
    except UnicodeEncodeError:
        return False
    return True
