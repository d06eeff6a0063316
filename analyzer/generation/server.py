"""Prompts to rollouts through servers: many requests in flight, each tried until it is answered or has failed for good.

What may go wrong, and what follows:

- refused, reset before an answer, 429, 503: the server is down or busy; waited for, up to the patience;
- broken in mid-answer, timed out, 5xx, not a completion: tried again, `max_attempts` times in all;
- 400, 413, 422 and other refusals of this request: its prompt has failed;
- 401, 403, 404: every request would fail; the run stops.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import orjson

from analyzer import tokens
from analyzer.errors import ConfigError
from analyzer.generation import signals
from analyzer.generation.intake import Intake
from analyzer.generation.journal import Answer
from analyzer.generation.prompts import Prompt
from analyzer.generation.protocol import BrokenAnswer, Part, Recipe, Request, UnusablePrompt, parse
from analyzer.generation.servers import Server, Servers, find_model
from analyzer.generation.settings import GenerationSettings

if TYPE_CHECKING:
    from aiohttp import ClientResponse

_PAUSE_FIRST, _PAUSE_MOST = 0.5, 60.0
_RETRY_AFTER_MOST = 300.0
_AGAINST_ALL = frozenset({401, 403, 404})
_GATEWAY = frozenset({502, 504})


class Busy(Exception):
    """Raised for a server that cannot take the request now; does not count as an attempt."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class Broken(Exception):
    """Raised for an attempt that went wrong and counts."""


class Refused(UnusablePrompt):
    """Raised when the server says that this very request will not do."""


class ServerModel:
    """A model on one or several servers."""

    def __init__(self, settings: GenerationSettings) -> None:
        """Find the model's name. Raises ConfigError when no server answers or the model is not clear."""
        try:
            import aiohttp  # noqa: F401
        except ImportError as error:
            raise ConfigError(
                f"--use_vllm needs the extra [generate]: pip install 'rollout-analyzer[generate]' ({error})"
            ) from None
        self._settings = settings
        self.model, self.notes = find_model(settings)
        self._recipe = Recipe(settings, self.model, self._load_tokenizer())

    def _load_tokenizer(self) -> Any:
        """The tokenizer that templates chat lists for /completions, where one is given."""
        if self._settings.endpoint != "completions" or self._settings.model_path is None:
            return None
        return tokens.load(self._settings.model_path, self._settings.trust_remote_code)

    def generate(self, prompts: Iterator[Prompt], intake: Intake) -> None:
        """Ask for what each prompt lacks. Raises ConfigError, Interrupted or StorageError."""
        signals.run(self._generate(prompts, intake))

    async def _generate(self, prompts: Iterator[Prompt], intake: Intake) -> None:
        servers = Servers(self._settings)

        async def work() -> None:
            for prompt in prompts:
                await _complete(prompt, self._recipe, servers, intake)

        workers = [asyncio.create_task(work()) for _ in range(self._settings.max_concurrent)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
            await servers.close()


async def _complete(prompt: Prompt, recipe: Recipe, servers: Servers, intake: Intake) -> None:
    """All rollouts that a prompt lacks: a server may give fewer than asked for, then the rest is asked again."""
    settings = recipe.settings
    first = intake.have(prompt.data_idx)
    if prompt.problem:
        intake.fail(prompt.data_idx, first, prompt.problem)
    while not prompt.problem and first < settings.num_samples:
        count = settings.num_samples - first if servers.many_at_once else 1
        try:
            part = await _ask(recipe.request(prompt, first, count), settings, servers)
        except UnusablePrompt as error:
            if isinstance(error, Refused) and servers.refused(count):
                continue
            intake.fail(prompt.data_idx, first, str(error))
            return
        answer = Answer(
            prompt.data_idx, first, part.texts, part.finish_reasons, part.response_tokens, part.prompt_tokens
        )
        intake.keep(answer, part.completion_tokens)
        first = answer.stop


async def _ask(request: Request, settings: GenerationSettings, servers: Servers) -> Part:
    """The answer to a request, whatever server gives it. Raises UnusablePrompt when it has failed for good."""
    broken, busy_since = 0, None
    failures = 0
    while True:
        try:
            return await _attempt(request, settings, servers)
        except Broken as error:
            broken, busy_since, retry_after = broken + 1, None, None
            if broken >= settings.max_attempts:
                raise UnusablePrompt(f"failed {broken} times: {error}") from None
        except Busy as error:
            busy_since, retry_after = busy_since or time.monotonic(), error.retry_after
            if servers.silent:
                raise servers.gone() from None
            if time.monotonic() - busy_since > settings.patience:
                raise UnusablePrompt(
                    f"refused for {settings.patience:g} s while others were answered: {error}"
                ) from None
        failures += 1
        await asyncio.sleep(_pause(failures) if retry_after is None else min(retry_after, _RETRY_AFTER_MOST))


def _pause(failures: int) -> float:
    """Seconds before the next attempt: at random, up to a limit that doubles with each failure."""
    return random.uniform(0.0, min(_PAUSE_FIRST * 2.0 ** min(failures - 1, 20), _PAUSE_MOST))


async def _attempt(request: Request, settings: GenerationSettings, servers: Servers) -> Part:
    """One attempt. Raises Busy, Broken, UnusablePrompt, or ConfigError."""
    import aiohttp

    server = await servers.next()
    with servers.flight(server):
        try:
            async with servers.session.post(server.url + request.endpoint, data=request.content) as response:
                content = await response.read()
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise Busy(servers.trouble(server, str(error))) from None
        except TimeoutError:
            limit = f"no answer within --request_timeout {settings.request_timeout:g} s"
            raise Broken(servers.trouble(server, limit)) from None
        except (aiohttp.ClientError, OSError) as error:
            raise Broken(servers.trouble(server, f"connection lost ({str(error) or type(error).__name__})")) from None
        if response.status != 200:
            raise _refusal(response, content, server, servers)
        try:
            part = parse(content, request.endpoint, request.choices)
        except BrokenAnswer as error:
            raise Broken(f"{server.url}: {error}") from None
        servers.answered(server, len(part.texts))
        return part


def _refusal(response: ClientResponse, content: bytes, server: Server, servers: Servers) -> Exception:
    """What a status other than 200 means."""
    status = response.status
    reason = f"{status} {_message(content)}"
    if status in _AGAINST_ALL:
        return ConfigError(f"the server refuses all requests: {server.url}: {reason}")
    if status in (429, 503):
        return Busy(servers.trouble(server, reason, aside=False), _retry_after(response))
    if status in (408, 409) or status >= 500:
        return Broken(servers.trouble(server, reason, aside=status in _GATEWAY))
    servers.answered(server)
    return Refused(f"{server.url}: {reason}")


def _message(content: bytes) -> str:
    """What a server says is wrong, in one line: the message in its JSON, or the text as it is."""
    try:
        body = orjson.loads(content)
        error = body.get("error", body)
        text = error.get("message") or error.get("detail") or body.get("detail")
    except (orjson.JSONDecodeError, AttributeError):
        text = content.decode(errors="replace")
    return " ".join(str(text).split())[:500]


def _retry_after(response: ClientResponse) -> float | None:
    try:
        return max(0.0, float(response.headers.get("Retry-After", "")))
    except ValueError:
        return None
