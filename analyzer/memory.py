"""Return freed memory to the system; allocators keep it otherwise."""

from __future__ import annotations

import ctypes


def give_back() -> None:
    """Return what pyarrow's and the C library's allocators hold without need; some milliseconds."""
    import pyarrow as pa

    # arrow's pool (mimalloc or jemalloc) is not the C library's, so each is asked.
    pa.default_memory_pool().release_unused()
    # glibc keeps what is free below the top of a heap; musl and others have no such call, and need none.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
