"""Stopping: SIGINT, SIGTERM and SIGUSR1 end a generation in order; a second one ends it at once."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Coroutine, Iterator
from types import FrameType
from typing import Any

from analyzer.errors import EXIT_INTERRUPTED, Interrupted

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine to its end. Raises Interrupted when a signal stopped it, after it has cleaned up."""
    stopped_by: list[signal.Signals] = []

    async def watched() -> None:
        task = asyncio.ensure_future(main)

        def stop(number: signal.Signals) -> None:
            if stopped_by:
                os._exit(EXIT_INTERRUPTED)
            stopped_by.append(number)
            task.cancel()

        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                asyncio.get_running_loop().add_signal_handler(number, stop, number)
        await task

    try:
        asyncio.run(watched())
    except asyncio.CancelledError:
        raise interrupted(stopped_by[0]) from None


@contextlib.contextmanager
def raising() -> Iterator[None]:
    """Make the signals raise Interrupted in the code below."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        raise interrupted(signal.Signals(number))

    before = {number: signal.signal(number, stop) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def interrupted(number: signal.Signals) -> Interrupted:
    """The error that tells the user how to go on."""
    return Interrupted(f"stopped by {number.name}; what was generated is kept, run the same command again to go on")
