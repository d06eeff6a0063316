"""The cheapest server there can be: after a delay it sends the same completion of N choices to every request.

GET /stats tells how many requests it has had since the last time, and how long from the first to the last.

    python benchmarks/fixed_server.py --delay 0.1 --choices 8

It reads no JSON, so that a benchmark measures the client. Prints its address and serves until it is killed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import time


def response(body: object) -> bytes:
    content = json.dumps(body).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (
        len(content),
        content,
    )


class Stats:
    """Requests since the last look."""

    def __init__(self) -> None:
        self.requests, self.first, self.last = 0, 0.0, 0.0

    def count(self) -> None:
        self.last = time.perf_counter()
        self.first = self.last if not self.requests else self.first
        self.requests += 1

    def take(self) -> bytes:
        taken = response({"requests": self.requests, "seconds": self.last - self.first})
        self.requests = 0
        return taken


class Connection(asyncio.Protocol):
    """One keep-alive connection; requests on it do not overlap."""

    def __init__(self, delay: float, models: bytes, completion: bytes, stats: Stats) -> None:
        self.delay, self.models, self.completion, self.stats = delay, models, completion, stats
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, blank, body = self.received.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: *([0-9]+)", head)
        if not blank or len(body) < (int(length[1]) if length else 0):
            return
        self.received = b""
        if head.startswith(b"GET"):
            self.transport.write(self.stats.take() if b"/stats" in head[:30] else self.models)
        else:
            self.stats.count()
            asyncio.get_running_loop().call_later(self.delay, self.transport.write, self.completion)


async def serve(delay: float, choices: int) -> None:
    models = response({"object": "list", "data": [{"id": "fixed"}]})
    texts = [
        {"index": k, "text": f"{k}: they eat four of nine, #### 5", "finish_reason": "stop"} for k in range(choices)
    ]
    usage = {"prompt_tokens": 90, "completion_tokens": 12 * choices}
    completion = response({"choices": texts, "usage": usage})
    stats = Stats()
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(delay, models, completion, stats), "127.0.0.1", 0, backlog=1000
    )
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--delay", type=float, default=0.1)
    parser.add_argument("--choices", type=int, default=8)
    given = parser.parse_args()
    asyncio.run(serve(given.delay, given.choices))
