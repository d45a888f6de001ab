"""A store's address, looked at without asking the store."""

import os
import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator

from contracts.config.credentials import refuse_credentials
from contracts.errors import UserError

_KNOWN = "s3://bucket/prefix, gs://bucket/prefix, az://container/prefix or file:///shared/folder"
_ENDPOINTS = {
    "s3": ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT"),
    "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
}
_ADDRESS = re.compile(r"(?:(?:s3|gs|az)://[^/]|file:///.)", re.IGNORECASE)


def checked(address: str) -> str:
    """The address without a slash at its end.

    Raises:
        ValueError: it is of no known scheme, or names no bucket; says which there are.
    """
    if not _ADDRESS.match(address):
        raise ValueError(f"is no address of a store; write {_KNOWN}")
    if re.search(r"[@?#\s]|//.*//|/\.{1,2}(/|$)", address):
        raise ValueError(f"holds more than a bucket and a prefix; write {_KNOWN}")
    return address.rstrip("/")


StoreAddress = Annotated[str, AfterValidator(checked)]


def address_given(option: str, address: str) -> str:
    """The address that a command's option gives.

    Raises:
        UserError: as `checked`; or it holds a secret, which is not repeated.
    """
    refuse_credentials({option: address}, "command line")
    try:
        return checked(address)
    except ValueError as error:
        raise UserError(f"{option} {address}: {error}") from None


def is_address(text: str) -> bool:
    """Whether a text names something in a store and not a file or a folder here."""
    return re.match(r"[a-z][a-z0-9+.-]*://", text, re.IGNORECASE) is not None


def refuse_address(folder: Any) -> Any:
    """The folder as it is given.

    Raises:
        ValueError: a store's address is given for it; as a path it would be a folder `s3:` here.
    """
    if re.match(r"(s3|gs|az|file):/", str(folder), re.IGNORECASE):
        raise ValueError(
            "must be a folder of this machine; name a store by `resources.store`, and fetch a run "
            "that it holds by `onpolicy pull`"
        )
    return folder


def refuse_endpoint(address: str) -> None:
    """Refuse an endpoint at whose first request obstore would panic.

    Raises:
        UserError: the environment's endpoint for this kind of store is no URL.
    """
    for name in _ENDPOINTS.get(address.partition("://")[0].lower(), ()):
        if not re.match(r"https?://[^/]|$", os.environ.get(name, "")):
            raise UserError(
                f"{address}: the environment's {name} is no URL; write https://host, or "
                "http://host:port for one without TLS"
            )


def split_address(address: str) -> tuple[str, str]:
    """The store that an address lies in, and its key there: a bucket and what follows it.

    For `file:///` that is the deepest folder above it that is there.
    """
    scheme, _, rest = address.partition("://")
    if scheme.lower() != "file":
        bucket, _, key = rest.partition("/")
        return f"{scheme}://{bucket}", key
    path = Path(rest)
    root = next(folder for folder in path.parents if folder.is_dir())
    return f"file://{root}", path.relative_to(root).as_posix()
