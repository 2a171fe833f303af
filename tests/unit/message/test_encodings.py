# SPDX-License-Identifier: Apache-2.0
"""Charsets, encoded words and transfer encodings: what they say, and that nothing raises."""

from __future__ import annotations

import base64
import email.header
import json
import quopri

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moatmail.core.limits.message import ENCODED_WORDS_MAX
from moatmail.message.charset import decode, is_known
from moatmail.message.encoded_word import decode_words, encode_words
from moatmail.message.header import unfold
from moatmail.message.transfer import decode_body, decoder
from tests.unit.message.reading import DATA

FIELDS = DATA / "mime" / "stalwart-mail-parser" / "fields"


@pytest.mark.parametrize(
    ("octets", "charset", "text"),
    [
        pytest.param(b"\xf9\xec\xe5\xed", "iso-8859-8-i", "שלום", id="Hebrew with a direction (mime-07)"),
        pytest.param(b"\xf9\xec\xe5\xed", "ISO-8859-8-E", "שלום", id="or the other one"),
        pytest.param(b"k\x94nnte", "cp-850", "könnte", id="a hyphen too many (mime-08)"),
        pytest.param("ü€".encode(), "utf8mb4", "ü€", id="a database's name of UTF-8"),
        pytest.param(b"+APw-", "unicode-1-1-utf-7", "ü", id="an old name of UTF-7"),
        pytest.param(b"+2AA- +2D3eAA-", "utf-7", "\ufffd 😀", id="half a surrogate pair, and a whole one"),
        pytest.param(b"\x80 \x92", "iso-8859-1", "€ ’", id="Latin-1 that is Windows in truth"),
        pytest.param(b"\xa3\xa4", "gb2312", "￥", id="the superset of GB2312"),
        pytest.param(b"x \xe9", "bogus-8", "x \ufffd", id="an unknown label keeps ASCII (mime-08)"),
        pytest.param(b"x \xe9", "x'; y", "x \ufffd", id="a label that is none"),
        pytest.param("ü".encode(), "", "ü", id="no label"),
        pytest.param("ü".encode(), '"UTF-8"', "ü", id="a label in quotes"),
        pytest.param(b"abc", "zlib", "abc", id="a codec that is no charset"),
        pytest.param(b"\xff\xfeab", "hex", "\ufffd\ufffdab", id="nor this"),
        pytest.param(b"xn--a-\xe4", "idna", "xn--a-\ufffd", id="nor a costly one"),
        pytest.param(b"a\0b\0", "utf-16le", "ab", id="two octets a character"),
        pytest.param(b'\x1b$B$"\x1b(B', "iso-2022-jp", "あ", id="a charset that shifts with ASCII octets"),
    ],
)
def test_charsets(octets: bytes, charset: str, text: str) -> None:
    assert decode(octets, charset) == text


def test_known_charsets() -> None:
    assert [is_known(name) for name in ("UTF-8", "us-ascii", "iso-8859-8-i", "x-no-such", "zlib", "\0")] == [True, True, True, False, False, False]


@given(
    st.binary(max_size=40),
    st.sampled_from(["utf-7", "utf-16", "utf-32", "iso-2022-kr", "hz", "big5", "euc-jp", "gb18030", "cp037", "bogus", "utf-8-sig", "unicode_escape"]),
)
def test_no_octets_raise_in_any_charset(octets: bytes, charset: str) -> None:
    decode(octets, charset).encode("utf-8")


@given(st.text(max_size=20))
def test_no_label_raises(label: str) -> None:
    assert decode(b"abc \xe9 \xc3\xa9", label).replace("\0", "")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param(b"plain", "plain", id="no encoded word"),
        pytest.param(b"=?utf-8?Q?a_b=C3=BC?=", "a bü", id="Q: the underscore is a blank"),
        pytest.param(b"=?utf-8?B?w7w=?= x", "ü x", id="B"),
        pytest.param(b"=?utf-8?Q?=C3?= =?UTF-8?Q?=BC?=", "ü", id="a character cut between two words (mime-01)"),
        pytest.param(b"=?utf-8?B?ww==?= =?utf-8?Q?=BC?=", "ü", id="even where the encodings differ"),
        pytest.param(b"=?utf-8?Q?a?= =?iso-8859-1?Q?=FC?=", "aü", id="blanks between words of two charsets go too"),
        pytest.param(b"=?utf-8?Q?a?= b =?utf-8?Q?c?=", "a b c", id="blanks beside text stay"),
        pytest.param(b"=?utf-8*de?Q?a?=", "a", id="a language tag (RFC 2231)"),
        pytest.param(b"x=?utf-8?Q?a?=y", "xay", id="glued to text (damage)"),
        pytest.param(b"=?utf-8?Q?a b?=", "a b", id="a raw blank in it (damage)"),
        pytest.param(b"=?utf-8?B?w7w?=", "ü", id="padding forgotten (damage)"),
        pytest.param(b"=?utf-8?B?w7x?=", "ü", id="cut in mid-quantum (damage)"),
        pytest.param(b"=?utf-8?B?w!7 w=?=", "ü", id="what is outside the alphabet is ignored (damage)"),
        pytest.param(b"=?utf-8?X?a?=", "=?utf-8?X?a?=", id="an unknown encoding stays"),
        pytest.param(b"=?utf-8?Q?=zz?=", "=zz", id="what is no octet stays (damage)"),
        pytest.param(b"=?utf-8?Q?open", "=?utf-8?Q?open", id="a word that never ends stays"),
        pytest.param("rüh".encode(), "rüh", id="raw UTF-8"),
        pytest.param(b"r\xfch", "r\ufffdh", id="raw octets of an unknown charset"),
    ],
)
def test_encoded_words(value: bytes, text: str) -> None:
    assert decode_words(value) == text


