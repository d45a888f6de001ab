"""The objects of a store, with plain errors. obstore is imported where a store is opened.

A PUT is atomic: an object that exists is whole. Nothing is renamed, which on S3 is a copy and a
delete.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from contracts.errors import OnPolicyError, UserError
from runtime.store.address import refuse_endpoint
from runtime.store.reasons import reason_of, way_out_of

if TYPE_CHECKING:
    from obstore.store import ObjectStore

T = TypeVar("T")

_RETRIES = 5
_SECONDS = 120.0
# obstore asks for less than 5 minutes: by then a request's signature is too old.
_RETRY_SECONDS = 240.0
# Larger objects go up in pieces, and exist once the last of them is there. S3 takes 10,000.
_PIECE = 5 << 20
_MOST_PIECES = 9_000
_CHUNK = 8 << 20
# All pieces under way share the link, and each is a request: with obstore's 12 of each of 8 files,
# a link below 34 Mbit/s brought none of them to its end within 120 s. With 4 it may have 11.
_PIECES_AT_ONCE = 4
_PIECES_AT_ONCE_ON_DISK = 12
_AT_ONCE = 8


class StoreError(OnPolicyError):
    """A store did not answer, or refused; what it was to hold is still here."""

    def __init__(self, message: str, is_refusal: bool = False) -> None:
        """
        Args:
            is_refusal: whether asking again is of no use: no right, or no such bucket.
        """
        super().__init__(message)
        self.is_refusal = is_refusal
        if is_refusal:
            self.exit_code = UserError.exit_code


class Objects:
    """The objects below an address. Credentials come from the environment, as obstore's readers
    of it know them (`AWS_ACCESS_KEY_ID`, `GOOGLE_APPLICATION_CREDENTIALS`, `AZURE_...`)."""

    def __init__(self, address: str, retries: int = _RETRIES, seconds: float = _SECONDS) -> None:
        """
        Args:
            address: as `runtime.store.address.checked` has left it.
            retries: how often obstore repeats a request that failed for the moment.
            seconds: how long a request may take until its answer begins; how long that may pause.

        Raises:
            UserError: obstore is not installed, the address cannot be opened, or the environment's
                endpoint is no URL.
        """
        self.address = address
        self._is_folder = _is_folder(address)
        self._store = _opened(address, retries, seconds)
        self._pieces = _PIECES_AT_ONCE_ON_DISK if self._is_folder else _PIECES_AT_ONCE

    def read(self, key: str) -> bytes | None:
        """An object's bytes; None where there is none.

        Raises:
            StoreError: the store cannot say.
        """
        import obstore

        with self._told("reading", key):
            try:
                return bytes(obstore.get(self._store, key).bytes())
            except FileNotFoundError as error:
                _raise_without_bucket(error)
                return None

    def write(self, key: str, data: bytes) -> None:
        """Put an object in place, whatever was there."""
        import obstore

        with self._told("writing", key):
            obstore.put(self._store, key, data)

    def create(self, key: str, data: bytes) -> bool:
        """Put an object where there is none; whether this call did it: of several, one does."""
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        with self._told("writing", key):
            try:
                obstore.put(self._store, key, data, mode="create")
            except (AlreadyExistsError, PreconditionError):
                # Also where our own PUT was done, its answer lost, and the request repeated.
                return self.read(key) == data
            return True

    def send(self, key: str, path: Path) -> None:
        """Put a file in place.

        Raises:
            FileNotFoundError: the file is gone.
        """
        import obstore

        size = path.stat().st_size
        piece = max(_PIECE, -(-size // _MOST_PIECES))
        with self._told("writing", key):
            obstore.put(self._store, key, path, chunk_size=piece, max_concurrency=self._pieces)

    def receive(self, key: str, path: Path) -> None:
        """Write an object to a file, whose name comes to be once all of it has come.

        Raises:
            StoreError: there is none, or it did not come whole.
        """
        temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
        try:
            with temporary.open("wb") as file:
                for chunk in self._chunks(key):
                    file.write(chunk)
            # Brought to the disk by `receive_all`, many files together.
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    def _chunks(self, key: str) -> Iterator[Any]:
        """An object's bytes. Where the connection breaks they go on from there, as long as some
        come each time: obstore itself gives up after some minutes, and weights take longer."""
        came = before = 0
        while True:
            try:
                for chunk in self._from(key, came):
                    came += len(chunk)
                    yield chunk
                return
            except StoreError:
                if came <= before:
                    raise
                before = came

    def _from(self, key: str, offset: int) -> Iterator[Any]:
        import obstore

        if self._is_folder:
            yield from self._ranges(key, offset)
            return
        options: Any = {"range": {"offset": offset}} if offset else None
        with self._told("reading", key):
            yield from obstore.get(self._store, key, options=options).stream(_CHUNK)

    def _ranges(self, key: str, offset: int) -> Iterator[Any]:
        """Of a folder. Streamed, a file of it comes in pieces of 8 KiB put together: 256 MB take
        1.3 CPU seconds, and 0.3 in ranges. Of a bucket each range would be a request."""
        import obstore

        with self._told("reading", key):
            size = obstore.head(self._store, key)["size"]
            for start in range(offset, size, _CHUNK):
                end = min(start + _CHUNK, size)
                yield obstore.get_range(self._store, key, start=start, end=end)

    def sizes(self, prefix: str) -> dict[str, int]:
        """Bytes of each object whose key begins with a folder's name, by its key."""
        import obstore

        with self._told("listing", prefix):
            listed = [meta for page in obstore.list(self._store, prefix or None) for meta in page]
        return {meta["path"]: meta["size"] for meta in listed}

    def folders(self) -> list[str]:
        """Names that keys begin with, before their first slash; no key is listed for it."""
        import obstore

        with self._told("listing", ""):
            listed = obstore.list_with_delimiter(self._store)["common_prefixes"]
        return sorted(name.rstrip("/") for name in listed)

    def remove(self, keys: Iterable[str]) -> None:
        """Remove objects; one that is gone already is none the worse."""
        import obstore

        def remove_one(key: str) -> None:
            with self._told("removing", key):
                try:
                    obstore.delete(self._store, key)
                except FileNotFoundError as error:
                    _raise_without_bucket(error)

        at_once(remove_one, list(keys))

    @contextmanager
    def _told(self, doing: str, key: str) -> Iterator[None]:
        """Name the object where obstore fails, and nothing that a request was signed with."""
        from obstore.exceptions import BaseError

        try:
            yield
        except (BaseError, FileNotFoundError, ValueError, _NoBucket) as error:
            told = f"{self.address}/{key}: {doing} failed: {reason_of(error)}"
            raise StoreError(told, bool(way_out_of(str(error)))) from None


