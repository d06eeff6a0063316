"""The servers: their model, which one gets the next request, and which are set aside.

A request goes to the server with the fewest in flight. One that cannot be reached, breaks connections or lets
requests time out is set aside for a while that doubles each time; then one request at a time tries it, until
one is answered or has been under way for some seconds. One that says it is busy gets no more than it took, and a
few more each second; requests wait for it in the order in which they were first made.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm

from analyzer.errors import ConfigError, Interrupted, printable
from analyzer.generation.client import Client, Unreachable
from analyzer.generation.served import Found, NotReady, Unlisted, as_served, listing
from analyzer.generation.settings import GenerationSettings
from analyzer.generation.state import Served

_ASIDE_FIRST, _ASIDE_MOST = 1.0, 60.0
_POLL_SECONDS = 0.1
_TELL_AFTER_SECONDS = 10.0  # of nothing but trouble
_ROOM_SECONDS = 1.0  # between attempts to send a busy server more than it took
_TRIAL_SECONDS = 15.0  # longer than a connection may take: a request that is under way so long was accepted
_MANY = 1 << 30  # choices: no limit is known
_UNDER_WAY_SECONDS = 90.0  # longer than a gateway holds a request that it refuses


class Server:
    """One server and how it is doing."""

    def __init__(self, url: str, lists: bool) -> None:
        self.url = url
        self.lists = lists  # whether it has ever listed its models
        self.in_flight = 0
        self.sent = 0
        self.troubles = 0  # times it was set aside since its last answer
        self.aside_until = 0.0
        self.trial: float | None = None  # since when a request has been trying it after trouble
        self.room = math.inf  # requests that it may have at a time
        self.took = math.inf  # requests that it is known to take at a time
        self.more_room_at = 0.0  # when to try more
        self.checked = False  # whether it is known to serve the model, since it was last away
        self.checking = asyncio.Lock()

    def ready(self, now: float) -> bool:
        """Whether it may get a request now."""
        if self.trial is not None and now - self.trial > _TRIAL_SECONDS:
            # An answer may take an hour, and the others must not wait for it one after another.
            self.troubles, self.trial = 0, None
        if self.in_flight >= self.room and now >= self.more_room_at:
            self.room, self.more_room_at = self.in_flight + 1 + self.in_flight // 16, now + _ROOM_SECONDS
        return now >= self.aside_until and not (self.troubles and self.trial is not None) and self.in_flight < self.room

    def refused(self) -> bool:
        """Note that it had no room for a request, which still counts as in flight; whether that was one too many."""
        too_many = self.in_flight > self.took
        self.room = self.took = max(1, self.in_flight - 1)
        self.more_room_at = time.monotonic() + _ROOM_SECONDS
        return too_many

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

    def __init__(self, settings: GenerationSettings, found: Found) -> None:
        """`found`: the model that all of them must serve, and what they say of it."""
        self._listed = found.listed
        self.client = Client(settings, settings.request_timeout)
        self._served = found.served
        self._same_model = settings.same_model
        self._says: str | None = None  # the model that answers name
        self._tickets = itertools.count()
        self._line: list[tuple[int, asyncio.Event]] = []  # a heap of the requests that wait for a server
        self._under_way: dict[int, float] = {}  # since when, by its ticket; the oldest first
        self.servers = [Server(url, url in found.listing) for url in settings.urls]
        self._patience = settings.patience
        self._last_trouble = ""
        self._trouble_since: float | None = None  # since when there was trouble and no answer
        self._told = False  # whether the user knows of this trouble
        self._sampling = settings.temperature > 0
        self.most_at_once = _MANY if self._sampling else 1  # vLLM refuses n > 1 for greedy sampling
        self.answers = 0
        self._proven = 1  # choices that a server gave in one answer
        self.late = 0  # requests that ran into the time limit
        self.filtered = 0  # choices that a filter cut or emptied

    async def close(self) -> None:
        """Close all connections; what the servers still compute they may drop."""
        await self.client.close()

    async def check(self, server: Server) -> None:
        """Make sure that a server serves the model, when it is first used and when it was away.

        Raises Unreachable when it does not say, and ConfigError when it serves another one.
        """
        if server.checked or self._same_model:
            return
        # One task asks, the others wait for its answer: a restarted server would get a hundred listings at once.
        async with server.checking:
            if not server.checked:
                try:
                    offered = await listing(self.client, server.url)
                except NotReady as error:
                    if self._served.root is None or (isinstance(error, Unlisted) and not server.lists):
                        # It told no place before, or never tells one; its answers name the model.
                        server.checked = True
                        return
                    raise Unreachable(str(error)) from None
                server.lists = True
                name = self._served.model
                gone = self._listed and bool(offered) and name not in offered
                now = Served(", ".join(list(offered)[:10])) if gone else as_served(offered, name)
                if gone or now.differs(self._served):
                    raise ConfigError(
                        f"the rollouts so far are of {self._served}, and {server.url} now serves {now}: they must not "
                        "be mixed; serve the first model again and run the same command, or confirm with "
                        "--same_model that the weights are the same"
                    )
                server.checked = True

    def check_answer(self, server: Server, model: str | None) -> None:
        """Make sure that all answers are of the model that the first one named. Raises ConfigError.

        The name may be longer than the one that was asked for, but a gateway that turns to another model, or a server
        that was started anew with one, changes it.
        """
        if model is None or self._same_model:
            return
        self._says = self._says or model
        if model != self._says:
            raise ConfigError(
                f"the answers so far were of {self._says!r}, and {server.url} now answers with {model!r}: they must "
                "not be mixed; serve the first model again and run the same command, or confirm with --same_model that "
                "the weights are the same"
            )

    @property
    def under_way(self) -> int:
        """Requests that were sent and are not answered."""
        return len(self._under_way)

    @property
    def silent(self) -> bool:
        """Whether there has been nothing but trouble for longer than the patience.

        A request that has been under way for long is not a sign of trouble: answers of reasoning models take an hour.
        """
        now = time.monotonic()
        if self._trouble_since is None or now - self._trouble_since <= self._patience:
            return False
        oldest = next(iter(self._under_way.values()), now)
        return now - oldest < min(_UNDER_WAY_SECONDS, self._patience / 2)

    def answered(self, server: Server, choices: int = 0) -> None:
        """Note an answer of a server, with how many choices."""
        server.answered()
        self._trouble_since, self._told = None, False
        self.answers += choices > 0
        self._proven = max(self._proven, choices)

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
        """Note the refusal of a request for so many choices; whether asking for fewer may help.

        Some servers have a limit. When as few as were given before are refused too, it was for another reason.
        """
        fewer = choices > self._proven
        if self._sampling:
            self.most_at_once = self._proven if fewer else _MANY
        return fewer

    def ticket(self) -> int:
        """The place of a new request in the line: behind all that were made before, however often those are refused."""
        return next(self._tickets)

    async def next(self, ticket: int) -> Server:
        """The ready server with the fewest requests in flight, waiting until there is one and it is the request's turn.

        Raises Interrupted when none is ready and they have been silent for too long.
        """
        if not self._line and (server := self._ready()):
            return server
        turn = asyncio.Event()
        heapq.heappush(self._line, (ticket, turn))
        try:
            while True:
                if self._line[0][0] != ticket:
                    await turn.wait()
                    turn.clear()
                elif ready := self._ready():
                    return ready
                elif self.silent:
                    raise self.gone()
                else:
                    # Polling instead of an event: what is waited for is time that passes.
                    await asyncio.sleep(_POLL_SECONDS)
        finally:
            self._line.remove((ticket, turn))
            heapq.heapify(self._line)
            if self._line:
                self._line[0][1].set()

    def _ready(self) -> Server | None:
        now = time.monotonic()
        ready = [server for server in self.servers if server.ready(now)]
        # Of equally busy ones the one that was asked less often: idle servers then share the work.
        return min(ready, key=lambda server: (server.in_flight, server.sent)) if ready else None

    def gone(self) -> Interrupted:
        """The error for servers that were silent for too long."""
        return Interrupted(
            f"no server has answered for {self._patience:g} s (last: {self._last_trouble}); "
            "the generated rollouts are kept; start the server and run the same command again"
        )

    @contextmanager
    def flight(self, server: Server, ticket: int) -> Iterator[None]:
        """Count a request as in flight."""
        # Noted before the request: an answer resets the troubles, and this request must still be told from the
        # others.
        trying = bool(server.troubles)
        server.in_flight += 1
        server.sent += 1
        self._under_way[ticket] = time.monotonic()
        if trying:
            server.trial = self._under_way[ticket]
        try:
            yield
        finally:
            server.in_flight -= 1
            del self._under_way[ticket]
            if trying:
                server.trial = None