def test_encoded_words_are_counted() -> None:
    text = decode_words(b"=?utf-8?Q?a?= " * (ENCODED_WORDS_MAX + 5))
    assert text.startswith("a" * ENCODED_WORDS_MAX + " =?utf-8")


@given(st.text(max_size=300))
def test_what_we_encode_we_and_the_library_read(text: str) -> None:
    text = text.encode("utf-8", "replace").decode()
    words = encode_words(text)
    assert all(len(word) <= 75 for word in words)
    assert decode_words(b" ".join(words)) == text
    joined = b" ".join(words).decode()
    assert str(email.header.make_header(email.header.decode_header(joined))) == text


@pytest.mark.skipif(not FIELDS.is_dir(), reason="the MIME samples (shared/data/mime) are not here")
def test_a_second_opinion_on_unstructured_fields() -> None:
    same, others = 0, []
    for sample in json.loads((FIELDS / "unstructured.json").read_text("utf-8")):
        ours = decode_words(unfold(sample["header"].encode()))
        if ours.split() == (sample["expected"] or "").split():
            same += 1
        else:
            others.append(sample["header"])
    assert same >= 25
    assert len(others) <= ARGUED, others


# Two hold the next field too; in three a word glued to text gets a blank that nobody wrote.
ARGUED = 5


@pytest.mark.parametrize(
    ("encoding", "octets", "decoded"),
    [
        pytest.param(b"base64", b"aGVs\r\nbG8=\r\n", b"hello", id="base64"),
        pytest.param(b"base64", b"ISE=\r\nISEh\r\n", b"!!!!!", id="base64 that goes on after its padding (mime-05)"),
        pytest.param(b"base64", b"aGVsbG8", b"hello", id="base64 without padding"),
        pytest.param(b"base64", b"aGVsbG8h*=-_ Z", b"hello!", id="base64 among other octets"),
        pytest.param(b"base64", b"====", b"", id="padding of nothing"),
        pytest.param(b"quoted-printable", b"a=3D=\r\nb  \r\nc=C3=BC", b"a=b\r\nc\xc3\xbc", id="quoted-printable: soft breaks go, blanks at line ends go"),
        pytest.param(b"quoted-printable", b"a= \t\r\nb=zz=", b"ab=zz", id="quoted-printable with blanks after its mark, and damage"),
        pytest.param(b"7bit", b"a=3D\r\n", b"a=3D\r\n", id="7bit"),
        pytest.param(b"x-unknown", b"\x00\xff", b"\x00\xff", id="an unknown encoding"),
    ],
)
def test_transfer_encodings(encoding: bytes, octets: bytes, decoded: bytes) -> None:
    assert decode_body(octets, encoding) == decoded
    undo = decoder(encoding)
    assert b"".join([undo.feed(octets[place : place + 1]) for place in range(len(octets))]) + undo.finish() == decoded


@given(st.binary(max_size=200), st.lists(st.integers(1, 50), min_size=1))
def test_base64_and_quoted_printable_come_back(content: bytes, sizes: list[int]) -> None:
    for encoding, octets in ((b"base64", base64.encodebytes(content)), (b"quoted-printable", quopri.encodestring(content, quotetabs=True))):
        undo, out, place = decoder(encoding), [], 0
        while place < len(octets):
            size = sizes[place % len(sizes)]
            out.append(undo.feed(octets[place : place + size]))
            place += size
        assert b"".join([*out, undo.finish()]) == decode_body(octets, encoding)
        if encoding == b"base64":
            assert decode_body(octets, encoding) == content


@given(
    st.lists(st.sampled_from([b"A", b"=", b"\r\n", b"\n", b" ", b"\t", b"=41", b"=\r\n", b"\xff", b"b" * 600]), max_size=30).map(b"".join), st.integers(1, 9)
)
def test_pieces_change_nothing_in_any_octets(octets: bytes, size: int) -> None:
    for encoding in (b"base64", b"quoted-printable"):
        undo = decoder(encoding)
        pieces = [undo.feed(octets[place : place + size]) for place in range(0, len(octets), size)]
        assert b"".join([*pieces, undo.finish()]) == decode_body(octets, encoding)
