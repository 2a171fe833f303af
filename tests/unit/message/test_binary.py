# SPDX-License-Identifier: Apache-2.0
"""Binary parts in base64: which parts, which header fields, and that all else stays as it was.

Obeys RFC 3516 §4.4, RFC 2045 §6.
"""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moatmail.message.binary import without_binary
from moatmail.message.structure import StructureParser
from moatmail.message.transfer import decode_body

HEAD = b"Subject: x\r\nMIME-Version: 1.0\r\n"
MULTI = HEAD + b'Content-Type: multipart/mixed; boundary="b"\r\n%b\r\n--b\r\nContent-Type: text/plain\r\n\r\nhello\r\n--b\r\n%b\r\n\r\n%b\r\n--b--\r\n'
KEPT = {
    "no binary part": HEAD + b"\r\nhello\r\n",
    "eight bits are no binary": HEAD + b"Content-Transfer-Encoding: 8bit\r\n\r\nK\xc3\xb6ln\r\n",
    "the word in a text": HEAD + b"\r\nbinary\r\n",
    "another field that ends so": HEAD + b"X-Content-Transfer-Encoding: binary\r\n\r\nhello\r\n",
}
MADE = {
    "a binary body": (HEAD + b"Content-Transfer-Encoding: binary\r\n\r\n\0\n\r", HEAD + b"Content-Transfer-Encoding: base64\r\n\r\nAAoN\r\n"),
    "a folded field in capitals": (HEAD + b"CONTENT-TRANSFER-ENCODING:\r\n BINARY\r\n\r\nab", HEAD + b"Content-Transfer-Encoding: base64\r\n\r\nYWI=\r\n"),
    "a NUL without a word of it": (HEAD + b"\r\n\0", b"Content-Transfer-Encoding: base64\r\n" + HEAD + b"\r\nAA==\r\n"),
    "a part among others, and what holds them": (
        MULTI % (b"Content-Transfer-Encoding: binary\r\n", b"Content-Type: image/png\r\nContent-Transfer-Encoding: binary", b"\0\xff"),
        MULTI % (b"Content-Transfer-Encoding: 8bit\r\n", b"Content-Type: image/png\r\nContent-Transfer-Encoding: base64", b"AP8=\r\n"),
    ),
}
REFUSED = {
    "a NUL in the header": b"Subject: \0\r\n\r\nx",
    "a NUL within base64": HEAD + b"Content-Transfer-Encoding: base64\r\n\r\nAA\0==\r\n",
    "a NUL between parts": MULTI.replace(b"hello\r\n--b\r\n", b"hello\r\n--b--\r\n\0--b\r\n") % (b"", b"", b""),
}


@pytest.mark.parametrize("octets", KEPT.values(), ids=KEPT.keys())
def test_kept(octets: bytes) -> None:
    """Nothing to do, nothing done."""
    assert without_binary(octets) == octets


@pytest.mark.parametrize(("octets", "wanted"), MADE.values(), ids=MADE.keys())
def test_made(octets: bytes, wanted: bytes) -> None:
    """Only the binary parts and their fields change."""
    assert without_binary(octets) == wanted


@pytest.mark.parametrize("octets", REFUSED.values(), ids=REFUSED.keys())
def test_refused(octets: bytes) -> None:
    """A NUL that no encoding can take away."""
    assert without_binary(octets) is None


@given(st.binary(max_size=300))
def test_a_binary_body_comes_back_octet_for_octet(body: bytes) -> None:
    """Whatever it holds."""
    made = without_binary(HEAD + b"Content-Transfer-Encoding: binary\r\n\r\n" + body)
    assert made is not None
    parser = StructureParser()
    parser.feed(made)
    root = parser.finish().root
    assert decode_body(made[root.body_start :], root.encoding) == body
    assert base64.b64decode(made[root.body_start :]) == body
