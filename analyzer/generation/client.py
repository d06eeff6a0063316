"""The way to the servers: openai's async client over aiohttp, asked for whole answers as bytes.

Its retries are off, since a request that fails may go to another server, and so is the building of pydantic objects,
which would take more time than all the rest of a request (benchmarks/README.md).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from typing import Literal

import aiohttp
import httpx2
import openai
import orjson

from analyzer.generation.settings import GenerationSettings

_CONNECT_SECONDS = 10.0
_IDLE_SECONDS = 4.0  # uvicorn, and so vLLM, closes a connection after 5 idle seconds
_OWN_HEADERS = frozenset({"accept", "content-type", "user-agent"})


class Unreachable(Exception):
    """Raised when there is no connection to a server: it has not seen the request."""


class Lost(Exception):
    """Raised when a request was sent, and the connection broke before the whole answer was there."""


class Late(Exception):
    """Raised when the whole answer was not there in time."""


class Rejected(Exception):
    """Raised for a status that is no success; says which, and the server's own words."""

    def __init__(self, status: int, content: bytes, retry_after: str | None = None) -> None:
        super().__init__(f"{status} {_message(content)}")
        self.status = status
        self.retry_after = _seconds(retry_after)


class Client:
    """Connections to all servers of a generation; made, used and closed in one event loop."""

    def __init__(self, settings: GenerationSettings, seconds: float) -> None:
        """Each request may take `seconds`.

        The key sent is that of the variable named in the settings, never one that was set for somebody else.
        """
        self._seconds = seconds
        self._openai = _open(settings)
        self._headers = _headers(self._openai, settings)

    async def post(self, url: str, body: bytes) -> bytes:
        """The content of the answer to a JSON body. Raises Unreachable, Lost, Late, Rejected."""
        return await self._ask("post", url, body)

    async def get(self, url: str) -> bytes:
        """The content of an answer. Raises Unreachable, Lost, Late, Rejected."""
        return await self._ask("get", url, None)

    async def close(self) -> None:
        """Close all connections; what the servers still compute they may drop."""
        await self._openai.close()

    async def _ask(self, method: Literal["get", "post"], url: str, body: bytes | None) -> bytes:
        try:
            async with asyncio.timeout(self._seconds):  # of the whole answer: openai's own bounds each read of it
                if method == "get":
                    response = await self._openai.get(url, cast_to=httpx2.Response, options={"headers": self._headers})
                else:
                    response = await self._openai.post(
                        url, cast_to=httpx2.Response, content=body, options={"headers": self._headers}
                    )
                return response.content
        except TimeoutError:
            raise Late(f"no answer within {self._seconds:g} s") from None
        except openai.APIStatusError as error:
            answer = error.response
            raise Rejected(answer.status_code, answer.content, answer.headers.get("Retry-After")) from None
        except (openai.APIConnectionError, aiohttp.ClientError, OSError) as error:
            raise _no_answer(error) from None


def _open(settings: GenerationSettings) -> openai.AsyncOpenAI:
    at_once = settings.max_concurrent  # None would be aiohttp's 100
    http = openai.DefaultAioHttpClient(
        limits=httpx2.Limits(max_connections=at_once, keepalive_expiry=_IDLE_SECONDS),
        timeout=httpx2.Timeout(None, connect=_CONNECT_SECONDS),
        trust_env=False,  # servers are near by: past the proxies of the environment
    )
    http.headers.clear()
    return openai.AsyncOpenAI(
        api_key=os.environ[settings.api_key_env] if settings.api_key_env else "none",  # not sent, see _headers
        base_url=settings.urls[0],
        max_retries=0,
        timeout=http.timeout,
        http_client=http,
    )


def _headers(client: openai.AsyncOpenAI, settings: GenerationSettings) -> dict[str, str | openai.Omit]:
    """Leaves out what openai adds for its own service, or takes from the environment; each header costs time."""
    added = {name for name in client.default_headers if name.lower() not in _OWN_HEADERS}
    added |= {"x-stainless-retry-count", "x-stainless-read-timeout"}
    without: dict[str, str | openai.Omit] = dict.fromkeys(added, openai.omit)
    return without if settings.api_key_env else without | {"Authorization": openai.omit}


def _no_answer(error: BaseException) -> Unreachable | Lost:
    """What openai calls a connection error or a time-out, told apart by what aiohttp said."""
    for cause in _causes(error):
        if isinstance(cause, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
            return Unreachable(str(cause) or type(cause).__name__)
        if isinstance(cause, aiohttp.ClientError):
            error = cause
            break
    return Lost(f"connection lost ({str(error) or type(error).__name__})")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _message(content: bytes) -> str:
    """What a server says is wrong, in one line: the message in its JSON, or the text as it is."""
    try:
        body = orjson.loads(content)
        error = body.get("error", body)
        text = error.get("message") or error.get("detail") or body.get("detail")
    except (orjson.JSONDecodeError, AttributeError):
        text = content.decode(errors="replace")
    return " ".join(str(text).split())[:500]


def _seconds(retry_after: str | None) -> float | None:
    try:
        return max(0.0, float(retry_after or ""))
    except ValueError:
        return None
