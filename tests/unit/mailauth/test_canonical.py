# SPDX-License-Identifier: Apache-2.0
"""Canonical forms: the examples of RFC 6376 §3.4.5, the odd ends of bodies, and pieces of any size."""

from __future__ import annotations

import hashlib
import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moatmail.mailauth.canonical import BodyForm, BodyHashes, Canonicalization, SignedHeader, relaxed_value, shrink
from moatmail.message.header import Header
from tests.unit.mailauth.signing import body_digest

SIMPLE, RELAXED = Canonicalization.SIMPLE, Canonicalization.RELAXED


def plain(body: bytes, form: Canonicalization) -> bytes:
    """The definition, written line by line: slow, and as RFC 6376 §3.4.3 and §3.4.4 put it."""
    if not body:
        return b"\r\n" if form is SIMPLE else b""
    lines = body.split(b"\r\n")
    if form is RELAXED:
        lines = [re.sub(rb"[ \t]+", b" ", line).removesuffix(b" ") for line in lines]
    while lines and not lines[-1]:
        lines.pop()
    made = b"".join(line + b"\r\n" for line in lines)
    return made if made or form is RELAXED else b"\r\n"


@pytest.mark.parametrize(
    ("body", "simple", "relaxed"),
    [
        pytest.param(b" C \r\nD \t E\r\n\r\n\r\n", b" C \r\nD \t E\r\n", b" C\r\nD E\r\n", id="the example of RFC 6376 §3.4.5"),
        pytest.param(b"", b"\r\n", b"", id="an empty body is one line end in simple form and nothing in relaxed form"),
        pytest.param(b"\r\n", b"\r\n", b"", id="an empty line alone"),
        pytest.param(b"\r\n\r\n\r\n", b"\r\n", b"", id="empty lines alone"),
        pytest.param(b" \t\r\n \r\n", b" \t\r\n \r\n", b"", id="lines of blanks alone"),
        pytest.param(b"x", b"x\r\n", b"x\r\n", id="no line end at the end"),
        pytest.param(b"x \t", b"x \t\r\n", b"x\r\n", id="blanks at the end without a line end"),
        pytest.param(b"x\r\n  \t\r\n \r\n", b"x\r\n  \t\r\n \r\n", b"x\r\n", id="lines of blanks at the end"),
        pytest.param(b"\r\n\r\nx\r\n", b"\r\n\r\nx\r\n", b"\r\n\r\nx\r\n", id="empty lines at the start stay"),
        pytest.param(b"x\r\r\n\r\n", b"x\r\r\n", b"x\r\r\n", id="a lone CR is no line end"),
        pytest.param(b"x\n\r\n\r\n", b"x\n\r\n", b"x\n\r\n", id="a lone LF is no line end"),
        pytest.param(b"x\r\n\r", b"x\r\n\r\r\n", b"x\r\n\r\r\n", id="a lone CR at the end"),
        pytest.param(b"x \r", b"x \r\r\n", b"x \r\r\n", id="a blank before a lone CR at the end"),
    ],
)
def test_the_ends_of_bodies(body: bytes, simple: bytes, relaxed: bytes) -> None:
    for form, wanted in ((SIMPLE, simple), (RELAXED, relaxed)):
        assert plain(body, form) == wanted
        for size in (1, 2, 3, max(1, len(body))):
            pieces = [body[start : start + size] for start in range(0, len(body), size)]
            assert body_digest(pieces, form) == hashlib.sha256(wanted).digest(), (form, size)


@given(st.lists(st.binary(max_size=9).map(lambda data: bytes(b" \t\r\nab"[octet % 6] for octet in data)), max_size=6))
def test_any_pieces_give_what_the_definition_gives(pieces: list[bytes]) -> None:
    for form in Canonicalization:
        assert body_digest(pieces, form) == hashlib.sha256(plain(b"".join(pieces), form)).digest()


def test_every_body_of_six_octets_over_five() -> None:
    for octets in itertools.product(b" \t\r\na", repeat=6):
        body = bytes(octets)
        for form in Canonicalization:
            assert body_digest([body[:3], body[3:]], form) == hashlib.sha256(plain(body, form)).digest(), body


@given(st.binary(max_size=60), st.integers(0, 70), st.integers(1, 9))
def test_many_hashes_of_one_pass_agree_with_one_each(body: bytes, length: int, size: int) -> None:
    wanted = [BodyForm(form, cut) for form in Canonicalization for cut in (None, 0, length, length + 3)]
    hashes = BodyHashes(wanted)
    for start in range(0, len(body), size):
        hashes.feed(body[start : start + size])
    for one in wanted:
        made = plain(body, one.form)
        assert hashes.octets(one.form) == len(made)
        if one.length is not None and one.length > len(made):
            assert hashes.digest(one) is None
        else:
            assert hashes.digest(one) == hashlib.sha256(made[: one.length]).digest()


def test_a_body_of_empty_lines_takes_no_memory() -> None:
    hashes = BodyHashes([BodyForm(RELAXED)])
    for _ in range(1000):
        hashes.feed(b"\r\n" * 1000)
    hashes.feed(b"x")
    made = b"\r\n" * 1_000_000 + b"x\r\n"
    assert hashes.digest(BodyForm(RELAXED)) == hashlib.sha256(made).digest()


@given(st.binary(max_size=80).map(lambda data: bytes(b"  \tab"[octet % 5] for octet in data)))
def test_runs_of_blanks_become_one(octets: bytes) -> None:
    assert shrink(octets) == re.sub(rb"[ \t]+", b" ", octets)


@pytest.mark.parametrize(
    ("field", "relaxed"),
    [
        pytest.param(b"A: X\r\n", b"a:X\r\n", id="the first of RFC 6376 §3.4.5"),
        pytest.param(b"B : Y\t\r\n\tZ  \r\n", b"b:Y Z\r\n", id="the second of RFC 6376 §3.4.5"),
        pytest.param(b"SUBJect:\r\n \r\n x\r\n", b"subject:x\r\n", id="a folded line of blanks"),
        pytest.param(b"X:\r\n", b"x:\r\n", id="an empty field"),
    ],
)
def test_fields(field: bytes, relaxed: bytes) -> None:
    header = SignedHeader(Header(field + b"\r\n"))
    assert header.relaxed(0) == relaxed
    assert header.simple(0) == field


def test_repeated_names_go_from_the_bottom_and_then_mean_nothing() -> None:
    header = SignedHeader(Header(b"A: 1\r\nB: x\r\na: 2\r\nA : 3\r\n\r\n"))
    assert header.select([b"a", b"b", b"a", b"c", b"b", b"a", b"a"]) == [3, 1, 2, 0]
    assert header.select([b"a", b"a", b"a"], leave_out=2) == [3, 0]


def test_folding_is_undone_and_nothing_else() -> None:
    assert relaxed_value(b"  a\r\n\tb  c \r\n ") == b"a b c"
