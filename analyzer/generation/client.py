"""The way to the servers: one aiohttp session, asked for whole answers as bytes.

Nothing is retried here, since a request that fails may go to another server. An answer is read up to a limit: a server
may be wrong, and a compressed megabyte can unfold to gigabytes.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import email.utils
import math
import os
import re
import ssl
import time
import zlib
from typing import Literal

import aiohttp

from analyzer import __version__
from analyzer.errors import ConfigError
from analyzer.generation.protocol import MOST_BYTES, message_of
from analyzer.generation.settings import GenerationSettings

_ERROR_BYTES = 1 << 20
_CONNECT_SECONDS = 10.0
# Below the server's own limit: a request on a connection that is just being closed is lost, and counts as an
# attempt.
_IDLE_SECONDS = 4.0  # uvicorn, and so vLLM, closes a connection after 5 idle seconds
_ERRNO = re.compile(r"\[Errno (\d+)\]|Connect call failed")


class Unreachable(Exception):
    """Raised when there is no connection to a server: it has not seen the request."""


class Lost(Exception):
    """Raised when a request was sent, and the connection broke before the whole answer was there."""


class Late(Exception):
    """Raised when the whole answer was not there in time."""


class Oversized(Exception):
    """Raised for an answer that is longer than any answer to the request can be."""


class Rejected(Exception):
    """Raised for a status other than success; holds the status and the server's message."""

    def __init__(self, status: int, content: bytes, retry_after: str | None = None) -> None:
        super().__init__(f"{status} {message_of(content)}".rstrip())
        self.status = status
        self.retry_after = _seconds(retry_after)


class Moved(Rejected):
    """Raised for a redirect that loses what a request needs: its body, or its key."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(status, reason.encode())


class Client:
    """Connections to all servers of a generation; made, used and closed in one event loop."""

    def __init__(self, settings: GenerationSettings, seconds: float) -> None:
        """Each request may take `seconds`.

        The key sent is that of the variable named in the settings, never one that was set for somebody else.
        Raises ConfigError for a key that no header can hold.
        """
        self._seconds = seconds
        self._basic = {
            origin: "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
            for origin, (user, password) in settings.credentials.items()
        }
        # What servers like to quote when they refuse it, and no message or file may hold.
        self._secrets = [
            secret
            for secret in (*(password for _, password in settings.credentials.values()), _key(settings))
            if secret
        ] + [value.removeprefix("Basic ") for value in self._basic.values()]
        self._session = aiohttp.ClientSession(
            # One connection per request in flight: HTTP/1.1 answers in order, so a shared one would wait for the
            # longest generation.
            connector=aiohttp.TCPConnector(
                limit=settings.max_concurrent,
                keepalive_timeout=_IDLE_SECONDS,
                # Made now: aiohttp's own is as old as its import, and misses a later SSL_CERT_FILE.
                ssl=not any(url.startswith("https") for url in settings.urls) or ssl.create_default_context(),
            ),
            # No limit per read: a server is silent for minutes while it generates.
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS),
            headers=_headers(settings),
            # A load balancer's cookie would pin all requests to one server.
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,  # see _unpacked
            trust_env=False,  # servers are near by: past the proxies of the environment
        )

    async def post(self, url: str, body: bytes, most: int = MOST_BYTES) -> bytes:
        """The content of the answer to a JSON body. Raises Unreachable, Lost, Late, Oversized, Rejected."""
        return await self._ask("POST", url, body, most)

    async def get(self, url: str) -> bytes:
        """The content of an answer. Raises Unreachable, Lost, Late, Oversized, Rejected."""
        return await self._ask("GET", url, None, MOST_BYTES)

    def hidden(self, text: str) -> str:
        """A server's words without the key or password that it was sent."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    async def close(self) -> None:
        """Close all connections; what the servers still compute they may drop."""
        await self._session.close()

    async def _ask(self, method: Literal["GET", "POST"], url: str, body: bytes | None, most: int) -> bytes:
        # By origin: credentials of one server's URL are never sent to another.
        header = next((value for origin, value in self._basic.items() if url.startswith(origin + "/")), None)
        headers = {"Authorization": header} if header else None
        try:
            async with (
                asyncio.timeout(self._seconds),  # of the whole answer: aiohttp's own bounds cannot tell it is the last
                self._session.request(method, url, data=body, headers=headers) as response,
            ):
                if moved := self._moved(response, method):
                    raise moved
                if response.status >= 300:
                    # The status says enough where the text cannot be read.
                    body = b""
                    with contextlib.suppress(Oversized, Lost):
                        body = await _read(response, _ERROR_BYTES)
                    body = self.hidden(body.decode(errors="replace")).encode()
                    raise Rejected(response.status, body, response.headers.get("Retry-After"))
                return await _read(response, most)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise Unreachable(_why(error)) from None
        # After the two above: aiohttp's timeouts are subclasses of TimeoutError.
        except TimeoutError:
            raise Late(f"no answer within {self._seconds:g} s") from None
        except aiohttp.TooManyRedirects as error:
            raise Moved(error.history[-1].status, "redirects in a circle") from None
        except (aiohttp.ClientError, OSError) as error:
            raise Lost(f"connection lost ({str(error) or type(error).__name__})") from None

    def _moved(self, response: aiohttp.ClientResponse, method: str) -> Moved | None:
        """The error for a redirect that made a GET of a POST, or left the key behind (it is for one origin alone)."""
        if not response.history or (response.method == method and response.status not in (401, 403)):
            return None
        target = response.url.with_query(None).with_fragment(None).with_user(None)
        return Moved(response.history[0].status, f"redirects to {target}: give the address there with --vllm_url")


