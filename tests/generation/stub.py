"""A small OpenAI-compatible server that misbehaves on demand.

A `Plan` decides, from the number of the call (from 0) and its body, how it is answered; `FAULTS` lists the ways.
The text of a good choice is its prompt's text and a running number, so that mixed-up answers show.
"""

from __future__ import annotations

import asyncio
import functools
import gzip
import itertools
import json
import ssl
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import web

FAULTS = (
    "ok",
    "429",  # busy, with a Retry-After of a hundredth of a second
    "500",
    "503",
    "400",  # this request will never do
    "401",
    "truncated",  # half of the JSON
    "html",  # 200, but no JSON
    "dies",  # the connection is cut in the middle of the body
    "drips",  # slow loris: a byte now and then, forever
    "hangs",  # nothing, forever
    "one",  # a single choice whatever n
    "two_many",  # two choices more than n
    "same",  # every choice has the same text
    "no_usage",
    "aborted",  # choices that the server broke off
    "null",  # choices without text
    "reasoning",  # the thinking is taken out of the text
    "odd",  # good texts, and beside them what no server should say
    "usage_list",  # usage is not an object
    "stripped",  # far more tokens than the text can be: the thinking is dropped
    "bomb",  # a megabyte of gzip that unfolds to a gigabyte
    "gzip",  # a good answer, compressed unasked
    "429_inf",  # busy, forever
    "quotes",  # refused, with the key that was sent
    "moved",  # 301 to another path, where all is well
    "filtered",  # the first choice is emptied by a filter
    "error_200",  # an error with the status of success
)
Plan = Callable[[int, dict[str, Any]], str]


def well(number: int, body: dict[str, Any]) -> str:
    """Every call is answered well."""
    return "ok"


def always(fault: str) -> Plan:
    """Every call is answered that way."""
    return lambda number, body: fault


def first(*faults: str) -> Plan:
    """The first calls are answered like this, all later ones well."""
    return lambda number, body: faults[number] if number < len(faults) else "ok"


