"""Math-Verify as its own page calls it, in bounded children, for the tests that hold our reward against it."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any, NamedTuple, TypeVar

from analyzer.grading import Limits, Target
from analyzer.grading.supervisor import Supervisor
from analyzer.rewards.math_verify import equivalence
from analyzer.rewards.math_verify.reward import MathVerify, _candidate
from analyzer.schema import Status

ITS_TIMEOUT = 5.0  # seconds by the clock: the default of parse, and of each comparison in verify
BOUND = Limits(cpu_seconds=20, memory_bytes=4 << 30)  # for one pair: beyond what its own timeouts leave it
THREADS = 2
CHUNK = 16  # pairs in one call

T = TypeVar("T")


class Verdict(NamedTuple):
    """What Math-Verify says of one response; `late`: one of its timeouts passed, so that a False says nothing."""

    equal: bool
    late: bool


class MathVerifyItself:
    """`verify(parse("$" + gold + "$"), parse(response))` with the package's own timeouts, as a target of the child."""

    def load(self) -> None:
        logging.getLogger("math_verify").setLevel(logging.CRITICAL)  # it warns of each timeout

    def ask(self, pairs: Sequence[Sequence[str]]) -> list[Verdict]:
        """The verdict on each (ground truth, response)."""
        from math_verify import parse, verify

        found = []
        for gold, response in pairs:
            times = [time.monotonic()]
            expected = parse(f"${gold}$")
            times.append(time.monotonic())
            answer = parse(response)
            times.append(time.monotonic())
            equal = bool(verify(expected, answer))
            times.append(time.monotonic())
            longest = max(after - before for before, after in itertools.pairwise(times))
            found.append(Verdict(equal, longest > ITS_TIMEOUT - 0.5))
        return found


class SlowPath:
    """What `grade` of our reward gives where `settle` settles nothing, as a target of the child."""

    def load(self) -> None:
        MathVerify().load()

    def ask(self, pairs: Sequence[Sequence[Any]]) -> list[float]:
        """The reward of each (ground truth, extracted answer)."""
        found = []
        for gold, answer in pairs:
            parsed = equivalence.parsed(map(_candidate, answer))
            found.append(float(equivalence.equal(equivalence.gold_of(gold), parsed)))
        return found


def verdicts(pairs: Sequence[tuple[str, str]]) -> list[Verdict]:
    """What Math-Verify says of each (ground truth, response); a pair that breaks all bounds counts as late."""
    return _ask_all(MathVerifyItself, pairs, lambda _: Verdict(False, True))


def slow_rewards(pairs: Sequence[tuple[str, Any]]) -> list[float | Status]:
    """What the slow path gives each (ground truth, answer), or the status that says why it gives nothing."""
    return _ask_all(SlowPath, pairs, lambda status: status)


def _ask_all(target: type, pairs: Sequence[tuple[str, Any]], failed: Callable[[Status], T]) -> list[Any | T]:
    """Ask each distinct pair once, in as many children as there are threads; the answers are in order."""
    distinct = list(dict.fromkeys(pairs))
    chunks = [distinct[at : at + CHUNK] for at in range(0, len(distinct), CHUNK)]

    def ask_share(first: int) -> list[Any | T]:
        with closing(Supervisor(Target(f"{target.__module__}:{target.__qualname__}"), BOUND)) as child:
            return [said for chunk in chunks[first::THREADS] for said in _ask(child, chunk, failed)]

    with ThreadPoolExecutor(THREADS) as pool:
        shares = list(pool.map(ask_share, range(THREADS)))
    known = {}
    for first, share in enumerate(shares):
        known.update(zip(itertools.chain.from_iterable(chunks[first::THREADS]), share, strict=True))
    return [known[pair] for pair in pairs]


def _ask(child: Supervisor, chunk: Sequence[tuple[str, Any]], failed: Callable[[Status], T]) -> list[Any | T]:
    reply = child.call("ask", chunk, items=len(chunk))
    if reply.status is Status.OK:
        return [Verdict(*said) if isinstance(said, list) else said for said in reply.value]
    if len(chunk) == 1:
        return [failed(reply.status)]
    return [said for pair in chunk for said in _ask(child, [pair], failed)]
