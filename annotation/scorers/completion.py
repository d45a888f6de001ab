"""What a chat endpoint sent with status 200: an answer, a refusal, or no completion at all."""

import json
from typing import Any

from annotation.scorers.judgement import Refusal


class NoCompletion(Exception):
    """A body that is no chat completion; says what it says instead."""


def read_completion(body: bytes) -> str | Refusal:
    """The first choice's text; a choice without one is a refusal.

    Raises:
        NoCompletion: cut JSON, a page of HTML, an error in place of choices.
    """
    try:
        found = json.loads(body)
    except ValueError:
        raise NoCompletion(body.decode(errors="replace")) from None
    choices = found.get("choices") if isinstance(found, dict) else None
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise NoCompletion(_said(found) or json.dumps(found))
    message = choices[0].get("message")
    message = message if isinstance(message, dict) else {}
    text = _text(message.get("content"))
    if text is not None:
        return text
    why = f"the answer has no content (finish_reason {choices[0].get('finish_reason')})"
    return Refusal(200, str(message.get("refusal") or why)[:500])


def _text(content: Any) -> str | None:
    """A content's text: it is a string, or a list of parts of which some have text."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return None
    parts = [part.get("text") if isinstance(part, dict) else part for part in content]
    texts = [part for part in parts if isinstance(part, str)]
    return "".join(texts) if texts else None


def _said(found: Any) -> str:
    """The message of an `error` that came with status 200."""
    error = found.get("error") if isinstance(found, dict) else None
    message = error.get("message") if isinstance(error, dict) else error
    return str(message or "")
