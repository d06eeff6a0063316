"""The servers: their model, which one gets the next request, and which are set aside.

A request goes to the server with the fewest in flight. One that cannot be reached, breaks connections or lets
requests time out is set aside for a while that doubles each time; then one request at a time tries it, until
one is answered.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm

from analyzer.errors import ConfigError, Interrupted, printable
from analyzer.generation.client import Client, Unreachable
from analyzer.generation.served import NotReady, listing
from analyzer.generation.settings import GenerationSettings
from analyzer.generation.state import Served

_ASIDE_FIRST, _ASIDE_MOST = 1.0, 60.0
_POLL_SECONDS = 0.1
_TELL_AFTER_SECONDS = 10.0  # of nothing but trouble


class Server:
    """One server and how it is doing."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.in_flight = 0
        self.sent = 0
        self.troubles = 0  # times it was set aside since its last answer
        self.aside_until = 0.0
        self.tried = False  # whether a request is trying it after trouble
        self.checked = False  # whether it is known to serve the model, since it was last away
        self.checking = asyncio.Lock()

    def ready(self, now: float) -> bool:
        """Whether it may get a request now."""
        return now >= self.aside_until and not (self.troubles and self.tried)

    def set_aside(self) -> None:
        """Give it a rest after trouble; what was in flight when the trouble came counts once."""
        self.checked = False  # it may come back with another checkpoint
        now = time.monotonic()
        # A hundred requests fail together when a server dies; only the first of them doubles the wait.
        if now >= self.aside_until:
            self.troubles += 1
            self.aside_until = now + min(_ASIDE_FIRST * 2 ** min(self.troubles - 1, 10), _ASIDE_MOST)

    def answered(self) -> None:
        """Note that it works."""
        self.troubles = 0
        self.aside_until = 0.0


class Servers:
    """All servers of a generation."""

    def __init__(self, settings: GenerationSettings, served: Served) -> None:
        """`served`: the model that all of them must serve."""
        self.client = Client(settings, settings.request_timeout)
        self._served = served
        self._known_by_place = served.root is not None and not settings.same_model
        self.servers = [Server(url) for url in settings.urls]
        self._patience = settings.patience
        self._last_trouble = ""
        self._trouble_since: float | None = None  # since when there was trouble and no answer
        self._told = False  # whether the user knows of this trouble
        self._sampling = settings.temperature > 0
        self.many_at_once = self._sampling  # vLLM refuses n > 1 for greedy sampling
        self._proven_many = False

    async def close(self) -> None:
        """Close all connections; what the servers still compute they may drop."""
        await self.client.close()

    async def check(self, server: Server) -> None:
        """Make sure that a server serves the model, when it is first used and when it was away.

        Raises Unreachable when it does not say, and ConfigError when it serves another one.
        """
        if not self._known_by_place:
            return
        # One task asks, the others wait for its answer: a restarted server would get a hundred listings at once.
        async with server.checking:
            if not server.checked:
                try:
                    offered = await listing(self.client, server.url)
                except NotReady as error:
                    raise Unreachable(str(error)) from None
                now = offered.get(self._served.model, self._served)
                if now.differs(self._served):
                    raise ConfigError(
                        f"the rollouts so far are of {self._served}, and {server.url} now serves {now}: they must not "
                        "be mixed; serve the first model again and run the same command, or confirm with "
                        "--same_model that "
                        "the weights are the same"
                    )
                server.checked = True

    @property
    def silent(self) -> bool:
        """Whether there has been nothing but trouble for longer than the patience."""
        return self._trouble_since is not None and time.monotonic() - self._trouble_since > self._patience

    def answered(self, server: Server, choices: int = 0) -> None:
        """Note an answer of a server, with how many choices."""
        server.answered()
        self._trouble_since, self._told = None, False
        self._proven_many = self._proven_many or choices > 1

    def trouble(self, server: Server, what: str, aside: bool = True) -> str:
        """Note trouble with a server, and set it aside; returns what it is with the server's address."""
        if aside:
            server.set_aside()
        if self._trouble_since is None:
            self._trouble_since = time.monotonic()
        self._last_trouble = f"{server.url}: {what}"
        if not self._told and time.monotonic() - self._trouble_since > _TELL_AFTER_SECONDS:
            self._told = True
            # Above the progress bar, which a print would cut in two.
            tqdm.write(
                f"no server has answered for {_TELL_AFTER_SECONDS:g} s (last: {printable(self._last_trouble)}); "
                f"waiting up to {self._patience:g} s (--patience)",
                file=sys.stderr,
            )
        return self._last_trouble

    def refused(self, choices: int) -> bool:
        """Note the refusal of a request for so many choices; whether asking for one at a time may help.

        Some servers refuse more than one. When one is refused too, it was for another reason.
        """
        if not self._proven_many:
            self.many_at_once = choices == 1 and self._sampling
        return choices > 1 and not self._proven_many

    async def next(self) -> Server:
        """The ready server with the fewest requests in flight, waiting until there is one.

        Raises Interrupted when all are set aside and have been silent for too long.
        """
        while True:
            now = time.monotonic()
            ready = [server for server in self.servers if server.ready(now)]
            if ready:
                # Of equally busy ones the one that was asked less often: idle servers then share the work.
                return min(ready, key=lambda server: (server.in_flight, server.sent))
            if self.silent:
                raise self.gone()
            # Polling instead of an event: what is waited for is time that passes.
            await asyncio.sleep(_POLL_SECONDS)

    def gone(self) -> Interrupted:
        """The error for servers that were silent for too long."""
        return Interrupted(
            f"no server has answered for {self._patience:g} s (last: {self._last_trouble}); "
            "the generated rollouts are kept; start the server and run the same command again"
        )

    @contextmanager
    def flight(self, server: Server) -> Iterator[None]:
        """Count a request as in flight."""
        # Noted before the request: an answer resets the troubles, and this request must still be told from the
        # others.
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
