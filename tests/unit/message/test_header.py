# SPDX-License-Identifier: Apache-2.0
"""The index of header fields, on good and damaged blocks."""

from __future__ import annotations

import pytest

from moatmail.message.header import Header, unfold

BLOCK = b"From a@b Sat\r\nReceived: one\r\n\tmore\r\nSubject : x\r\nno colon here\r\n its continuation\r\nreceived:two\r\nX\xe9: y\r\nTo:\r\n\r\n"


def test_fields_are_found_in_order_and_damage_is_skipped() -> None:
    header = Header(BLOCK)
    assert header.names == [b"received", b"subject", b"received", b"to"]
    assert header.all(b"received") == [b"one\tmore", b"two"]
    assert (header.first(b"subject"), header.first(b"to"), header.first(b"cc")) == (b"x", b"", None)
    assert (header.raw(b"received"), header.count(b"received")) == (b" one\r\n\tmore\r", 2)


def test_bare_line_ends_and_a_missing_last_one() -> None:
    header = Header(b"A: 1\n 2\nB: 3")
    assert (header.first(b"a"), header.first(b"b")) == (b"1 2", b"3")


@pytest.mark.parametrize(
    ("value", "unfolded"),
    [
        pytest.param(b" a\r\n b\r", b"a b", id="folding goes, its blank stays"),
        pytest.param(b"\r\n\ta", b"a", id="a value on the second line"),
        pytest.param(b" a\0b\rc ", b"abc", id="stray NUL and CR go"),
        pytest.param(b" \t ", b"", id="blanks only are nothing"),
    ],
)
def test_unfold(value: bytes, unfolded: bytes) -> None:
    assert unfold(value) == unfolded


def test_select_gives_the_fields_as_they_stand_and_an_empty_line() -> None:
    header = Header(BLOCK)
    assert header.select(frozenset((b"received", b"absent"))) == b"Received: one\r\n\tmore\r\nreceived:two\r\n\r\n"
    assert header.select(frozenset()) == b"\r\n"
    assert Header(b"A: 1").select(frozenset((b"a",))) == b"A: 1\r\n\r\n"


def test_without_leaves_all_else_untouched() -> None:
    header = Header(BLOCK)
    assert header.without(frozenset((b"received", b"to"))) == b"From a@b Sat\r\nSubject : x\r\nno colon here\r\n its continuation\r\nX\xe9: y\r\n\r\n"
    assert header.without(frozenset()) == BLOCK
