"""A judge's endpoint in a process of its own, which counts what it sells.

`python -m benchmarks.support.judge_server LATENCY FAULTS`: prints its port; answers each chat
request after LATENCY seconds with one token and its log-probs. A share FAULTS of the requests,
drawn by their content, get a 429 or a 500 the first time that they come, half of them each.
`GET /sold` gives how often each request was answered and when; `POST /forget` begins anew.
"""

import asyncio
import hashlib
import json
import math
import sys
import time
from collections import defaultdict

_TOP = [{"token": token, "logprob": math.log(share), "bytes": None} for token, share in
        (("m", 0.7), ("M", 0.25), ("The", 0.02), ("Both", 0.02), ("A", 0.01))]  # fmt: skip
_REPLY = {
    "id": "x", "object": "chat.completion", "created": 0, "model": "judge",
    "choices": [{
        "index": 0, "finish_reason": "length",
        "message": {"role": "assistant", "content": "m"},
        "logprobs": {"content": [{"token": "m", "logprob": -0.36, "bytes": None,
                                  "top_logprobs": _TOP}]},
    }],
    "usage": {"prompt_tokens": 870, "completion_tokens": 1, "total_tokens": 871},
}  # fmt: skip
_SOLD = json.dumps(_REPLY).encode()
_FAULT = json.dumps({"error": {"message": "not now"}}).encode()


class Server:
    """Counts by the hash of each request's body."""

    def __init__(self, latency: float, faults: float) -> None:
        self._latency = latency
        self._faults = faults
        self.sold: dict[str, list[float]] = defaultdict(list)
        self._failed: set[str] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, request after request."""
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                length = [line for line in head.split("\r\n") if line.startswith("content-length")]
                body = await reader.readexactly(int(length[0].split(":")[1]) if length else 0)
                status, data = await self._answer(head.split(" ", 2)[1], body)
                lines = f"HTTP/1.1 {status} x\r\ncontent-type: application/json\r\n"
                writer.write(f"{lines}content-length: {len(data)}\r\n\r\n".encode() + data)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def _answer(self, path: str, body: bytes) -> tuple[int, bytes]:
        if path == "/sold":
            return 200, json.dumps(self.sold).encode()
        if path == "/forget":
            self.sold.clear()
            self._failed.clear()
            return 200, b"{}"
        await asyncio.sleep(self._latency)
        key = hashlib.sha256(body).hexdigest()
        draw = int(key[:8], 16) / 16**8
        if draw < self._faults and key not in self._failed:
            self._failed.add(key)
            return (429 if draw < self._faults / 2 else 500), _FAULT
        self.sold[key].append(time.time())
        return 200, _SOLD


async def _main(latency: float, faults: float) -> None:
    one = Server(latency, faults)
    server = await asyncio.start_server(one.serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main(float(sys.argv[1]), float(sys.argv[2])))
