# SPDX-License-Identifier: Apache-2.0
"""The users' troubles of the case bank that concern the reading of messages (mime-*, imap-11, imap-12, imap-15, imap-16)."""

from __future__ import annotations

import pytest

from moatmail.message import summary
from moatmail.message.encoded_word import decode_words
from moatmail.message.header import Header
from moatmail.message.summary import Summary
from moatmail.message.text import body_texts, header_text
from tests.unit.message.imap_grammar import read_body, read_envelope
from tests.unit.message.reading import CASES, judge, octets_of, parse

pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="the case bank (shared/cases) is not here")


def load(name: str) -> tuple[bytes, Summary]:
    content = (CASES / name / "input.eml").read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n").replace(b"{address}", b"ann@case.test")
    judge(content)
    return content, summary.build(parse(content))


def text_of(content: bytes, built: Summary) -> str:
    return "\n".join(body_texts(built.root, lambda start, length: [content[start : start + length]]))


@pytest.mark.parametrize(
    ("case", "subject"),
    [
        ("mime/01-encoded-word-split-character", "Rytoj ąžuolėlių šventė!"),
        ("mime/07-charset-8859-8-i", "שלום"),
        ("mime/08-charset-unknown", "plain subjectword \ufffd"),
        ("mime/14-mbox-from-line", "separatorword on top"),
        ("mime/16-folded-at-start", "starts laterword"),
        ("imap/16-search-charset", "天气预报 test"),
    ],
)
def test_subject(case: str, subject: str) -> None:
    content, built = load(case)
    assert built.subject == subject
    assert subject in header_text(parse(content).header.block)


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("mime/05-base64-two-runs", ["first run", "footerword"]),
        ("mime/07-charset-8859-8-i", ["שלום world"]),
        ("mime/08-charset-unknown", ["asciiword", "könnte dosword", "htmlword"]),
        ("mime/09-no-closing-boundary", ["openword"]),
        ("mime/17-boundary-prefix", ["plainword", "markupword"]),
        ("imap/16-search-charset", ["Äpfel und Birnen"]),
        ("imap/15-part-mime-header", ["see attached", "Subject: inner", "two"]),
    ],
)
def test_body_text(case: str, words: list[str]) -> None:
    text = text_of(*load(case))
    assert [word for word in words if word not in text] == []


def test_file_names_in_sections() -> None:
    _, built = load("mime/03-rfc2231-mixed")
    assert [place.filename for place in built.root.children[1:]] == ["prüfung %C3 (1).pdf", "open.cmd"]
    assert b'"attachment"' in built.bodystructure


@pytest.mark.parametrize(
    ("case", "sections"),
    [
        ("mime/09-no-closing-boundary", {(2,): b"JVBERi0xLjQK\r\n"}),
        ("mime/17-boundary-prefix", {(1, 1): b"plainword", (1, 2): b"<p>markupword</p>", (2,): b"JVBERi0="}),
        ("imap/15-part-mime-header", {(2, 1): b"one", (2, 2): b"<p>two</p>"}),
        ("imap/12-bodystructure-empty-multipart", {(2,): b"JVBERi0="}),
    ],
)
def test_sections(case: str, sections: dict[tuple[int, ...], bytes]) -> None:
    content, built = load(case)
    assert {path: octets_of(content, summary.section(built, path, "")) for path in sections} == sections


def test_mime_header_and_inner_header_of_an_attached_message() -> None:
    content, built = load("imap/15-part-mime-header")
    outer = octets_of(content, summary.section(built, (2,), "MIME")) or b""
    inner = octets_of(content, summary.section(built, (2,), "HEADER")) or b""
    assert (b"X-Part: yes" in outer, b"Subject: inner" in outer) == (True, False)
    assert (b"X-Part: yes" in inner, b"Subject: inner" in inner) == (False, True)
    assert b"X-Inner: two" in (octets_of(content, summary.section(built, (2, 2), "MIME")) or b"")


def test_groups_in_envelope() -> None:
    _, built = load("imap/11-envelope-group")
    assert b'((NIL NIL "undisclosed-recipients" NIL)(NIL NIL NIL NIL))' in built.envelope
    assert (
        b'((NIL NIL "A Team" NIL)("Ed" NIL "ed" "example.net")(NIL NIL "joe" "example.com")(NIL NIL NIL NIL)("Solo" NIL "solo" "example.org"))'
        in built.envelope
    )


def test_an_encoded_message_has_a_whole_structure() -> None:
    content, built = load("mime/11-rfc822-base64")
    part = read_body(built.bodystructure, extended=True)["parts"]
    assert isinstance(part, list)
    assert (part[1]["subtype"], part[1]["envelope"], part[1]["encoding"]) == (b"rfc822", [None] * 10, b"base64")
    assert b"fwd.eml" in built.bodystructure
    assert (octets_of(content, summary.section(built, (2,), "")) or b"").startswith(b"RnJvbTog")
    assert "innersubject" in text_of(content, built)


def test_envelope_of_folded_fields() -> None:
    content, built = load("mime/16-folded-at-start")
    envelope = read_envelope(built.envelope)
    assert (envelope[1], envelope[8], envelope[9]) == (b"starts laterword", b"<parent-id@example.org>", b"<folded-id@example.org>")
    assert (built.message_id, built.references) == (b"<folded-id@example.org>", (b"<parent-id@example.org>",))
    assert b"Message-ID:\r\n <folded-id@example.org>" in content


def test_a_date_with_two_digits_and_a_comment() -> None:
    _, built = load("mime/12-date-forms")
    assert (built.sent_at, built.sent_zone) == (1704762425, 120)


def test_what_the_summary_keeps_is_decoded_as_the_header_is() -> None:
    content, built = load("imap/16-search-charset")
    assert decode_words(Header(content).first(b"subject") or b"") == built.subject
