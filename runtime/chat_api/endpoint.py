"""A chat endpoint: its key, its client, and what its statuses mean."""

import json
import os
import re
import socket
import time
from collections.abc import Mapping
from random import Random
from typing import Any
from urllib.parse import urlsplit

from contracts.errors import OnPolicyError, UserError, first_line
from runtime.chat_api.completion import (
    Completion,
    Lost,
    NoCompletion,
    Refusal,
    read_completion,
    writable,
)
from runtime.chat_api.config import ChatModel
from runtime.chat_api.connections import Connections, NoReply, Reply, proxy_of
from runtime.pool.messages import heartbeat

_ACCOUNT = {
    401: "refuses the key; {key}",
    402: "wants to be paid first; {key}",
    403: "does not let the key in; {key}",
    404: "knows no such model, or is no chat endpoint; check `model` and `base_url`",
}
"""Refusals that the next question would meet as well."""
_NO_KEY = {401: "asks for a key; {key}", 403: "lets nobody in without a key; {key}"}
_CONNECT_SECONDS = 5.0
_LATER = (408, 409, 429)
"""Refusals that are worth another attempt; so are those from 500 on."""
_GATEWAY_GAVE_UP = (504, 524)
"""The gateway waited no longer (524 is Cloudflare's); the model behind it may have written."""
_OUT_OF_CREDIT = "insufficient_quota"
"""OpenAI's 429 for an account without credit: waiting does not help."""
_KEY = re.compile("[!-~]*")
"""What a header can carry of a key: ASCII, in one word."""
_FIRST_WAIT, _LONGEST_WAIT, _LONGEST_ASKED_WAIT = 0.5, 8.0, 60.0
_jitter = Random()


class Unanswered(OnPolicyError):
    """No answer came, this time."""

    def __init__(
        self,
        reason: str,
        status: int = 0,
        retry_after: float | None = None,
        lost: Lost | None = None,
    ) -> None:
        super().__init__(reason)
        self.status = status
        """The HTTP status; 0 where none came."""
        self.retry_after = retry_after
        """Seconds that the endpoint asks to be left alone for."""
        self.lost = lost
        """What it may have cost all the same; None where nobody can have written anything."""

    @property
    def is_throttled(self) -> bool:
        """Whether the endpoint refused because it is asked too often."""
        return self.status == 429


class ChatEndpoint:
    """A model behind an endpoint; from any thread."""

    def __init__(
        self, who: str, config: ChatModel, timeout: float, attempts: int = 1, at_once: int = 64
    ) -> None:
        """
        Args:
            who: whose endpoint it is, for messages.
            timeout: seconds after which a request is given up, also where its answer trickles in;
                up to twice as many where it falls silent on the way.
            attempts: times that `complete` itself sends a request, waiting 0.5 s, doubled up to
                8 s, or as long as the endpoint says, up to a minute.
            at_once: most threads that ask.

        Raises:
            UserError: the environment variable that should hold the key is not set, or its proxy
                is none over HTTP.
        """
        self._who = who
        self._config = config
        self._key = key_of(who, config)
        self._attempts = attempts
        self._encode = json.JSONEncoder(separators=(",", ":")).encode
        url = f"{config.base_url.rstrip('/')}/chat/completions"
        self._connections = Connections(who, url, _headers(config, self._key), timeout, at_once)

    def complete(self, body: Mapping[str, Any]) -> Completion | Refusal:
        """The answer to one request.

        Args:
            body: the request without the model's name.

        Raises:
            UserError: the endpoint refuses the key, the account or the model.
            Unanswered: it could not be reached, was busy or failed, or sent no chat completion.
        """
        sent = self._send(body)
        if isinstance(sent, Refusal):
            return sent
        try:
            return read_completion(sent)
        except NoCompletion as error:
            told = self._without_key(str(error))
            says = f"what came is no chat completion: {told}"
            raise Unanswered(says, 200, lost=error.lost) from None

    def refused(self, refusal: Refusal, what: str) -> UserError:
        """The error that ends all asking."""
        return UserError(
            f"{self._who}: {self._config.base_url} {what} (model {self._config.model!r}, "
            f"status {refusal.status}): {refusal.message}"
        )

    def _send(self, body: Mapping[str, Any]) -> bytes | Refusal:
        """The body that came with a good status, asked for as often as this endpoint is to."""
        for failures in range(self._attempts - 1):
            try:
                return self._send_once(body)
            except Unanswered as unanswered:
                time.sleep(_wait(failures, unanswered))
        return self._send_once(body)

    def _send_once(self, body: Mapping[str, Any]) -> bytes | Refusal:
        # Each attempt is a sign of life: a dozen of them may take longer than `hang_timeout`.
        heartbeat()
        try:
            reply = self._connections.post(
                self._encode({"model": self._config.model, **body}).encode()
            )
        except NoReply as none:
            raise Unanswered(str(none), lost=Lost() if none.may_be_billed else None) from None
        return reply.body if 200 <= reply.status < 300 else self._refusal(reply)

    def _refusal(self, reply: Reply) -> Refusal:
        error = _error_in(reply.body)
        text = reply.body.decode(errors="replace")
        told = self._without_key(str(error.get("message") or text or "no message"))
        refusal = Refusal(reply.status, told)
        if refusal.status in _ACCOUNT or error.get("code") == _OUT_OF_CREDIT:
            told_of = _ACCOUNT | (_NO_KEY if self._config.resources.api_key_env is None else {})
            what = told_of.get(refusal.status, _ACCOUNT[402])
            raise self.refused(refusal, what.format(key=self._about_key()))
        if refusal.status in _LATER or refusal.status >= 500:
            lost = Lost() if refusal.status in _GATEWAY_GAVE_UP else None
            said = f"status {refusal.status}: {told}"
            raise Unanswered(said, refusal.status, _retry_after(reply), lost)
        return refusal

    def _about_key(self) -> str:
        if self._config.resources.api_key_env is None:
            return "`resources.api_key_env` is null: name the variable that holds one"
        return f"check the environment variable {self._config.resources.api_key_env}"

    def _without_key(self, text: str) -> str:
        """At most 500 characters, without the key: some endpoints repeat it, or a part of it."""
        text = writable(text[:500])
        key = self._key
        words = set(re.findall(r"[\w-]{6,}", text)) if key else set()
        parts = {word for word in words if word in key or key in word}
        for part in sorted(parts, key=len, reverse=True):
            text = text.replace(part, "[key]")
        return " ".join(text.split())


