"""Memory that is free within this process is given back to the system: allocators keep it otherwise, for ever."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable


def give_back() -> None:
    """Return what pyarrow's and the C library's allocators hold without need; some milliseconds."""
    import pyarrow as pa

    pa.default_memory_pool().release_unused()
    _trim()(0)


@functools.cache
def _trim() -> Callable[[int], int]:
    """glibc's malloc_trim; other C libraries have none, and give memory back by themselves."""
    trim: Callable[[int], int] = getattr(ctypes.CDLL(None), "malloc_trim", lambda pad: 0)
    return trim
