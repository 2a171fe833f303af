# SPDX-License-Identifier: Apache-2.0
"""IMAP strings in the smallest form that the grammar allows (RFC 3501 §4.3, §9)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moatmail.core import imap_string
from moatmail.core.limits.message import QUOTED_MAX
from tests.unit.message.imap_grammar import Reader


@pytest.mark.parametrize(
    ("value", "wire"),
    [
        pytest.param(b"", b'""', id="the empty string is quoted, not NIL"),
        pytest.param(b"NIL", b'"NIL"', id="the word NIL is a string"),
        pytest.param(b'a "b" \\c', b'"a \\"b\\" \\\\c"', id="quote and backslash are escaped"),
        pytest.param(b"a\tb\x01", b'"a\tb\x01"', id="other controls may be quoted"),
        pytest.param("é".encode(), b"{2}\r\n\xc3\xa9", id="8-bit octets make a literal"),
        pytest.param(b"a\r\nb", b"{4}\r\na\r\nb", id="a line end makes a literal"),
        pytest.param(b"a\0b", b"{2}\r\nab", id="NUL has no place in any string"),
        pytest.param(b"x" * QUOTED_MAX, b'"' + b"x" * QUOTED_MAX + b'"', id="the longest quoted string"),
        pytest.param(b"x" * (QUOTED_MAX + 1), b"{%d}\r\n" % (QUOTED_MAX + 1) + b"x" * (QUOTED_MAX + 1), id="a longer one is a literal"),
    ],
)
def test_string(value: bytes, wire: bytes) -> None:
    assert imap_string.string(value) == wire
    assert imap_string.nstring(value) == wire


def test_none_is_nil() -> None:
    assert imap_string.nstring(None) == b"NIL"


@pytest.mark.parametrize(
    ("value", "wire"),
    [
        pytest.param(b"INBOX", b"INBOX", id="an atom is bare"),
        pytest.param(b"a]b", b"a]b", id="a closing bracket may stand in it"),
        pytest.param(b"nil", b'"nil"', id="but not the word nil"),
        pytest.param(b"", b'""', id="nor nothing"),
        pytest.param(b"Sent Mail", b'"Sent Mail"', id="a blank makes it quoted"),
        pytest.param(b"100%", b'"100%"', id="a wildcard makes it quoted"),
        pytest.param("Entwürfe".encode(), b"{9}\r\nEntw\xc3\xbcrfe", id="8-bit makes it a literal"),
    ],
)
def test_astring(value: bytes, wire: bytes) -> None:
    assert imap_string.astring(value) == wire


@pytest.mark.parametrize("value", [b"a\rb", b"a\nb", b"\0", b"\x80", b"x" * (QUOTED_MAX + 1)])
def test_what_cannot_be_quoted_is_refused(value: bytes) -> None:
    with pytest.raises(ValueError, match="quoted string"):
        imap_string.quoted(value)


@given(st.binary(max_size=1_200))
def test_any_octets_are_read_back(value: bytes) -> None:
    reader = Reader(imap_string.string(value))
    assert reader.string() == (value if imap_string.is_quotable(value) else value.replace(b"\0", b""))
    reader.end()