def has_key(config: ChatModel) -> bool:
    """Whether the environment holds the key, or none is needed."""
    return not config.resources.api_key_env or bool(_key_in(config.resources.api_key_env))


def key_of(who: str, config: ChatModel) -> str:
    """The key, read from the environment and kept nowhere else.

    Raises:
        UserError: the environment variable that should hold it is not set, or holds what no
            header can carry.
    """
    if not has_key(config):
        raise UserError(
            f"{who}: set the environment variable {config.resources.api_key_env} "
            "to the endpoint's key, or `resources.api_key_env: null` where it needs none"
        )
    key = _key_in(config.resources.api_key_env) if config.resources.api_key_env else ""
    if not _KEY.fullmatch(key):
        raise UserError(
            f"{who}: the environment variable {config.resources.api_key_env} holds a blank, a line "
            "break or a character that is not ASCII within the key; set it to the key alone"
        )
    return key


def _key_in(variable: str) -> str:
    """The key in a variable; a file read into it ends in a line break."""
    return os.environ.get(variable, "").strip()


def refuse_unreachable(who: str, config: ChatModel) -> None:
    """Connect to the endpoint once and send nothing. It is not tried behind a proxy, nor without
    the key, which is told by itself.

    Raises:
        UserError: its name is not known, or nobody listens there.
    """
    url = urlsplit(config.base_url)
    host = url.hostname or ""
    if not has_key(config) or proxy_of(config.base_url):
        return
    try:
        port = url.port or {"http": 80, "https": 443}[url.scheme]
        socket.create_connection((host, port), timeout=_CONNECT_SECONDS).close()
    except (OSError, ValueError) as error:
        raise UserError(
            f"{who}: {host} cannot be reached: {first_line(error)}; check `base_url`, and that the "
            "endpoint is up"
        ) from None


def _error_in(body: bytes) -> Mapping[str, Any]:
    """What the endpoint says in its own words; empty where that is no object."""
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    error = said.get("error", said) if isinstance(said, dict) else {}
    return error if isinstance(error, dict) else {"message": error}


def _retry_after(reply: Reply) -> float | None:
    """Seconds in the header `Retry-After`; a date there counts as none."""
    try:
        return max(0.0, float(reply.headers["retry-after"]))
    except (KeyError, ValueError):
        return None


def _wait(failures: int, unanswered: Unanswered) -> float:
    """Seconds to the next attempt, varied by a fifth."""
    wait = min(_FIRST_WAIT * 2**failures, _LONGEST_WAIT)
    if unanswered.retry_after is not None:
        wait = min(unanswered.retry_after, _LONGEST_ASKED_WAIT)
    return float(wait * _jitter.uniform(1.0, 1.2))


def _headers(config: ChatModel, key: str) -> dict[str, str]:
    headers = {"content-type": "application/json", "accept": "application/json"}
    if config.resources.api_key_env is not None:
        headers["authorization"] = f"Bearer {key}"
    return headers
