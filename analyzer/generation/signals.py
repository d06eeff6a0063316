"""Stopping while requests are in flight: a signal cancels them in order, a second one ends the process at once."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Coroutine
from typing import Any

from analyzer.errors import EXIT_INTERRUPTED, Interrupted
from analyzer.interrupts import SIGNALS


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

        if in_main_thread:
            for number in SIGNALS:
                asyncio.get_running_loop().add_signal_handler(number, stop, number)
        await task

    in_main_thread = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        asyncio.run(watched())
    except asyncio.CancelledError:
        raise Interrupted(
            f"stopped by {stopped_by[0].name}; what was generated is kept, run the same command again to go on"
        ) from None
    finally:
        if in_main_thread:  # the loop takes its handlers away and leaves none
            for number, handler in before.items():
                signal.signal(number, handler)
