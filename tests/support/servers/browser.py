"""A page in a real chromium through its DevTools protocol: how it looks, says and loads."""

import base64
import json
import re
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

_FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--remote-debugging-port=0", "--hide-scrollbars",
]  # fmt: skip


@dataclass
class Seen:
    """What a browser made of a page."""

    text: str
    scroll_width: int
    width: int
    problems: list[str] = field(default_factory=list)
    """Errors and warnings in the console."""
    asked: list[str] = field(default_factory=list)
    """Every address that was asked for."""

    @property
    def scrolls_sideways(self) -> bool:
        return self.scroll_width > self.width


class Browser:
    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._number = 0
        self._events: list[dict[str, Any]] = []
        for domain in ("Page", "Network", "Log", "Runtime"):
            self._call(f"{domain}.enable")

    def look(self, url: str, width: int, dark: bool, picture: Path | None = None) -> Seen:
        """Open an address at a width in CSS pixels; wait until it is loaded."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", features=[scheme])
        self._call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=900, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip
        self._events.clear()
        self._call("Page.navigate", url=url)
        while not any(event["method"] == "Page.loadEventFired" for event in self._events):
            self._read()
        text = self._value("document.body.innerText")
        wide = self._value("document.documentElement.scrollWidth")
        if picture:
            shot = self._call("Page.captureScreenshot", captureBeyondViewport=False)
            picture.write_bytes(base64.b64decode(shot["data"]))
        return Seen(text, wide, width, self._problems(), self._asked())

    def _problems(self) -> list[str]:
        logged = [e["params"]["entry"] for e in self._events if e["method"] == "Log.entryAdded"]
        thrown = [e for e in self._events if e["method"] == "Runtime.exceptionThrown"]
        return [entry["text"] for entry in logged] + [json.dumps(one) for one in thrown]

    def _asked(self) -> list[str]:
        sent = [e for e in self._events if e["method"] == "Network.requestWillBeSent"]
        return [event["params"]["request"]["url"] for event in sent]

    def _value(self, expression: str) -> Any:
        return self._call("Runtime.evaluate", expression=expression)["result"]["value"]

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": params}))
        while (answer := self._read()).get("id") != self._number:
            pass
        return answer["result"]

    def _read(self) -> dict[str, Any]:
        message = json.loads(self._socket.recv(60))
        if "method" in message:
            self._events.append(message)
        return message


@contextmanager
def browser(chromium: str, profile: Path) -> Iterator[Browser]:
    """A headless chromium with one page, ended with the block."""
    command = [chromium, *_FLAGS, f"--user-data-dir={profile}", "about:blank"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr
        line = next(line for line in process.stderr if "DevTools listening on" in line)
        port = re.search(r":(\d+)/", line)
        assert port
        with connect(_page_address(port[1]), max_size=None) as socket:
            yield Browser(socket)
    finally:
        process.kill()
        process.wait()


def _page_address(port: str) -> str:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json") as answer:
            pages = [one for one in json.load(answer) if one["type"] == "page"]
        if pages:
            return str(pages[0]["webSocketDebuggerUrl"])
        time.sleep(0.1)
    raise TimeoutError("chromium opened no page")
