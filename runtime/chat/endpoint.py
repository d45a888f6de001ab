"""A chat endpoint: its key, its client, and what its statuses mean."""

import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from contracts.errors import OnPolicyError, UserError
from runtime.chat.completion import Completion, NoCompletion, Refusal, read_completion
from runtime.chat.config import ChatModel
from runtime.pool.messages import heartbeat

if TYPE_CHECKING:
    from openai import APIStatusError, OpenAI

_ACCOUNT = {
    401: "refuses the key; {key}",
    402: "wants to be paid first; {key}",
    403: "does not let the key in; {key}",
    404: "knows no such model, or is no chat endpoint; check `model` and `base_url`",
}
"""Refusals that the next question would meet as well."""
_LATER = (408, 409, 429)
"""Refusals that are worth another attempt; so are those from 500 on."""


class Unanswered(OnPolicyError):
    """No answer came, this time."""

    def __init__(self, reason: str, status: int = 0, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.status = status
        """The HTTP status; 0 where none came."""
        self.retry_after = retry_after
        """Seconds that the endpoint asks to be left alone for."""

    @property
    def is_throttled(self) -> bool:
        """Whether the endpoint refused because it is asked too often."""
        return self.status == 429


class ChatEndpoint:
    """A model behind an endpoint; from any thread."""

    def __init__(self, who: str, config: ChatModel, timeout: float, attempts: int = 1) -> None:
        """
        Args:
            who: whose endpoint it is, for messages.
            timeout: seconds that one answer may take.
            attempts: times that the client itself sends a request, waiting 0.5 s, doubled up to
                8 s, or as long as the endpoint says.

        Raises:
            UserError: the environment variable that should hold the key is not set.
        """
        self._who = who
        self._config = config
        self._key = key_of(who, config)
        self._client = _client(config, self._key, timeout, attempts)
        self._headers = _headers(config)

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
            raise Unanswered(f"what came is no chat completion: {told}", 200) from None

    def refused(self, refusal: Refusal, what: str) -> UserError:
        """The error that ends all asking."""
        return UserError(
            f"{self._who}: {self._config.base_url} {what} (model {self._config.model!r}, "
            f"status {refusal.status}): {refusal.message}"
        )

    def _send(self, body: Mapping[str, Any]) -> bytes | Refusal:
        """The body that came with status 200."""
        import openai
        from httpx2 import Response

        try:
            # `chat.completions.create` would look through the body's types: a third of the
            # processor time of a request.
            return self._client.post(
                "/chat/completions",
                cast_to=Response,
                body={"model": self._config.model, **body},
                options={"headers": self._headers},
            ).content
        except openai.APIStatusError as error:
            return self._refusal(error)
        except openai.APIError as error:
            raise Unanswered(type(error).__name__) from None

    def _refusal(self, error: "APIStatusError") -> Refusal:
        refusal = Refusal(error.status_code, self._told(error))
        if refusal.status in _ACCOUNT or _is_out_of_credit(error):
            what = _ACCOUNT.get(refusal.status, _ACCOUNT[402])
            raise self.refused(refusal, what.format(key=self._about_key())) from None
        if refusal.status in _LATER or refusal.status >= 500:
            raise Unanswered(
                f"status {refusal.status}: {refusal.message}", refusal.status, _retry_after(error)
            ) from None
        return refusal

    def _about_key(self) -> str:
        if self._config.api_key_env is None:
            return "`api_key_env` is null, so it was sent no key"
        return f"check the environment variable {self._config.api_key_env}"

    def _told(self, error: "APIStatusError") -> str:
        """What the endpoint says."""
        said = error.body if isinstance(error.body, dict) else {}
        return self._without_key(str(said.get("message") or error.response.text or "no message"))

    def _without_key(self, text: str) -> str:
        """At most 500 characters, without the key: some endpoints repeat it, or a part of it."""
        text = text[:500]
        key = self._key
        words = set(re.findall(r"[\w-]{6,}", text)) if key else set()
        parts = {word for word in words if word in key or key in word}
        for part in sorted(parts, key=len, reverse=True):
            text = text.replace(part, "[key]")
        return " ".join(text.split())


def has_key(config: ChatModel) -> bool:
    """Whether the environment holds the key, or none is needed."""
    return not config.api_key_env or bool(os.environ.get(config.api_key_env))


def key_of(who: str, config: ChatModel) -> str:
    """The key, read from the environment and kept nowhere else.

    Raises:
        UserError: the environment variable that should hold it is not set.
    """
    if not has_key(config):
        raise UserError(
            f"{who}: set the environment variable {config.api_key_env} "
            "to the endpoint's key, or `api_key_env: null` where it needs none"
        )
    return os.environ[config.api_key_env] if config.api_key_env else ""


def _is_out_of_credit(error: "APIStatusError") -> bool:
    """OpenAI's 429 for an account without credit: waiting does not help."""
    return error.code == "insufficient_quota"


def _retry_after(error: "APIStatusError") -> float | None:
    """Seconds in the header `Retry-After`; a date there counts as none."""
    try:
        return max(0.0, float(error.response.headers["retry-after"]))
    except (KeyError, ValueError):
        return None


def _client(config: ChatModel, key: str, timeout: float, attempts: int) -> "OpenAI":
    from openai import DefaultHttpxClient, OpenAI

    return OpenAI(
        api_key=key or "none",
        base_url=config.base_url,
        timeout=timeout,
        max_retries=attempts - 1,
        # Each attempt is a sign of life: a dozen of them may take longer than `hang_timeout`.
        http_client=DefaultHttpxClient(event_hooks={"request": [lambda _: heartbeat()]}),
    )


def _headers(config: ChatModel) -> dict[str, Any]:
    """What the client would read from the environment is not for any endpoint to see."""
    from openai import omit

    hidden = ["OpenAI-Organization", "OpenAI-Project"]
    if config.api_key_env is None:
        hidden.append("Authorization")
    return dict.fromkeys(hidden, omit)
