# SPDX-License-Identifier: Apache-2.0
"""The text of messages, for searches and previews."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from moatmail.core.limits.message import PREVIEW_CHARACTERS_MAX, SEARCH_OCTETS_MAX
from moatmail.message import summary
from moatmail.message.text import body_texts, header_text, html_text, preview
from tests.unit.message.reading import message, parse


def texts(content: bytes, piece: int = 1 << 16) -> list[str]:
    def read(start: int, length: int) -> Iterator[bytes]:
        for place in range(start, start + length, piece):
            yield content[place : min(place + piece, start + length)]

    return list(body_texts(summary.build(parse(content)).root, read))


@pytest.mark.parametrize("piece", [1, 7, 1 << 16])
def test_texts_of_all_parts_are_decoded(piece: int) -> None:
    content = message(
        "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: quoted-printable\n\n"
        "gr=FC=\n=DFe\n--b\nContent-Type: image/png\n\nnot this\n--b\nContent-Type: text/html\nContent-Transfer-Encoding: base64\n\nPGI+Zm9vPC9iPiZhbXA7\n"
        "--b\nContent-Type: message/rfc822\n\nSubject: =?utf-8?Q?inn=C3=A9r?=\n\ndeep\n--b\nContent-Type: message/delivery-status\n\nStatus: 5.1.1\n--b--\n"
    )
    assert texts(content, piece) == ["grüße", " foo &", "Subject: innér", "deep", "Status: 5.1.1"]


def test_a_search_looks_at_so_much_only() -> None:
    content = message("Content-Type: multipart/mixed; boundary=b\n\n") + (b"--b\r\n\r\n" + b"x" * (SEARCH_OCTETS_MAX // 2 + 1) + b"\r\n") * 3
    assert [len(text) for text in texts(content)] == [SEARCH_OCTETS_MAX // 2 + 1, SEARCH_OCTETS_MAX // 2 - 1]


def test_header_text_is_decoded_field_by_field() -> None:
    assert header_text(b"Subject:\r\n =?utf-8?Q?=C3=BC?=\r\nX-A: b\r\n\r\n") == "Subject: ü\nX-A: b"
    assert header_text(b"From line\r\nX-A: b\r\nno field\r\n\r\n") == "From line\nX-A: b\nno field"


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>a<b>b</b></p>", "a b"),
        ("a<style type=x>p{}</style>b<script>1</script >c", "a b c"),
        ("a<style>never closed", "a never closed"),
        ("<header>kept</header>", "kept"),
        ("1 &lt; 2 &amp; x\xady", "1 < 2 & xy"),
        ("a < b <i", "a < b <i"),
        ("<<<<a>", "<<<"),
    ],
)
def test_html(html: str, text: str) -> None:
    assert html_text(html).split() == text.split()


@pytest.mark.parametrize("row", ["<b>a</b> &amp; c", "&lt;<i>x", "< y", "a<p title='1 > 0'>é&auml;", "no tag &amp; "])
def test_long_html_reads_as_its_rows_do(row: str) -> None:
    assert html_text(row * 20_000).split() == (html_text(row + "<q>").removesuffix(" ") * 20_000).split()


def test_preview() -> None:
    assert preview(b"  a =\r\nb\r\n\r\nc=C3=BC=C3", b"quoted-printable", "text/plain", "utf-8") == "a b cü"
    assert preview(b"<html><head><title>no</title></head><p>yes", b"", "text/html", "") == "yes"
    assert len(preview("ü ".encode() * 1_000, b"8bit", "text/plain", "utf-8")) in {PREVIEW_CHARACTERS_MAX, PREVIEW_CHARACTERS_MAX - 1}
    assert preview(b"", b"", "text/plain", "") == ""
