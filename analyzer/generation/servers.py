"""The servers: their model, which one gets the next request, and which are set aside.

A request goes to the server with the fewest in flight. One that cannot be reached, breaks connections or lets
requests time out is set aside for a while that doubles each time; then one request at a time tries it, until
one is answered.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from analyzer.errors import ConfigError, Interrupted
from analyzer.generation.settings import GenerationSettings

if TYPE_CHECKING:
    from openai import AsyncOpenAI

_ASIDE_FIRST, _ASIDE_MOST = 1.0, 60.0
_POLL_SECONDS = 0.1
_CONNECT_SECONDS = 10.0


class Server:
    """One server and how it is doing."""

    def __init__(self, url: str, client: AsyncOpenAI) -> None:
        self.url = url
        self.client = client
        self.in_flight = 0
        self.sent = 0
        self.troubles = 0  # times it was set aside since its last answer
        self.aside_until = 0.0
        self.tried = False  # whether a request is trying it after trouble

    def ready(self, now: float) -> bool:
        """Whether it may get a request now."""
        return now >= self.aside_until and not (self.troubles and self.tried)

    def set_aside(self) -> None:
        """Give it a rest after trouble; what was in flight when the trouble came counts once."""
        now = time.monotonic()
        if now >= self.aside_until:
            self.troubles += 1
            self.aside_until = now + min(_ASIDE_FIRST * 2 ** min(self.troubles - 1, 10), _ASIDE_MOST)

    def answered(self) -> None:
        """Note that it works."""
        self.troubles = 0
        self.aside_until = 0.0


class Servers:
    """All servers of a generation."""

    def __init__(self, settings: GenerationSettings) -> None:
        import httpx2
        from openai import AsyncOpenAI, DefaultAioHttpClient

        most = settings.max_concurrent + len(settings.urls)
        self._http = DefaultAioHttpClient(
            limits=httpx2.Limits(max_connections=most, max_keepalive_connections=most),
            timeout=httpx2.Timeout(settings.request_timeout, connect=_CONNECT_SECONDS),
        )
        key = api_key(settings)
        self.servers = [
            Server(url, AsyncOpenAI(base_url=url, api_key=key, http_client=self._http, max_retries=0))
            for url in settings.urls
        ]
        self._patience = settings.patience
        self.last_answer = time.monotonic()
        self.last_trouble = ""
        self.many_at_once = settings.temperature > 0  # vLLM refuses n > 1 for greedy sampling
        self._proven_many = False

    async def close(self) -> None:
        """Close all connections; what the servers still compute they may drop."""
        await self._http.aclose()

    @property
    def silent(self) -> bool:
        """Whether no server has answered anything for longer than the patience."""
        return time.monotonic() - self.last_answer > self._patience

    def answered(self, server: Server, choices: int = 0) -> None:
        """Note an answer of a server, with how many choices."""
        server.answered()
        self.last_answer = time.monotonic()
        self._proven_many = self._proven_many or choices > 1

    def doubt_many(self) -> bool:
        """After a refusal of n > 1: whether that may be the reason. Then all further requests ask for one."""
        if self._proven_many:
            return False
        self.many_at_once = False
        return True

    async def next(self) -> Server:
        """The ready server with the fewest requests in flight, waiting until there is one.

        Raises Interrupted when all are set aside and none has answered for longer than the patience.
        """
        while True:
            now = time.monotonic()
            ready = [server for server in self.servers if server.ready(now)]
            if ready:
                return min(ready, key=lambda server: (server.in_flight, server.sent))
            if self.silent:
                raise self.gone()
            await asyncio.sleep(_POLL_SECONDS)

    def gone(self) -> Interrupted:
        """The error for servers that were silent for too long."""
        return Interrupted(
            f"no server has answered for {self._patience:g} s (last: {self.last_trouble}); what was generated is kept, "
            "start the server and run the same command again"
        )

    @contextmanager
    def flight(self, server: Server) -> Iterator[None]:
        """Count a request as in flight."""
        trying = bool(server.troubles)
        server.in_flight += 1
        server.sent += 1
        server.tried = server.tried or trying
        try:
            yield
        finally:
            server.in_flight -= 1
            if trying:
                server.tried = False


def api_key(settings: GenerationSettings) -> str:
    """The key for the servers: from the named variable, never from one that was set for somebody else."""
    return os.environ[settings.api_key_env] if settings.api_key_env else "none"


def find_model(settings: GenerationSettings) -> tuple[str, tuple[str, ...]]:
    """The model's name on the servers, and what the user should know (servers that are down).

    Raises ConfigError when no server answers, or it is not clear which model is meant.
    """
    offers: dict[str, list[str]] = {}
    down: list[str] = []
    for url in settings.urls:
        try:
            offers[url] = _models(settings, url)
        except ConnectionError as error:
            down.append(str(error))
    if not offers:
        raise ConfigError(f"no server answers: {'; '.join(down)}; start one, or name it with --vllm_url")
    notes = tuple(f"{trouble}; it is tried again later" for trouble in down)
    if settings.vllm_model_name:
        return settings.vllm_model_name, notes
    chosen = {_choose(offered, url, settings.model_path) for url, offered in offers.items()}
    if len(chosen) > 1:
        raise ConfigError(f"the servers have different models: {', '.join(sorted(chosen))}; give servers of one model")
    return chosen.pop(), notes


def _choose(offered: list[str], url: str, model_path: str | None) -> str:
    if model_path and (model_path in offered or not offered):
        return model_path
    if len(offered) == 1:
        return offered[0]
    has = f"offers {len(offered)} models: {', '.join(offered[:10])}" if offered else "does not say which model it has"
    raise ConfigError(f"{url} {has}; choose with --vllm_model_name")


def _models(settings: GenerationSettings, url: str) -> list[str]:
    import openai

    client = openai.OpenAI(base_url=url, api_key=api_key(settings), max_retries=1, timeout=_CONNECT_SECONDS)
    with client:
        try:
            listed: list[Any] = client.models.list().data or []
        except openai.AuthenticationError:
            raise ConfigError(f"{url}: the key was refused; name its variable with --api_key_env") from None
        except openai.NotFoundError:
            raise ConfigError(
                f"{url}: no OpenAI API there (404 for /models); the address usually ends in /v1"
            ) from None
        except openai.APIConnectionError as error:
            raise ConnectionError(f"{url} cannot be reached ({error.__cause__ or error})") from None
        except openai.APIError as error:
            raise ConnectionError(f"{url} is not ready ({error.message})") from None
    return [model.id for model in listed]
