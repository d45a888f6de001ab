"""What leaves this machine: no paths of it, no credentials, and only where it is asked to."""

import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from contracts.errors import UserError, first_line

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


# How and where a stage ran: hosts and ports among it, and nothing that decides the result.
_PRIVATE = {"resources", "trackers", "runs_dir"}


def public(value: Any) -> Any:
    """Plain values of a config without `resources`, with absolute paths cut to their last part
    and credentials taken out of addresses."""
    if isinstance(value, dict):
        return {key: public(item) for key, item in value.items() if key not in _PRIVATE}
    if isinstance(value, list):
        return [public(item) for item in value]
    if not isinstance(value, str):
        return value
    if value.startswith(("/", "~")) and len(value) > 1:
        return f".../{Path(value).name}"
    if re.match(r"[a-z][a-z0-9+]*://", value) and "@" in value:
        parts = urlsplit(value)
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    return value


def hub_id(reference: str | None) -> str | None:
    """A reference as the hub's own id, or None where it is a file or folder."""
    if not reference or Path(reference).exists() or not _HUB_ID.fullmatch(reference):
        return None
    return None if Path(reference).suffix in (".json", ".jsonl", ".gz", ".parquet") else reference


def hub_token(repository: str) -> str:
    """The token for a push; one that an earlier login left behind is not used.

    Raises:
        UserError: HF_TOKEN is not set.
    """
    if token := os.environ.get("HF_TOKEN"):
        return token
    raise UserError(f"--push {repository}: set HF_TOKEN to a token with write access")


def push(folder: Path, repository: str, kind: str, private: bool) -> None:
    """Upload a folder to a `model` or `dataset` repository, with the token in HF_TOKEN.

    Raises:
        UserError: there is no token, or the hub refuses.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    hub = HfApi(token=hub_token(repository))
    try:
        hub.create_repo(repository, repo_type=kind, private=private, exist_ok=True)
        hub.upload_folder(folder_path=folder, repo_id=repository, repo_type=kind)
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise UserError(
            f"{repository}: cannot be pushed to: {first_line(error)}. The {kind} lies in {folder}; "
            "has the token in HF_TOKEN write access?"
        ) from None