def _key(settings: GenerationSettings) -> str:
    return os.environ[settings.api_key_env].strip() if settings.api_key_env else ""


def _headers(settings: GenerationSettings) -> dict[str, str]:
    headers = {
        "Accept": "application/json",
        "Accept-Encoding": "identity",  # near by, compression costs both sides more time than it saves
        "Content-Type": "application/json",
        "User-Agent": f"rollout-analyzer/{__version__}",
    }
    if key := _key(settings):
        if not key.isprintable() or not key.isascii():
            raise ConfigError(f"--api_key_env {settings.api_key_env}: the key has invalid characters")
        headers["Authorization"] = f"Bearer {key}"
    return headers


async def _read(response: aiohttp.ClientResponse, most: int) -> bytes:
    """The whole body, unpacked. Raises Oversized as soon as it is longer than `most` bytes, and Lost."""
    # The header is believed only when it says "too long"; otherwise bytes are counted as they come.
    chunks, size = list[bytes](), response.content_length or 0
    if size <= most:
        size = 0
        async for chunk in response.content.iter_any():
            chunks.append(chunk)
            size += len(chunk)
            if size > most:
                break
    if size > most:
        raise Oversized(_too_long(most))
    return _unpacked(b"".join(chunks), response.headers.get("Content-Encoding", ""), most)


def _unpacked(content: bytes, encoding: str, most: int) -> bytes:
    """A body without its compression, which some proxies apply unasked. Raises Oversized before it fills the memory."""
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return content
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise Lost(f"the answer has an unrequested compression ({encoding[:20]})")
    unpacker = zlib.decompressobj(wbits=32 + zlib.MAX_WBITS)  # gzip or zlib, by its header
    try:
        # At most one byte over the limit is unfolded, whatever the archive holds.
        plain = unpacker.decompress(content, most + 1)
    except zlib.error as error:
        raise Lost(f"the answer's compression is damaged ({error})") from None
    if len(plain) > most:
        raise Oversized(_too_long(most))
    if not unpacker.eof:
        raise Lost("the compressed answer was cut off")
    return plain


def _too_long(most: int) -> str:
    return f"the answer is longer than {most >> 20} MiB"


def _why(error: aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError) -> str:
    """Why there is no connection, in the system's words; aiohttp's own name its arguments ("ssl:default")."""
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return "the connection timed out"
    cause = error.os_error
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return f"no address is known for {error.host!r}"
    if isinstance(cause, ssl.SSLError):
        # What OpenSSL says of a server that answers a TLS greeting in plain HTTP.
        wrong = "wrong_version_number" in str(cause).lower() or "record_layer" in str(cause).lower()
        if isinstance(cause, ssl.SSLCertVerificationError):
            return (
                f"its certificate is not trusted: {cause.verify_message}; for one of your own, name the file of its "
                "authority with the environment variable SSL_CERT_FILE"
            )
        return "it does not speak TLS: try http://" if wrong else f"TLS failed: {cause.reason or cause}"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"TLS failed: {error.certificate_error}"
    number = cause.errno or next((int(found) for found in _ERRNO.findall(str(cause)) if found), None)
    return os.strerror(number).lower() if number and number > 0 else str(cause) or type(cause).__name__


def _seconds(retry_after: str | None) -> float | None:
    """Retry-After, a number of seconds or a date; None where it is neither."""
    try:
        seconds = float(retry_after or "")
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(retry_after or "").timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return None if math.isnan(seconds) else max(0.0, seconds)