class _NoBucket(Exception):
    """What was asked for is not missing in its bucket: the bucket is."""


def _raise_without_bucket(error: FileNotFoundError) -> None:
    if re.search("NoSuchBucket|ContainerNotFound|bucket does not exist", str(error)):
        raise _NoBucket(str(error)) from None


def at_once(do: Callable[[T], None], items: Sequence[T]) -> None:
    """Do it for each item, several at a time; the first error, once none is under way."""
    if len(items) < 2:
        for item in items:
            do(item)
        return
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        futures = [pool.submit(do, item) for item in items]
        try:
            for future in futures:
                future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _opened(address: str, retries: int, seconds: float) -> "ObjectStore":
    refuse_endpoint(address)
    try:
        from obstore.exceptions import BaseError
        from obstore.store import from_url
    except ModuleNotFoundError:
        raise UserError(
            f"{address}: a store needs obstore, which is not installed; "
            "pip install 'onpolicy[store]'"
        ) from None
    try:
        store: ObjectStore = from_url(address, **_options(address, retries, seconds))
    except (BaseError, ValueError) as error:
        raise UserError(f"{address}: cannot be opened: {reason_of(error)}") from None
    return store


def _options(address: str, retries: int, seconds: float) -> dict[str, Any]:
    if _is_folder(address):
        return {}
    backoff = {"init_backoff": timedelta(seconds=0.1), "max_backoff": timedelta(seconds=3),
               "base": 2}  # fmt: skip
    return {
        "retry_config": {
            "max_retries": retries,
            "backoff": backoff,
            "retry_timeout": timedelta(seconds=_RETRY_SECONDS),
        },
        "client_options": {
            # Not for the whole of an answer, which may be 5 GB of weights.
            "timeout": timedelta(days=1),
            "read_timeout": timedelta(seconds=seconds),
            "connect_timeout": timedelta(seconds=10),
            "allow_http": _plain_http(),
        },
    }


def _is_folder(address: str) -> bool:
    return address.lower().startswith("file:")


def arrow_files(address: str) -> Any:
    """The file system of an address's scheme, as pyarrow reads it: paths begin with the bucket,
    or with the root of `file://`."""
    from obstore.fsspec import FsspecStore
    from pyarrow.fs import FSSpecHandler, PyFileSystem

    scheme: Any = address.partition("://")[0].lower()
    options = _options(address, _RETRIES, _SECONDS)
    return PyFileSystem(FSSpecHandler(FsspecStore(scheme, **options)))


def _plain_http() -> bool:
    """Whether the environment allows an endpoint without TLS, e.g. one on this machine."""
    given = (os.environ.get(f"{kind}_ALLOW_HTTP", "") for kind in ("AWS", "AZURE", "GOOGLE"))
    return any(value.lower() in ("1", "true") for value in given)
