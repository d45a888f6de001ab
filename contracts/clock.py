"""Chat templates that read the clock: how they are found, and what they are told instead.

Tomorrow's rendering of a conversation would hold other token ids than today's: a resumed stage
would mix the two, and a policy would be trained on a prompt that it was not asked.
"""

import datetime
import json
from collections.abc import Callable
from typing import Any

from contracts.models.hub import model_file

# transformers puts the first one into each template's reach; templates ask for the second one
# first, and fall back on the clock or on a date of their own.
_NAMES = ("strftime_now", "date_string")


def reads_clock(template: str) -> bool:
    """Whether a chat template looks the date up anywhere.

    By name, which finds all that differ on two dates and those that do so in conversations that
    nobody has tried: where there is no system message, beside tools, from the third turn on.
    """
    from jinja2 import Environment, TemplateSyntaxError

    try:
        tokens = list(Environment().lex(template))  # noqa: S701 - nothing is rendered
    except TemplateSyntaxError:
        return any(name in template for name in _NAMES)
    return any(kind == "name" and text in _NAMES for _, kind, text in tokens)


def told(date: datetime.date) -> dict[str, str | Callable[[str], str]]:
    """The variables that take the clock's place in a template: midnight of `date`."""
    return {"strftime_now": date.strftime, "date_string": date.strftime("%d %b %Y")}


def template_of(reference: str) -> str:
    """A model's chat template as its files hold it, empty where it has none.

    Without transformers, whose import costs seconds. Of several named templates in one file all
    are given.

    Raises:
        UserError: the model is not there, or the hub cannot be asked.
    """
    if path := model_file(reference, "chat_template.jinja"):
        return path.read_text(encoding="utf-8")
    if not (path := model_file(reference, "tokenizer_config.json")):
        return ""
    try:
        return "".join(_texts(json.loads(path.read_text(encoding="utf-8"))["chat_template"]))
    except (ValueError, KeyError, TypeError):
        return ""  # none in it, or damaged: whoever loads the tokenizer says so


def _texts(template: Any) -> list[str]:
    """The template, or each of a list of `{name, template}`."""
    return [template] if isinstance(template, str) else [one["template"] for one in template or []]
