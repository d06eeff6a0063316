"""Frames: every JSON value arrives as it was sent, and nothing else is taken for one."""

from __future__ import annotations

import datetime
import decimal
import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.grading.frames import Channel, Closed, GarbledFrame, pack
from analyzer.schema import NOTHING, Score

texts = st.text(st.characters(exclude_categories=()))  # lone surrogates and NUL too
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
    max_leaves=20,
)


@pytest.fixture
def pair() -> Iterator[tuple[Channel, socket.socket]]:
    left, right = socket.socketpair()
    right.settimeout(10)
    left.settimeout(0.05)
    channel = Channel(left)
    yield channel, right
    channel.close()
    right.close()


@given(st.lists(values, min_size=1, max_size=5))
def test_messages_arrive_one_by_one_as_they_were_sent(messages: list[Any]) -> None:
    left, right = socket.socketpair()
    with left, right:
        left.sendall(b"".join(map(pack, messages)))
        channel = Channel(right)
        assert [channel.receive() for _ in messages] == messages


@pytest.mark.parametrize(
    ("value", "arrives"),
    [
        (Score(1.0, extra=NOTHING), [1.0, "ok", True, {}, "", None, None, {}]),
        (datetime.date(2024, 5, 1), "2024-05-01"),
        (datetime.datetime(2024, 5, 1, 12), "2024-05-01T12:00:00"),
        (decimal.Decimal("1.10"), "1.10"),
        (b"\x00\xff", "AP8="),
    ],
)
def test_what_parquet_holds_and_json_does_not_arrives_as_text(
    pair: tuple[Channel, socket.socket], value: Any, arrives: Any
) -> None:
    channel, other = pair
    other.sendall(pack(value))
    assert channel.receive() == arrives


def test_a_value_that_is_no_json_is_refused() -> None:
    with pytest.raises(TypeError, match="set is not a JSON value"):
        pack({1, 2})


@pytest.mark.parametrize(
    "data",
    [
        b"garbage, but long enough",
        struct.pack("!I", 3) + b"{]}",
        struct.pack("!I", 2) + b"\xff\xfe",
        struct.pack("!I", 100_000) + b"[" * 100_000,
    ],
    ids=["no frame", "no JSON", "no ASCII", "too deep"],
)
def test_bytes_that_are_no_frame_are_refused(pair: tuple[Channel, socket.socket], data: bytes) -> None:
    channel, other = pair
    other.sendall(data)
    with pytest.raises(GarbledFrame):
        channel.receive()


def test_a_frame_over_the_cap_is_refused_before_it_is_read(pair: tuple[Channel, socket.socket]) -> None:
    channel, other = pair
    other.sendall(struct.pack("!I", 1001))
    with pytest.raises(GarbledFrame, match="1,001 bytes"):
        channel.receive(cap=1000)


def test_a_peer_that_goes_in_the_middle_of_a_frame_is_noticed(pair: tuple[Channel, socket.socket]) -> None:
    channel, other = pair
    other.sendall(struct.pack("!I", 10) + b"abc")
    other.close()
    with pytest.raises(Closed):
        channel.receive()


class GivenUp(Exception):
    pass


def give_up() -> None:
    raise GivenUp


def test_waiting_ends_when_the_watcher_says_so(pair: tuple[Channel, socket.socket]) -> None:
    channel, _ = pair
    with pytest.raises(GivenUp):
        channel.receive(give_up)
    with pytest.raises(GivenUp):
        channel.send(pack("x" * 10_000_000), give_up)  # nobody reads it
