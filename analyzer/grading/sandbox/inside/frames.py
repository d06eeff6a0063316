"""Messages over a stream socket: a length, a tag of one byte, a JSON body.

C call      check -> program   ["call", "add", ["l", 1, 2], ["d"], ["d"]], packed (calls.py); back for a function given
L loaded    program -> judge   the program has been executed and takes calls
P printed   program -> check   ["stdout", "..."], before a call or an answer
V value     program -> check   what the function returned, packed
R raised    program -> check   {"type": "ValueError", "errno": null, "text": "ValueError: ...", "message": "..."}
U uncrossable  program -> check   {"type": ..., "text": ...}: it returned what cannot cross
D done      check -> judge     the nonce: the test ran to its end
F failed    either -> judge    {"phase": "compile", "type": ..., "errno": ..., "text": ...}
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Callable
from typing import Any

CALL, LOADED, PRINTED, VALUE, RAISED, UNCROSSABLE = b"C", b"L", b"P", b"V", b"R", b"U"
DONE, FAILED = b"D", b"F"
SHORT, LONG = 1 << 16, 64 << 20
"""Longest message about a failure, and from test code: bytes."""
# Big-endian without padding, five bytes: the two sides may be different Pythons, never different machines.
_HEAD = struct.Struct(">Ic")


class FrameError(Exception):
    """Raised when the other side is gone or does not keep to the form."""


class TooLong(FrameError):
    """Raised for a message over the limit."""


def send(stream: socket.socket, tag: bytes, body: Any) -> None:
    """Send `body` as JSON. Raises what json and the socket raise."""
    forward(stream, tag, json.dumps(body, separators=(",", ":")).encode())


def forward(stream: socket.socket, tag: bytes, body: bytes, on_wait: Callable[[], None] | None = None) -> None:
    """Send a body that is JSON already. Raises FrameError when the other side is gone.

    `on_wait` is called at each timeout of the stream, and raises to give up.
    """
    rest = memoryview(_HEAD.pack(len(body), tag) + body)
    while rest:
        try:
            rest = rest[stream.send(rest) :]
        except TimeoutError as error:
            _wait(error, on_wait)
        except OSError as error:
            raise FrameError(str(error)) from None


def receive(stream: socket.socket, longest: int, on_wait: Callable[[], None] | None = None) -> tuple[bytes, bytes]:
    """The next message as (tag, body); `on_wait` as in `forward`. Raises FrameError at the end, TooLong."""
    length, tag = _HEAD.unpack(_exactly(stream, _HEAD.size, on_wait))
    # Before reading on: the length is the program's claim, and up to 4 GB.
    if length > longest:
        raise TooLong(f"a message of {length} bytes")
    return tag, _exactly(stream, length, on_wait)


def _exactly(stream: socket.socket, count: int, on_wait: Callable[[], None] | None) -> bytes:
    parts = []
    while count:
        try:
            # At most a megabyte at a time, since recv() allocates what it is asked for before anything has
            # arrived.
            part = stream.recv(min(count, 1 << 20))
        except TimeoutError as error:
            _wait(error, on_wait)
            continue
        except OSError as error:
            raise FrameError(str(error)) from None
        if not part:
            raise FrameError("the other side is gone")
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def _wait(error: TimeoutError, on_wait: Callable[[], None] | None) -> None:
    if on_wait is None:
        raise FrameError(str(error)) from None
    on_wait()
