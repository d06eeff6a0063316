"""Footers as arrow reads them, part by part, and footers that are none."""

from __future__ import annotations

import contextlib
import io
import random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.rollouts import footers

TABLE = pa.table(
    {
        "text": [f"{i} é" * (i % 40) if i % 7 else None for i in range(200)],
        "number": pa.array(range(200), pa.int64()),
        "list": [[i, None] for i in range(200)],
        "struct": [{"a": str(i), "b": {"c": i / 3}} for i in range(200)],
        "kind": pa.array([str(i % 3) for i in range(200)]).dictionary_encode(),
    }
)


def written(table: pa.Table, **options: Any) -> bytes:
    """A parquet file in memory."""
    file = io.BytesIO()
    pq.write_table(table, file, **options)
    return file.getvalue()


def footer_of(file: bytes) -> bytes:
    """Its footer."""
    stop = len(file) - footers.TRAILER
    return file[stop - footers.length(file[stop:], len(file)) : stop]


@given(
    st.integers(4, 250),
    st.sampled_from([{"version": "1.0"}, {"compression": "none"}, {"version": "2.6", "compression": "zstd"}]),
    st.booleans(),
    st.lists(st.sampled_from(TABLE.column_names), min_size=1, unique=True),
    st.data(),
)
def test_each_part_of_a_footer_says_of_its_row_groups_what_the_whole_says(
    rows: int, options: dict[str, Any], more: bool, names: list[str], data: st.DataObject
) -> None:
    file = written(
        TABLE.select(names),
        row_group_size=rows,
        **options,
        write_statistics=more,
        write_page_index=more,
        write_page_checksum=more,
        sorting_columns=[pq.SortingColumn(0)] if more else None,
    )
    footer, whole = footer_of(file), pq.read_metadata(io.BytesIO(file))
    found = footers.layout(footer)
    assert [(g.rows, g.bytes) for g in found.groups] == [
        (whole.row_group(i).num_rows, whole.row_group(i).total_byte_size) for i in range(whole.num_row_groups)
    ]
    first = data.draw(st.integers(0, len(found.groups) - 1))
    last = data.draw(st.integers(first, len(found.groups) - 1))
    described = footer[found.groups[first].start : found.groups[last].stop]
    part = footers.metadata(footer[: found.head], last + 1 - first, described, footer[found.tail :])
    assert part.num_row_groups == last + 1 - first
    for number in range(part.num_row_groups):
        assert part.row_group(number).equals(whole.row_group(first + number))
    assert part.schema.to_arrow_schema().equals(whole.schema.to_arrow_schema(), check_metadata=True)
    read = pq.ParquetFile(io.BytesIO(file), metadata=part).read()
    assert read.equals(pq.ParquetFile(io.BytesIO(file)).read_row_groups(range(first, last + 1)))


def test_a_file_without_rows_has_a_footer_without_row_groups() -> None:
    found = footers.layout(footer_of(written(TABLE.slice(0, 0))))
    assert sum(group.rows for group in found.groups) == 0


def test_a_damaged_footer_is_refused_or_read_and_never_hangs_or_crashes() -> None:
    footer, chance = footer_of(written(TABLE, row_group_size=100)), random.Random(7)
    for size in range(footers.layout(footer).tail):
        with pytest.raises(ValueError, match="footer"):
            footers.layout(footer[:size])
    for _ in range(2000):
        damaged = bytearray(footer)
        damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        with contextlib.suppress(ValueError):
            assert footers.layout(bytes(damaged)).tail <= len(damaged)


@pytest.mark.parametrize(
    ("footer", "why"),
    [
        (b"", "damaged"),
        (b"\x15\x04\x00", "lists no row groups"),
        (b"\x49\xfc" + b"\xff" * 8 + b"\x7f", "damaged"),  # 2**63 row groups
        (b"\x49\x15\x02", "row groups are invalid"),  # a list of integers
        (b"\x1c" * 100_000, "damaged"),  # structs in structs
        (b"\x19" * 100_000, "damaged"),  # lists in lists
        (b"\x49\x1c\x36\x01\x00\x00", "negative"),
        (b"\x1d\x00", "damaged"),  # a kind that there is not
    ],
)
def test_what_is_no_footer_is_refused(footer: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        footers.layout(footer)


@pytest.mark.parametrize(
    ("trailer", "why"),
    [
        (b"", "does not end"),
        (b"\x01\x00\x00\x00PAR2", "does not end"),
        (b"\x01\x00\x00\x00PARE", "encrypted"),
        (b"\xff\xff\xff\xffPAR1", "longer than the file"),
    ],
)
def test_what_does_not_end_as_parquet_is_refused(trailer: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        footers.length(trailer, 1000)
