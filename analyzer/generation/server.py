"""Prompts to rollouts through servers: many requests in flight, each tried until it is answered or has failed for good.

What may go wrong, and what follows:

- refused, reset before an answer, 429, 503: the server is down or busy; waited for, up to the patience;
- broken in mid-answer, timed out, 5xx, not a completion: tried again, `max_attempts` times in all;
- 400, 413, 422 and other refusals of this request: its prompt has failed;
- 401 to 405, a redirect that loses body or key: every request would fail; the run stops.

A server that says 429 or 503 gets fewer requests at a time, and those that it refused go first when it has room: with
more in flight than a server takes, some prompts would otherwise be refused until they fail.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    stop_after_attempt,
    wait_random_exponential,
)

from analyzer import tokens
from analyzer.errors import ConfigError, counted
from analyzer.generation.client import Late, Lost, Moved, Oversized, Rejected, Unreachable
from analyzer.generation.intake import Intake
from analyzer.generation.journal import Answer
from analyzer.generation.prompts import Prompt
from analyzer.generation.protocol import BrokenAnswer, Part, Recipe, Request, UnusablePrompt, parse
from analyzer.generation.served import find_model
from analyzer.generation.servers import Server, Servers
from analyzer.generation.settings import GenerationSettings
from analyzer.workers.interrupts import run_async

_BACKOFF = wait_random_exponential(multiplier=0.5, max=60.0)  # seconds: at random, up to a limit that doubles
_RETRY_AFTER_MOST = 300.0
_LEAST_REFUSALS = 5  # before a busy server's refusals are laid to the request
_AGAINST_ALL = frozenset({401, 402, 403, 404, 405})  # 402: the account has no credit left
_GATEWAY = frozenset({502, 504})
_SILENT_SECONDS = 60.0  # without an answer, before the user is told what is waited for


class Busy(Exception):
    """Raised for a server that cannot take the request now; does not count as an attempt.

    `alive`: it said so itself. `full`: it was sent more than it is known to take, which says nothing of this request.
    """

    def __init__(
        self, reason: str, retry_after: float | None = None, *, alive: bool = False, full: bool = False
    ) -> None:
        super().__init__(reason)
        self.retry_after = retry_after
        self.alive = alive
        self.full = full


class Broken(Exception):
    """Raised for an attempt that went wrong and counts."""


class Refused(UnusablePrompt):
    """Raised when the server says that this very request will not do."""


class ServerModel:
    """A model on one or several servers."""

    def __init__(self, settings: GenerationSettings) -> None:
        """Find the model. Raises ConfigError when no server answers or the model is not clear."""
        self._settings = settings
        self._found = find_model(settings)
        self.served, self.notes = self._found.served, self._found.notes
        tokenizer = None
        if settings.endpoint == "completions" and settings.model_path is not None:
            tokenizer = tokens.load(settings.model_path, settings.trust_remote_code)
        self._recipe = Recipe(settings, self.served.model, tokenizer)

    def generate(self, prompts: Iterator[Prompt], intake: Intake) -> None:
        """Ask for what each prompt lacks. Raises ConfigError, Interrupted or StorageError."""
        run_async(self._generate(prompts, intake))

    async def _generate(self, prompts: Iterator[Prompt], intake: Intake) -> None:
        servers = Servers(self._settings, self._found)

        async def work() -> None:
            # One iterator shared by all tasks: next() runs without a switch between them, so no prompt is asked
            # twice.
            for prompt in prompts:
                await _complete(prompt, self._recipe, servers, intake)

        gc.freeze()  # the libraries' own objects, hundreds of thousands, need no look at each collection
        workers = [asyncio.create_task(work()) for _ in range(self._settings.max_concurrent)]
        watch = asyncio.create_task(_tell_of_silence(servers, self._settings, intake))
        try:
            await asyncio.gather(*workers)
        finally:
            for task in (*workers, watch):
                task.cancel()
            # Cancelled tasks must have ended before the session closes, or aiohttp complains of open connections.
            await asyncio.gather(*workers, watch, return_exceptions=True)
            await servers.close()
            gc.unfreeze()
            _tell_of_bias(servers, self._settings, intake)


async def _tell_of_silence(servers: Servers, settings: GenerationSettings, intake: Intake) -> None:
    """Say once what is waited for: an answer may take long, and a server whose engine died keeps its requests."""
    seen = -1
    while seen != servers.answers:
        seen = servers.answers
        await asyncio.sleep(_SILENT_SECONDS)
    requests = counted(servers.under_way, "request is", "requests are")
    intake.tell(
        f"no answer for {_SILENT_SECONDS:g} s: {requests} under way, each for up to {settings.request_timeout:g} s "
        "(--request_timeout); if responses cannot take that long, look at the server"
    )


def _tell_of_bias(servers: Servers, settings: GenerationSettings, intake: Intake) -> None:
    """Say which responses were sampled again because of what they were: the rest are a biased sample of the policy."""
    if servers.late:
        requests = counted(servers.late, "request was not answered", "requests were not answered")
        intake.tell(
            f"{requests} within {settings.request_timeout:g} s and sampled again: if the responses were long, the "
            "rollouts hold too few long ones; raise --request_timeout"
        )
    if servers.filtered:
        intake.tell(
            f"{counted(servers.filtered, 'response was', 'responses were')} cut or emptied by the provider's filter "
            "(finish_reason content_filter) and sampled again: the rollouts lack what it stops"
        )


async def _complete(prompt: Prompt, recipe: Recipe, servers: Servers, intake: Intake) -> None:
    """All rollouts that a prompt lacks: a server may give fewer than asked for, then the rest is asked again."""
    if prompt.problem:
        intake.fail(prompt.data_idx, prompt.problem, unusable=True)
        return
    # Asked again each time: the journal is what counts, and some servers give fewer choices than they were asked
    # for.
    while lacking := intake.lacking(prompt.data_idx):
        first, count = lacking.start, min(len(lacking), servers.most_at_once)
        try:
            part = await _ask(recipe.request(prompt, first, count), recipe.settings, servers)
        except UnusablePrompt as error:
            # Refused for its number of choices: asked again, for as many as were given before, or one.
            if isinstance(error, Refused) and servers.refused(count):
                continue
            intake.fail(prompt.data_idx, str(error))
            return
        answer = Answer(
            prompt.data_idx, first, part.texts, part.finish_reasons, part.response_tokens, part.prompt_tokens
        )
        intake.keep(answer, part.completion_tokens)


async def _ask(request: Request, settings: GenerationSettings, servers: Servers) -> Part:
    """The answer to a request, whatever server gives it. Raises UnusablePrompt when it has failed for good."""
    ticket = servers.ticket()
    try:
        return await _attempt(request, servers, ticket)
    except (Busy, Broken) as error:  # only now: tenacity is a tenth of what a request costs
        return await _ask_again(error, request, settings, servers, ticket)


async def _ask_again(
    failed: Busy | Broken | None, request: Request, settings: GenerationSettings, servers: Servers, ticket: int
) -> Part:
    """As `_ask`, for a request whose first attempt has `failed`."""

    refusals, answers = 0, servers.answers

    async def attempt() -> Part:
        nonlocal failed, refusals
        first, failed = failed, None
        try:
            if first is not None:
                raise first
            return await _attempt(request, servers, ticket)
        except Busy as error:
            refusals += not error.full
            raise

    # Two loops in one another: attempts that count are few, waiting for a busy server counts as none and is
    # bounded by time.
    whole = AsyncRetrying(
        retry=retry_if_exception_type(Broken),
        stop=stop_after_attempt(settings.max_attempts),
        wait=_BACKOFF,
        reraise=True,
    )
    taken = AsyncRetrying(
        retry=retry_if_exception_type(Busy),
        # Silence of all servers is the machine's trouble and ends the run; a busy one among answering ones only
        # this prompt.
        stop=lambda state: (
            servers.silent or (refusals >= _LEAST_REFUSALS and (state.seconds_since_start or 0.0) > settings.patience)
        ),
        wait=lambda state: min(_as_told(state), max(0.0, settings.patience - (state.seconds_since_start or 0.0)) + 0.1),
        reraise=True,
    )
    try:
        return await whole(taken, attempt)
    except Broken as error:
        raise UnusablePrompt(f"failed {settings.max_attempts} times: {error}") from None
    except Busy as error:
        # A server that answered others meanwhile and still refuses this one alone will do so the next time, too.
        alone = refusals >= _LEAST_REFUSALS and servers.answers > answers and error.alive
        if servers.silent and not alone:
            raise servers.gone() from None
        raise UnusablePrompt(f"refused for {settings.patience:g} s while others were answered: {error}") from None


def _as_told(state: RetryCallState) -> float:
    """Seconds to wait for a busy server: what it said itself, or longer each time."""
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, Busy) and error.retry_after:  # 0 would be a busy loop
        return min(error.retry_after, _RETRY_AFTER_MOST)
    return _BACKOFF(state)


async def _attempt(request: Request, servers: Servers, ticket: int) -> Part:
    """One attempt. Raises Busy, Broken, UnusablePrompt, or ConfigError."""
    server = await servers.next(ticket)
    # Counted as in flight while it waits as well, so that the next request goes elsewhere.
    with servers.flight(server, ticket):
        try:
            await servers.check(server)
            content = await servers.client.post(server.url + request.endpoint, request.content, request.most_bytes)
            part = parse(content, request.endpoint, request.choices)
        except Unreachable as error:
            raise Busy(servers.trouble(server, str(error))) from None
        except Lost as error:
            raise Broken(servers.trouble(server, str(error))) from None
        except Late as error:
            servers.late += 1
            raise Broken(servers.trouble(server, f"{error} (--request_timeout)")) from None
        except Rejected as error:
            raise _refusal(error, server, servers) from None
        except (BrokenAnswer, Oversized) as error:
            servers.filtered += error.filtered if isinstance(error, BrokenAnswer) else 0
            raise Broken(f"{server.url}: {servers.client.hidden(str(error))}") from None
        servers.check_answer(server, part.model)
        servers.filtered += part.filtered
        servers.answered(server, len(part.texts))
        return part


def _refusal(error: Rejected, server: Server, servers: Servers) -> Exception:
    """What a status other than success means."""
    status, reason = error.status, str(error)
    if isinstance(error, Moved):
        return ConfigError(f"{server.url}: {reason}")
    if status in _AGAINST_ALL:
        # The commonest mistake has its own words, where no list of models has told: the address without /v1.
        hint = "; the address usually ends in /v1" if status in (404, 405) and not server.url.endswith("/v1") else ""
        return ConfigError(f"the server refuses all requests: {server.url}: {reason}{hint}")
    # Not set aside: a server that says "busy" is well, and takes the next request as soon as it can.
    if status in (429, 503):
        server.checked = server.checked and status == 429  # 503: it may be started anew, behind a gateway
        return Busy(servers.trouble(server, reason, aside=False), error.retry_after, alive=True, full=server.refused())
    if status in (408, 409) or status >= 500:
        return Broken(servers.trouble(server, reason, aside=status in _GATEWAY))
    servers.answered(server)
    return Refused(f"{server.url}: {reason}")
