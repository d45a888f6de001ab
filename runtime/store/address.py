"""A store's address, looked at without asking the store."""

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from contracts.config.credentials import refuse_credentials
from contracts.errors import UserError

_KNOWN = "s3://bucket/prefix, gs://bucket/prefix, az://container/prefix or file:///shared/folder"
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
