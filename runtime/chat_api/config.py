"""Where a chat endpoint is, and which model answers there."""

from typing import Annotated

from pydantic import Field

from contracts.config.base import Config


class ChatModel(Config):
    """A model at an OpenAI-compatible chat endpoint."""

    model: str
    """The model's name at the endpoint; pin a dated one, for judges get retired."""
    base_url: Annotated[str, Field(pattern=r"^https?://")] = "https://api.openai.com/v1"
    """Where `/chat/completions` is."""
    api_key_env: str | None = "OPENAI_API_KEY"
    """Environment variable that holds the key, or null for an endpoint without one."""
