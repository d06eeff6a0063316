"""Signals: SIGINT, SIGTERM and SIGUSR1 (sent by a batch system before it takes the node) end the run with exit 75."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType

from analyzer.errors import EXIT_INTERRUPTED, Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
GRACE_SECONDS = 4.0
"""Time for an orderly end; after it the process ends as it is. What is committed stays committed either way."""


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Raise Interrupted in the main thread on the first signal; end at once on the second, or when GRACE is over.

    Outside the main thread nothing is changed: signals belong to whoever runs there.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _stop) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(number: int, frame: FrameType | None) -> None:
    for other in SIGNALS:
        signal.signal(other, _leave)
    said = f"stopped by {signal.Signals(number).name}; run the same command again to go on"
    threading.Thread(target=_leave_later, args=(said,), daemon=True).start()
    raise Interrupted(said)


def _leave(number: int, frame: FrameType | None) -> None:
    os._exit(EXIT_INTERRUPTED)


def _leave_later(said: str) -> None:
    time.sleep(GRACE_SECONDS)
    os.write(2, f"error: {said} (not waited for an orderly end)\n".encode())
    os._exit(EXIT_INTERRUPTED)
