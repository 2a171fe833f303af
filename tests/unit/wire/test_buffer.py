# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import time

import pytest

from moatmail.wire.buffer import BareLineEndError, Buffer, LineTooLongError


def filled(*pieces: bytes) -> Buffer:
    buffer = Buffer()
    for piece in pieces:
        buffer.feed(piece)
    return buffer


def test_lines_come_out_whole_whatever_the_cut() -> None:
    for pieces in ((b"a\r\nbc\r\n",), (b"a\r", b"\nb", b"c\r\n"), tuple(bytes((octet,)) for octet in b"a\r\nbc\r\n")):
        buffer = filled(*pieces)
        assert [buffer.line(10), buffer.line(10), buffer.line(10)] == [b"a", b"bc", None]
        assert len(buffer) == 0


def test_octets_that_meet_an_empty_buffer_are_not_copied() -> None:
    data = b"x" * 100_000
    assert filled(data).take_all() is data


def test_a_memoryview_is_copied_because_its_owner_writes_on() -> None:
    memory = bytearray(b"abc")
    buffer = filled(memoryview(memory))  # type: ignore[arg-type]
    memory[:] = b"xyz"
    assert buffer.take_all() == b"abc"


def test_pieces_are_taken_by_count() -> None:
    buffer = filled(b"abc", b"def")
    assert buffer.peek(2) == b"ab"
    assert buffer.startswith(b"abcd")
    assert (buffer.take(4), buffer.take(4), buffer.take(4)) == (b"abcd", b"ef", b"")


@pytest.mark.parametrize("pieces", [(b"abcdef",), (b"abc", b"def"), (b"abcd\r\n",), (b"abc", b"d\r\n")])
def test_a_line_over_the_limit_raises(pieces: tuple[bytes, ...]) -> None:
    with pytest.raises(LineTooLongError):
        filled(*pieces).line(3)


def test_a_line_of_the_limit_is_waited_for() -> None:
    buffer = filled(b"abc\r")
    assert buffer.line(3) is None
    buffer.feed(b"\n")
    assert buffer.line(3) == b"abc"


@pytest.mark.parametrize("text", [b"a\n", b"\n", b"a\rb\r\n", b"a\r\r\n", b"\r\r\n"])
def test_a_bare_cr_or_lf_raises(text: bytes) -> None:
    with pytest.raises(BareLineEndError):
        filled(text).line(10)


def test_many_pieces_and_many_lines_cost_linear_time() -> None:
    begun = time.process_time()
    buffer = Buffer()
    for _ in range(100_000):
        buffer.feed(b"x")
        assert buffer.line(200_000) is None
    buffer.feed(b"\r\n" * 100_000)
    while buffer.line(200_000) is not None:
        pass
    assert time.process_time() - begun < 2