class Stub:
    """The server; `bodies` holds what it was sent."""

    def __init__(
        self, plan: Plan = well, delay: float = 0.0, models: tuple[str, ...] = ("stub",), root: str | None = None
    ) -> None:
        self.plan = plan
        self.like_sglang = False  # the list of models repeats the name as `root`; /get_model_info says where it lies
        self.retry_after = "inf"  # of the fault 429_inf
        self.root = root  # where the models were loaded from, as vLLM says it
        self.delay = delay
        self.models = models
        self.bodies: list[dict[str, Any]] = []
        self.keys: set[str] = set()
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []  # of the requests for the list of models
        self.busiest = 0
        self.list_is: int | str | None = None  # a status or a text in place of the list of models
        self.listings: int | None = None  # lists of models that it gives; 429 from then on
        self.slots: int | None = None  # requests that are served together; the others get 429
        self.says: str | None = None  # the model that answers name; None: the one that was asked for
        self._in_flight = 0
        self._texts = itertools.count()
        self._keep = True  # remember bodies; off where memory is measured

    def forget_bodies(self) -> None:
        """Stop remembering what comes."""
        self._keep = False

    def app(self) -> web.Application:
        app = web.Application(client_max_size=64 << 20)
        app.router.add_get("/v1/models", self._list)
        app.router.add_get("/get_model_info", self._model_info)
        app.router.add_post("/v1/chat/completions", self._answer)
        app.router.add_post("/v1/completions", self._answer)
        app.router.add_get("/v2/chat/completions", self._list)
        return app

    async def _list(self, request: web.Request) -> web.Response:
        self.headers.append(dict(request.headers))
        if self.list_is is not None:
            status, text = (self.list_is, "no list") if isinstance(self.list_is, int) else (200, self.list_is)
            return web.Response(status=status, text=text)
        if self.listings is not None and len(self.headers) > self.listings:
            return web.json_response({"error": {"message": "too many lists"}}, status=429)
        place = {} if self.root is None else {"root": self.root, "parent": None}
        if self.like_sglang:
            place = {"root": self.models[0]}
        changing = {"created": next(self._texts), "permission": [{"id": f"modelperm-{next(self._texts)}"}]}
        data = [
            {"id": name, "object": "model", "owned_by": "sglang" if self.like_sglang else "vllm", **place, **changing}
            for name in self.models
        ]
        return web.json_response({"object": "list", "data": data})

    async def _model_info(self, request: web.Request) -> web.Response:
        if not self.like_sglang:
            raise web.HTTPNotFound
        return web.json_response({"model_path": self.root, "is_generation": True})

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        number = len(self.paths)
        self.paths.append(request.path)
        if self._keep:
            self.bodies.append(body)
        self.keys.add(request.headers.get("Authorization", ""))
        self._in_flight += 1
        self.busiest = max(self.busiest, self._in_flight)
        try:
            if self.slots is not None and self._in_flight > self.slots:
                return web.json_response({"error": {"message": "no slot is free"}}, status=429)
            await asyncio.sleep(self.delay)
            return await self._behave(self.plan(number, body), body, request)
        finally:
            self._in_flight -= 1

    async def _behave(self, fault: str, body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        if fault.isdigit():
            headers = {"Retry-After": "0.01"} if fault == "429" else {}
            error = {"error": {"message": f"stub says {fault}", "code": int(fault)}}
            return web.json_response(error, status=int(fault), headers=headers)
        if fault == "quotes":
            said = f"no such key: {request.headers.get('Authorization')}"
            return web.json_response({"error": {"message": said}}, status=400)
        if fault == "error_200":
            return web.json_response({"error": {"message": "the worker is gone", "code": 502}})
        if fault == "moved":
            raise web.HTTPMovedPermanently(request.path.replace("/v1/", "/v2/"))
        if fault == "429_inf":
            return web.json_response({"error": "busy"}, status=429, headers={"Retry-After": self.retry_after})
        if fault == "hangs":
            await asyncio.sleep(3600)
        if fault == "html":
            return web.Response(text="<html>gateway</html>", content_type="text/html")
        text = json.dumps(self._completion(fault, body))
        if fault in ("bomb", "gzip"):
            packed = _gigabyte() if fault == "bomb" else gzip.compress(text.encode())
            headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
            return web.Response(body=packed, headers=headers)
        if fault == "truncated":
            return web.Response(text=text[: len(text) // 2], content_type="application/json")
        if fault in ("dies", "drips"):
            return await _in_pieces(fault, text, request)
        return web.Response(text=text, content_type="application/json")

    def _completion(self, fault: str, body: dict[str, Any]) -> dict[str, Any]:
        count = {"one": 1, "two_many": body["n"] + 2}.get(fault, body["n"])
        choices = [self._choice(fault, body, index) for index in range(count)]
        model = self.says or body["model"]
        answer: dict[str, Any] = {"object": "completion", "model": model, "choices": choices}
        if fault == "odd":
            return answer | {"usage": {"prompt_tokens": 1 << 63, "completion_tokens": "many"}}
        if fault == "usage_list":
            return answer | {"usage": ["prompt_tokens", 7]}
        if fault != "no_usage":
            tokens = count * (900 if fault == "stripped" else 5)
            answer["usage"] = {"prompt_tokens": 7, "completion_tokens": tokens, "total_tokens": 7 + tokens}
        return answer

    def _choice(self, fault: str, body: dict[str, Any], index: int) -> dict[str, Any]:
        chat = "messages" in body
        asked = body["messages"][-1]["content"] if chat else body["prompt"]
        number = 0 if fault == "same" else next(self._texts)
        text = None if fault == "null" else f"{asked} -> {number}"
        if fault == "filtered" and index == 0:
            text = ""
        message = {"role": "assistant", "content": text}
        if fault == "reasoning":
            message["reasoning_content"] = "let me think"
        odd: list[Any] = [5, ["stop"], {"reason": "stop"}, 1.5, True]
        reason = {"aborted": "abort", "odd": odd[index % len(odd)]}.get(fault, "stop")
        if fault == "filtered" and index == 0:
            reason = "content_filter"
        choice = {"index": index, "finish_reason": reason}
        return choice | ({"message": message} if chat else {"text": text})


@functools.cache
def _gigabyte() -> bytes:
    """A gigabyte of white space, which JSON allows, as a megabyte of gzip."""
    packer = zlib.compressobj(9, wbits=16 + zlib.MAX_WBITS)
    first, again = (packer.compress(b" " * (1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    # After a full flush a block stands for itself. The sum at the end is that of two: nobody is to get so far.
    return first + again * 1023 + packer.flush()


async def _in_pieces(fault: str, text: str, request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": str(len(text))})
    await response.prepare(request)
    await response.write(text[:20].encode())
    if fault == "dies":
        assert request.transport is not None
        request.transport.abort()
        return response
    for character in itertools.cycle(" "):
        await asyncio.sleep(0.05)
        await response.write(character.encode())
    return response


class Running:
    """A stub that runs in a thread of this process."""

    def __init__(self, stub: Stub, tls: ssl.SSLContext | None = None) -> None:
        self.stub = stub
        self._tls = tls
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.port = self._call(self._start(0))

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}/v1"

    def _call(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    async def _start(self, port: int) -> int:
        self._runner = web.AppRunner(self.stub.app(), shutdown_timeout=0.0, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port, reuse_address=True, ssl_context=self._tls)
        await site.start()
        return int(self._runner.addresses[0][1])

    def die(self) -> None:
        """Close the port and cut all connections."""
        self._call(self._end())

    async def _end(self) -> None:
        server = self._runner.server
        await self._runner.cleanup()
        # A connection that is being accepted meanwhile is not among those that are cut, and nobody would close it.
        if accepting := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(accepting, timeout=1)
        if server is not None:
            await server.shutdown(0)

    def revive(self) -> None:
        """Serve again on the same port."""
        self._call(self._start(self.port))

    @contextmanager
    def after(self, requests: int, act: Callable[[], None]) -> Iterator[None]:
        """Act as soon as this server has been sent that many requests, however long they take to come."""
        over = threading.Event()

        def watch() -> None:
            while len(self.stub.paths) < requests:
                if over.wait(0.002):
                    return
            act()

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()

    def close(self) -> None:
        self.die()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


@contextmanager
def running(
    plan: Plan = well,
    delay: float = 0.0,
    models: tuple[str, ...] = ("stub",),
    root: str | None = None,
    tls: ssl.SSLContext | None = None,
) -> Iterator[Running]:
    """A stub at `.url` while the context lasts."""
    server = Running(Stub(plan, delay, models, root), tls)
    try:
        yield server
    finally:
        server.close()
