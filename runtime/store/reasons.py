"""Why a store fails, in a line, with nothing that a request was signed with."""

import re

from contracts.errors import first_line

_LONGEST = 300
_REFUSALS = {
    # Where a cloud's machines ask for the credentials of their role.
    r"169\.254\.169\.254|metadata\.google|Account must be specified": "the environment holds no "
    "credentials for this store, and this machine has no role of its own; export them "
    "(docs/scale.md names the variables)",
    r"NoSuchBucket|ContainerNotFound|bucket does not exist": "there is no such bucket; make it, or "
    "name another",
    r"canonicalize filesystem root": "there is no such folder; make it, or name another",
    r"builder error": "the endpoint has no TLS; to allow that, set AWS_ALLOW_HTTP=true",
    r"InvalidAccessKeyId|SignatureDoesNotMatch|ExpiredToken|401 Unauthorized": "the credentials in "
    "the environment are not valid there, or no longer",
    r"AccessDenied|403 Forbidden|Permission denied|Read-only": "no right to do that; allow "
    "these credentials to read, write, list and delete there, or export others",
}
"""What asking again does not mend, to what does."""


def way_out_of(text: str) -> str:
    """What mends a refusal, with the server's own word for it; empty where it is none."""
    ways = (way for pattern, way in _REFUSALS.items() if re.search(pattern, text))
    way, code = next(ways, ""), re.search(r"<Code>(\w+)</Code>", text)
    return f"{way} ({code[1]})" if way and code else way


def reason_of(error: BaseException) -> str:
    """Why. Azure's secrets stand in an address's query, others before its host."""
    text = str(error)
    if way := way_out_of(text):
        return way
    line = re.sub(r"\?[^\s)]*", "", first_line(error).partition("<?xml")[0]).rstrip(" :")
    line = re.sub(r"(?<=://)[^/\s]*@", "", line)
    line = re.sub(r" in [\d.]+[mµn]?s\b", "", line)
    if "error sending request" in text:
        line = f"no server answers there ({line})"
    if code := re.search(r"<Code>(\w+)</Code>", text):
        line = f"{code[1]} ({line})"
    return line[:_LONGEST]
