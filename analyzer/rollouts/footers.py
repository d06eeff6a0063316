"""Parquet footers, read once and never held: where each row group is described, so that a part can be had alone.

Arrow keeps every column chunk of a footer as an object of about a kilobyte: a file of 100,000 row groups and seven
columns takes 900 MB in each process that opens it. Here the footer is walked once, as the bytes it is (Thrift's
compact protocol, of which only lengths are understood), and what is kept is the place of each row group in it. From
those bytes a footer of just the row groups that are wanted is put together for arrow to read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import pyarrow.parquet as pq

MAGIC = b"PAR1"
TRAILER = 8  # bytes at the end of a file: the length of the footer, and MAGIC

# In the order of their codes in the protocol, from 1. The nameless one is a map, which parquet.thrift never uses.
_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _, _STRUCT = range(1, 13)
_VARINTS = frozenset({_I16, _I32, _I64})
_ROW_GROUPS, _TOTAL_BYTE_SIZE, _NUM_ROWS = 4, 2, 3  # field numbers of FileMetaData and of RowGroup in parquet.thrift


class RowGroup(NamedTuple):
    """One row group, and where in the footer it is described."""

    rows: int
    bytes: int  # uncompressed, all columns
    start: int
    stop: int


class Layout(NamedTuple):
    """Where the parts of a footer are, as positions in it."""

    head: int  # what precedes the list of row groups is [0, head)
    tail: int  # what follows them starts here
    groups: Sequence[RowGroup]


def length(trailer: bytes, size: int) -> int:
    """Bytes of the footer, from the last TRAILER bytes of a file of `size` bytes. Raises ValueError."""
    # An encrypted footer has an error of its own: its remedy is to decrypt it, unlike that of a file that was cut off.
    if len(trailer) < TRAILER or trailer[4:] != MAGIC:
        encrypted = trailer[4:] == b"PARE"
        raise ValueError("its footer is encrypted" if encrypted else "it does not end like a parquet file")
    length = int.from_bytes(trailer[:4], "little")
    if length + TRAILER > size:
        raise ValueError("its footer is longer than the file")
    return length


def layout(footer: bytes) -> Layout:
    """Walk a footer. Raises ValueError where it is none."""
    at = field = 0
    try:
        while footer[at]:
            field, kind, at = _field(footer, at, field)
            if field == _ROW_GROUPS and kind == _LIST:
                head = at
                number, kind, at = _list(footer, at)
                if number and kind != _STRUCT:
                    raise ValueError("its row groups are invalid")
                groups: list[RowGroup] = []
                for _ in range(number):
                    groups.append(_row_group(footer, at))
                    at = groups[-1].stop
                return Layout(head, at, groups)
            at = _after(footer, at, kind)
    except (IndexError, RecursionError):
        # What damage looks like to a walk that trusts the lengths it reads: a place past the end, or endless nesting.
        raise ValueError("its footer is damaged") from None
    raise ValueError("its footer lists no row groups")


def metadata(head: bytes, groups: int, described: bytes, tail: bytes) -> pq.FileMetaData:
    """The metadata of these row groups alone; all but its number of rows, which stays that of the whole file.

    `described`: the bytes of `groups` row groups one after another. Raises what arrow raises for a damaged footer.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    # The header of a list: up to 14 items are counted in its first byte, 15 there says that a varint follows.
    header = bytearray([min(groups, 15) << 4 | _STRUCT])
    if groups >= 15:
        rest = groups
        while rest > 127:
            header.append(rest & 127 | 128)
            rest >>= 7
        header.append(rest)
    footer = head + bytes(header) + described + tail
    # Arrow reads a footer from the end of a file only, and asks no more of a file than that it begins with MAGIC.
    return pq.read_metadata(pa.BufferReader(MAGIC + footer + len(footer).to_bytes(4, "little") + MAGIC))


def _row_group(data: bytes, start: int) -> RowGroup:
    rows = size = field = 0
    at = start
    while data[at]:
        field, kind, at = _field(data, at, field)
        stop = _after(data, at, kind)
        if field == _TOTAL_BYTE_SIZE:
            size = _signed(_varint(data, at)[0])
        elif field == _NUM_ROWS:
            rows = _signed(_varint(data, at)[0])
        at = stop
    if rows < 0 or size < 0:
        raise ValueError("a row group has a negative size")
    return RowGroup(rows, size, start, at + 1)


# ---------------------------------------------------------------- Thrift's compact protocol


def _field(data: bytes, at: int, last: int) -> tuple[int, int, int]:
    """Number and kind of the field whose header is at `at`, and where its value is."""
    head = data[at]
    # The upper half of the byte is the distance from the field before. 0: it does not fit there, and the number itself
    # follows.
    if head >> 4:
        return last + (head >> 4), head & 15, at + 1
    number, at = _varint(data, at + 1)
    return _signed(number), head & 15, at


def _list(data: bytes, at: int) -> tuple[int, int, int]:
    """Number and kind of the items of a list, and where the first one is."""
    head = data[at]
    if head >> 4 < 15:
        return head >> 4, head & 15, at + 1
    number, at = _varint(data, at + 1)
    return number, head & 15, at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7


def _signed(zigzag: int) -> int:
    return (zigzag >> 1) ^ -(zigzag & 1)


def _after(data: bytes, at: int, kind: int) -> int:
    """The position after a value."""
    if kind in _VARINTS:
        while data[at] > 127:
            at += 1
        return at + 1
    if kind == _BINARY:
        size, at = _varint(data, at)
        return at + size
    if kind == _STRUCT:
        return _after_struct(data, at)
    if kind in (_LIST, _SET):
        number, kind, at = _list(data, at)
        # In a list each boolean is a byte; as a field it has none, since the kind in the header is its value.
        if kind in (_TRUE, _FALSE):
            return at + number
        for _ in range(number):
            at = _after(data, at, kind)
        return at
    if kind in (_TRUE, _FALSE):
        return at
    if kind in (_BYTE, _DOUBLE):
        return at + (1 if kind == _BYTE else 8)
    raise ValueError("its footer is damaged")


def _after_struct(data: bytes, at: int) -> int:
    """The position after a struct. Nearly all of a footer is gone through here, so the frequent kinds are at hand."""
    while head := data[at]:
        at += 1
        if head < 16:  # the number of the field follows
            while data[at] > 127:
                at += 1
            at += 1
        kind = head & 15
        if kind in _VARINTS:
            while data[at] > 127:
                at += 1
            at += 1
        elif kind == _BINARY and data[at] < 128:
            at += data[at] + 1
        elif kind == _STRUCT:
            at = _after_struct(data, at)
        else:
            at = _after(data, at, kind)
    return at + 1
