"""Messages on a stream socket: four bytes of length, then JSON. Never pickle, since what comes back is not trusted.

Text goes as ASCII with escapes, so that lone surrogates and NUL arrive as they were sent.
"""

from __future__ import annotations

import json
import socket
import struct
from base64 import b64encode
from collections.abc import Callable, Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any

# A response may be 10 MB and a batch holds many; a length prefix without a cap would let four garbled bytes
# allocate 4 GB.
MAX_FRAME = 256 << 20  # bytes
_CHUNK = 1 << 16
_length = struct.Struct("!I")


class Closed(Exception):
    """Raised when the other side is gone."""


class GarbledFrame(Exception):
    """Raised for bytes that are no frame, or a frame over the size cap."""


def _as_json(value: Any) -> Any:
    """Values of a parquet file that JSON does not know: dates go as ISO text, bytes as base64, decimals as text."""
    if isinstance(value, Mapping):  # a MappingProxyType, for instance
        return dict(value)
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, bytes):
        return b64encode(value).decode("ascii")
    if isinstance(value, Decimal | timedelta):
        return str(value)
    raise TypeError(f"{type(value).__name__} is not a JSON value")


as_text = json.JSONEncoder(default=_as_json, separators=(",", ":")).encode
"""A message as ASCII text. Raises TypeError, ValueError or RecursionError for what JSON cannot hold."""
_decode = json.JSONDecoder().decode


def pack(message: Any) -> bytes:
    """A message as a frame. Raises TypeError or ValueError for what JSON cannot hold, OverflowError over the cap."""
    body = as_text(message).encode("ascii")
    if len(body) > MAX_FRAME:
        raise OverflowError(f"a message of {len(body):,} bytes is over the cap of {MAX_FRAME:,}")
    return _length.pack(len(body)) + body


class Channel:
    """Frames over a connected stream socket, whose timeout sets how often `on_wait` is called."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._received = bytearray()

    def send(self, frame: bytes, on_wait: Callable[[], None] | None = None) -> None:
        """Send a packed frame; `on_wait` is called at each timeout and raises to give up. Raises Closed."""
        # send() may take a part of it only; slices of a memoryview copy nothing, slices of bytes are quadratic in
        # a large frame.
        rest = memoryview(frame)
        while rest:
            try:
                rest = rest[self._sock.send(rest) :]
            except TimeoutError:
                if on_wait:
                    on_wait()
            except OSError as error:
                raise Closed(str(error)) from None

    def receive(self, on_wait: Callable[[], None] | None = None, cap: int = MAX_FRAME) -> Any:
        """The next message; `on_wait` as in `send`. Raises Closed, or GarbledFrame, also for one over `cap` bytes."""
        # Bytes beyond this frame stay in the buffer; a timeout in the middle of one loses nothing, as on_wait
        # just goes on.
        self._fill(_length.size, on_wait)
        (length,) = _length.unpack_from(self._received)
        # Before anything is allocated. There is no way to find the next frame after this: the caller gives up the
        # connection.
        if length > cap:
            raise GarbledFrame(f"a frame of {length:,} bytes")
        end = _length.size + length
        self._fill(end, on_wait)
        body = bytes(self._received[_length.size : end])
        # In place. A bytearray drops bytes at its front without moving the rest.
        del self._received[:end]
        try:
            return _decode(body.decode("ascii"))
        # json recurses in C and raises RecursionError at some thousand brackets: those come from a hostile child,
        # not from ours.
        except (ValueError, RecursionError) as error:
            raise GarbledFrame(f"no JSON: {error}") from None

    def close(self) -> None:
        self._sock.close()

    def _fill(self, size: int, on_wait: Callable[[], None] | None) -> None:
        while len(self._received) < size:
            try:
                data = self._sock.recv(max(_CHUNK, size - len(self._received)))
            except TimeoutError:
                if on_wait:
                    on_wait()
                continue
            except OSError as error:
                raise Closed(str(error)) from None
            if not data:
                raise Closed("end of stream")
            self._received += data
