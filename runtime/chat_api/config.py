"""Where a chat endpoint is, and which model answers there."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from contracts.config.base import Config
from contracts.config.credentials import refuse_credentials


def _without_secret(address: Any) -> Any:
    """
    Raises:
        UserError: it holds a user name, a password or a query; pydantic's own would show them.
    """
    refuse_credentials({"base_url": address}, "a chat model")
    return address


class ChatModel(Config):
    """A model at an OpenAI-compatible chat endpoint."""

    model: str
    """The model's name at the endpoint; pin a dated one, for judges get retired."""
    base_url: Annotated[str, BeforeValidator(_without_secret), Field(pattern=r"^https?://")] = (
        "https://api.openai.com/v1"
    )
    """Where `/chat/completions` is."""
    api_key_env: str | None = "OPENAI_API_KEY"
    """Environment variable that holds the key, or null for an endpoint without one."""
