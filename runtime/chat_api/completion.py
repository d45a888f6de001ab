"""What a chat endpoint sent with status 200: an answer, a refusal, or no completion at all."""

import json
import math
import re
from dataclasses import dataclass, field
from typing import Any

_GOOD = 200
# No context is as long by a factor of ten: a count above it is none, and fits no table's column.
_MOST_TOKENS = 10**8
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Lost:
    """A request that was billed, or may have been, and brought nothing to read."""

    prompt_tokens: int = 0
    """Counted by the endpoint; 0 if it did not."""
    completion_tokens: int = 0
    """Counted by the endpoint; 0 if it did not."""


class NoCompletion(Exception):
    """A body that is no chat completion; says what it says instead."""

    def __init__(self, says: str, lost: Lost | None = None) -> None:
        super().__init__(says)
        self.lost = lost
        """What it may have cost all the same; None where it is an error without a `usage`."""


@dataclass(frozen=True)
class Refusal:
    """The endpoint will not answer this question."""

    status: int
    message: str
    prompt_tokens: int = 0
    """Counted by the endpoint, of a choice without a text; 0 if it did not."""
    completion_tokens: int = 0
    """As in a completion."""

    @property
    def is_paid(self) -> bool:
        """Whether the judge wrote, if nothing that can be read."""
        return self.status == _GOOD


@dataclass(frozen=True)
class Completion:
    """The first choice of a chat completion."""

    text: str
    top_logprobs: dict[str, float] = field(default_factory=dict)
    """The first token's likeliest alternatives, in nats, NaN where one has no number; empty if the
    endpoint sent none."""
    prompt_tokens: int = 0
    """Counted by the endpoint; 0 if it did not."""
    completion_tokens: int = 0
    """Counted by the endpoint; 0 if it did not."""


Paid = Completion | Refusal | Lost
"""What a request brought that was paid for; a refusal where its status is 200."""


def read_completion(body: bytes) -> Completion | Refusal:
    """The first choice; one without a text is a refusal.

    Raises:
        NoCompletion: cut JSON, a page of HTML, an error in place of choices.
    """
    text = body.decode("utf-8-sig", errors="replace")
    try:
        reply = _writable(json.loads(text))
    except (ValueError, RecursionError):
        raise NoCompletion(text, Lost()) from None
    usage = _mapping(_mapping(reply).get("usage"))
    counts = [_count(usage, name) for name in ("prompt_tokens", "completion_tokens")]
    choices = _mapping(reply).get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        lost = Lost(*counts) if any(counts) or not _said(reply) else None
        raise NoCompletion(_said(reply) or json.dumps(reply), lost)
    message = _mapping(choices[0].get("message"))
    content = _text(message.get("content"))
    if content is not None:
        return Completion(content, _top_logprobs(choices[0]), *counts)
    why = f"the answer has no content (finish_reason {choices[0].get('finish_reason')})"
    return Refusal(_GOOD, str(message.get("refusal") or why)[:500], *counts)


def writable(text: str) -> str:
    """A text as UTF-8 can hold it: half a surrogate pair, as JSON can spell one, is replaced."""
    return _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text)


def _writable(reply: Any) -> Any:
    """The same of all texts in a reply."""
    text = json.dumps(reply, ensure_ascii=False)
    return json.loads(writable(text)) if _SURROGATE.search(text) else reply


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _count(usage: dict[str, Any], name: str) -> int:
    value = usage.get(name)
    return value if isinstance(value, int) and 0 < value < _MOST_TOKENS else 0


def _top_logprobs(choice: dict[str, Any]) -> dict[str, float]:
    """The first token's alternatives. Some endpoints send `null`, or none of the token's own."""
    content = _mapping(choice.get("logprobs")).get("content")
    first = _mapping(content[0]) if isinstance(content, list) and content else {}
    top = first.get("top_logprobs")
    return {
        str(one["token"]): _log_prob(one.get("logprob"))
        for one in (top if isinstance(top, list) else [])
        if isinstance(one, dict) and "token" in one
    }


def _log_prob(value: Any) -> float:
    """A log-prob, minus infinity included; NaN for what is none."""
    try:
        number = float(value) if isinstance(value, (int, float)) else math.nan
    except OverflowError:
        return math.nan
    return number if number < math.inf else math.nan


def _text(content: Any) -> str | None:
    """A content's text: it is a string, or a list of parts of which some have text."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return None
    parts = [part.get("text") if isinstance(part, dict) else part for part in content]
    texts = [part for part in parts if isinstance(part, str)]
    return "".join(texts) if texts else None


def _said(reply: Any) -> str:
    """The message of an `error` that came with status 200."""
    error = reply.get("error") if isinstance(reply, dict) else None
    message = error.get("message") if isinstance(error, dict) else error
    return str(message or "")
