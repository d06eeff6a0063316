"""Signals: SIGINT, SIGTERM and SIGUSR1 (sent by a batch system before it takes the node) end the run with exit 75."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from types import FrameType
from typing import Any, TypeVar

from analyzer.errors import EXIT_INTERRUPTED, Interrupted

Result = TypeVar("Result")

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
GRACE_SECONDS = 4.0
"""Time for an orderly end; after it the process ends as it is. What is committed stays committed either way."""

_instead: list[Callable[[Interrupted], None]] = []
"""What the first signal calls, where raising would not do: the last one."""


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Raise Interrupted in the main thread on the first signal; end at once on the second, or when GRACE is over.

    After a signal the process is ending: its handlers stay, so that a second one gives the same exit code to the end.
    Outside the main thread nothing is changed: signals belong to whoever runs there.
    """
    # Python refuses to set handlers elsewhere; a caller who runs this in a thread has handlers of their own.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _stop) for number in SIGNALS}
    try:
        yield
    finally:
        # Only what is still ours: after a signal the handlers are those of an ending process, and stay.
        for number, handler in before.items():
            if signal.getsignal(number) is _stop:
                signal.signal(number, handler)


def run_async(main: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine as asyncio.run does; the first signal cancels it, and Interrupted is raised when it has ended.

    An exception raised by a signal amid the callbacks of an event loop would be logged and lost.
    """
    import asyncio  # not needed for --help

    stopped: list[Interrupted] = []

    async def cancellable() -> Result:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None

        def cancel(error: Interrupted) -> None:
            stopped.append(error)
            # The handler runs between two bytecodes of the loop's own thread, where no other call is safe; it
            # also wakes a loop that sleeps in select.
            loop.call_soon_threadsafe(task.cancel)

        _instead.append(cancel)
        try:
            return await main
        finally:
            _instead.remove(cancel)

    try:
        return asyncio.run(cancellable())
    except asyncio.CancelledError:
        if not stopped:
            raise
        raise stopped[0] from None


def _stop(number: int, frame: FrameType | None) -> None:
    # A second signal, of whatever kind, comes from somebody who has lost patience: no handlers, no finally, just go.
    for other in SIGNALS:
        signal.signal(other, lambda number, frame: os._exit(EXIT_INTERRUPTED))
    error = Interrupted(f"stopped by {signal.Signals(number).name}; the same command resumes")

    def leave_later() -> None:
        time.sleep(GRACE_SECONDS)
        # os.write, since a lock of sys.stderr may be held by the thread that is stuck.
        os.write(2, f"error: {error} (without waiting for an orderly end)\n".encode())
        os._exit(EXIT_INTERRUPTED)

    # A thread, and not signal.alarm: a handler would wait for the C call that holds up the main thread.
    threading.Thread(target=leave_later, daemon=True).start()
    if not _instead:
        raise error
    _instead[-1](error)
