"""Connections to a chat endpoint: kept alive, through the environment's proxy, from any thread."""

import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from contracts.errors import UserError, first_line

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse, PoolManager, Retry

_REDIRECTS = 5


_PART = 1 << 16
"""Bytes of a reply that are read at a time, at most."""


class NoReply(Exception):
    """No whole reply came; says what came in its place."""

    def __init__(self, says: str, may_be_billed: bool) -> None:
        super().__init__(says)
        self.may_be_billed = may_be_billed
        """Whether the request was sent, and so perhaps answered."""


@dataclass(frozen=True)
class Reply:
    """A whole reply."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Connections:
    """POSTs to one address. Plain urllib3: a request over httpx2 took 1.0 ms of processor time,
    over this 0.3, and 16 threads share one interpreter."""

    def __init__(
        self, who: str, url: str, headers: Mapping[str, str], timeout: float, at_once: int
    ) -> None:
        """
        Args:
            who: whose endpoint it is, for messages.
            timeout: seconds for a whole reply. urllib3's own are for each of its parts, so that
                one which trickles would never end.
            at_once: most threads that ask; so many connections are kept.

        Raises:
            UserError: the environment's proxy is none over HTTP.
        """
        self._url = url
        self._headers = dict(headers)
        self._timeout = timeout
        self._retries = _redirects_alone()
        self._pools = _pools(who, url, at_once)

    def post(self, body: bytes) -> Reply:
        """The whole reply, whatever its status; redirects are followed.

        Raises:
            NoReply: none came in time.
        """
        from urllib3.exceptions import (
            DecodeError,
            HTTPError,
            MaxRetryError,
            ProtocolError,
            ReadTimeoutError,
        )

        until = time.monotonic() + self._timeout
        try:
            reply = self._pools.request(
                "POST", self._url, body=body, headers=self._headers, timeout=self._timeout,
                retries=self._retries, preload_content=False,
            )  # fmt: skip
            return Reply(reply.status, reply.headers, self._whole(reply, until))
        except HTTPError as error:
            reason = error.reason if isinstance(error, MaxRetryError) and error.reason else error
            was_sent = isinstance(reason, (DecodeError, ProtocolError, ReadTimeoutError))
            cause = f": {first_line(reason.__cause__)}" if reason.__cause__ else ""
            raise NoReply(f"{type(reason).__name__}{cause}", was_sent) from None

    def _whole(self, reply: "BaseHTTPResponse", until: float) -> bytes:
        parts = []
        while part := reply.read1(_PART):
            parts.append(part)
            if time.monotonic() > until and reply.length_remaining != 0:
                reply.close()
                raise NoReply(f"no whole answer within {self._timeout:g} s", True)
        return b"".join(parts)


def proxy_of(url: str) -> str | None:
    """The environment's proxy for an address; None where there is none."""
    address, proxies = urlsplit(url), getproxies()
    if proxy_bypass(address.hostname or ""):
        return None
    return proxies.get(address.scheme) or proxies.get("all") or None


def _redirects_alone() -> "Retry":
    """What failed is tried again by the dispatcher, which knows when."""
    from urllib3 import Retry

    return Retry(
        total=_REDIRECTS, connect=False, read=False, status=False, other=False,
        redirect=_REDIRECTS, respect_retry_after_header=False,
    )  # fmt: skip


def _pools(who: str, url: str, at_once: int) -> "PoolManager":
    """
    Raises:
        UserError: the environment's proxy is none over HTTP.
    """
    from urllib3 import PoolManager, ProxyManager, make_headers

    trusted = _trusted(url)
    proxy = proxy_of(url)
    if proxy is None:
        return PoolManager(maxsize=at_once, ssl_context=trusted)
    address = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    if address.scheme not in ("http", "https"):
        raise UserError(f"{who}: the environment names a {address.scheme} proxy; give one of HTTP")
    user = f"{unquote(address.username or '')}:{unquote(address.password or '')}"
    headers = make_headers(proxy_basic_auth=user if address.username else None)
    place = f"{address.scheme}://{address.netloc.rpartition('@')[2]}"
    return ProxyManager(place, maxsize=at_once, ssl_context=trusted, proxy_headers=headers)


def _trusted(url: str) -> ssl.SSLContext:
    """Whose certificates count: the machine's, which take 30 ms of processor time to read. Behind
    plain HTTP nobody's do, so that a redirect from there to HTTPS is refused."""
    if not url.startswith("https:"):
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    from httpx2 import create_ssl_context

    return create_ssl_context()
