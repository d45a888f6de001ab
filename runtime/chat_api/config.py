"""Where a chat endpoint is, and which model answers there."""

from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field

from contracts.config.base import Config, Resources
from contracts.config.credentials import refuse_credentials

_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")


def _without_secret(address: Any) -> Any:
    """
    Raises:
        UserError: it holds a user name, a password or a query; pydantic's own would show them.
    """
    refuse_credentials({"base_url": address}, "a chat model")
    return address


class ChatResources(Resources):
    """How an endpoint is asked."""

    api_key_env: str | None = "OPENAI_API_KEY"
    """Environment variable that holds the key, or null for an endpoint without one."""
    timeout: Annotated[float, Field(gt=0)] = 120.0
    """Seconds after which a request is given up and sent again, also where its answer trickles in;
    up to twice as many where it falls silent on the way."""


class ChatModel(Config):
    """A model at an OpenAI-compatible chat endpoint."""

    model: str
    """The model's name at the endpoint; pin a dated one, for judges get retired."""
    base_url: Annotated[str, BeforeValidator(_without_secret), Field(pattern=r"^https?://")] = (
        "https://api.openai.com/v1"
    )
    """Where `/chat/completions` is; another service may have another model of that name."""
    resources: ChatResources = ChatResources()
    """How it is asked; no part of the result's identity."""

    @property
    def service(self) -> str:
        """Who gives the answers, for what they are kept under: the address, of a server on this
        machine without its port, which says nothing."""
        host = urlsplit(self.base_url).hostname or ""
        return host if host in _THIS_MACHINE else self.base_url.rstrip("/")
