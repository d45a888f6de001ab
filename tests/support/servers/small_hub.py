"""A hub on loopback: what huggingface_hub asks for to find a commit and to load its files."""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from loopback import serving

_API = re.compile(
    r"/api/(models|datasets)/([^/]+/[^/]+)(?:/(revision|tree|paths-info)/([^/]+))?(/.*)?"
)
_FILE = re.compile(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)")


class SmallHub:
    """Repositories as folders, one a commit. `kind` is `models` or `datasets`."""

    def __init__(self) -> None:
        self._commits: dict[tuple[str, str], dict[str, Path]] = {}
        self._main: dict[tuple[str, str], str] = {}
        self.asked: list[str] = []
        """Every path that was asked for."""

    def push(self, repository: str, folder: Path, kind: str = "models") -> str:
        """Make a folder's files the newest commit of `main`; the commit."""
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        digest = hashlib.sha1(repository.encode())
        for path in files:
            digest.update(str(path.relative_to(folder)).encode() + path.read_bytes())
        commit = digest.hexdigest()
        self._commits.setdefault((kind, repository), {})[commit] = folder
        self._main[kind, repository] = commit
        return commit

    def find(self, kind: str, repository: str, revision: str) -> tuple[str, Path] | None:
        """The commit of a revision and its folder, or None."""
        commits = self._commits.get((kind, repository), {})
        commit = self._main.get((kind, repository), "") if revision == "main" else revision
        return (commit, commits[commit]) if commit in commits else None

    @contextmanager
    def serve(self) -> Iterator[str]:
        """The hub's address, for HF_ENDPOINT."""
        with serving(type("Handler", (_Handler,), {"hub": self})) as address:
            yield address


class _Handler(BaseHTTPRequestHandler):
    hub: SmallHub

    def do_GET(self) -> None:
        self.hub.asked.append(self.path)
        path = unquote(urlsplit(self.path).path)
        if found := _FILE.fullmatch(path):
            kind, repository, revision, name = found.groups()
            self._file("datasets" if kind else "models", repository, revision, name)
        elif found := _API.fullmatch(path):
            self._api(*found.groups())
        else:
            self._missing("EntryNotFound")

    do_HEAD = do_GET

    def do_POST(self) -> None:
        """`paths-info`: which of some paths there are."""
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length)
        self.hub.asked.append(self.path)
        found = _API.fullmatch(unquote(urlsplit(self.path).path))
        at = found and self.hub.find(found[1], found[2], found[4] or "main")
        if not at:
            return self._missing("RevisionNotFound")
        wanted = json.loads(body)["paths"] if body.startswith(b"{") else []
        self._json([entry for entry in _entries(at[1]) if entry["path"] in wanted])

    def _api(self, kind: str, repository: str, what: str, revision: str, rest: str) -> None:
        at = self.hub.find(kind, repository, revision or "main")
        if not at:
            return self._missing("RevisionNotFound" if revision else "RepoNotFound")
        commit, folder = at
        if what == "tree":
            return self._json(_entries(folder))
        names = [{"rfilename": entry["path"]} for entry in _entries(folder)]
        about = {"id": repository, "sha": commit, "siblings": names, "private": False, "tags": []}
        self._json(about)

    def _file(self, kind: str, repository: str, revision: str, name: str) -> None:
        at = self.hub.find(kind, repository, revision)
        if not at:
            return self._missing("RevisionNotFound")
        commit, folder = at
        if not (folder / name).is_file():
            return self._missing("EntryNotFound", {"X-Repo-Commit": commit})
        data = (folder / name).read_bytes()
        self._send(200, data, {"X-Repo-Commit": commit, "ETag": f'"{_etag(data)}"'})

    def _json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _missing(self, code: str, headers: dict[str, str] | None = None) -> None:
        self._send(404, b"{}", {"X-Error-Code": code, **(headers or {})})

    def _send(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


def _entries(folder: Path) -> list[dict[str, Any]]:
    return [
        {
            "type": "file", "path": str(path.relative_to(folder)),
            "size": path.stat().st_size, "oid": _etag(path.read_bytes()),
        }
        for path in sorted(folder.rglob("*")) if path.is_file()
    ]  # fmt: skip


def _etag(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
