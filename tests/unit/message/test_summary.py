# SPDX-License-Identifier: Apache-2.0
"""The summary: FETCH items by the letter, sections by offset, thread keys, and its way through octets."""

from __future__ import annotations

import msgspec
import pytest

from moatmail.message import summary
from tests.unit.message.imap_grammar import read_body, read_envelope
from tests.unit.message.reading import judge, message, octets_of, parse

FULL = message(
    "Message-ID: <msg@id>\nIn-Reply-To: <reply@to.id>\nReferences: <root@id> <reply@to.id>\n"
    "Date: Thu, 15 Feb 2007 01:02:03 +0200\nSubject: Re: subject header\n"
    "From: From Real <fromuser@fromdomain.org>\nTo: To Real <touser@todomain.org>\nCc: Cc Real <ccuser@ccdomain.org>\nBcc: Bcc Real <bccuser@bccdomain.org>\n"
    "Sender: Sender Real <senderuser@senderdomain.org>\nReply-To: ReplyTo Real <replytouser@replytodomain.org>\n\nbody  text\n"
)


def envelope(text: str) -> bytes:
    return judge(message(text)).envelope


def test_envelope_of_all_fields() -> None:
    assert judge(FULL).envelope == (
        b'("Thu, 15 Feb 2007 01:02:03 +0200" "Re: subject header" (("From Real" NIL "fromuser" "fromdomain.org")) '
        b'(("Sender Real" NIL "senderuser" "senderdomain.org")) (("ReplyTo Real" NIL "replytouser" "replytodomain.org")) '
        b'(("To Real" NIL "touser" "todomain.org")) (("Cc Real" NIL "ccuser" "ccdomain.org")) (("Bcc Real" NIL "bccuser" "bccdomain.org")) '
        b'"<reply@to.id>" "<msg@id>")'
    )


@pytest.mark.parametrize(
    ("text", "wire"),
    [
        pytest.param("\n", b"(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)", id="no fields"),
        pytest.param(
            "From: user@domain (Real Name)\nSender: \nReply-To: \nSubject:\n\n",
            b'(NIL "" (("Real Name" NIL "user" "domain")) (("Real Name" NIL "user" "domain")) (("Real Name" NIL "user" "domain")) NIL NIL NIL NIL NIL)',
            id="empty Sender and Reply-To are From; an empty subject is one",
        ),
        pytest.param(
            "From: <@route:user@domain>\n\n",
            b'(NIL NIL ((NIL "@route" "user" "domain")) ((NIL "@route" "user" "domain")) ((NIL "@route" "user" "domain")) NIL NIL NIL NIL NIL)',
            id="a source route",
        ),
        pytest.param("To: root\n\n", b'(NIL NIL NIL NIL NIL ((NIL NIL "root" "")) NIL NIL NIL NIL)', id="no domain is no group"),
        pytest.param("Subject: =?utf-8?Q?a?=\n\n", b'(NIL "=?utf-8?Q?a?=" NIL NIL NIL NIL NIL NIL NIL NIL)', id="encoded words stay"),
        pytest.param("Subject: ü\n\n", b"(NIL {2}\r\n\xc3\xbc NIL NIL NIL NIL NIL NIL NIL NIL)", id="raw octets make a literal"),
        pytest.param(
            "To: g:;,,\nTo: a@b\n\n", b'(NIL NIL NIL NIL NIL ((NIL NIL "g" NIL)(NIL NIL NIL NIL)(NIL NIL "a" "b")) NIL NIL NIL NIL)', id="repeated lists join"
        ),
    ],
)
def test_envelope(text: str, wire: bytes) -> None:
    assert envelope(text) == wire


def test_bodystructure_of_a_text() -> None:
    built = judge(FULL)
    assert built.body == b'("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 12 1)'
    assert built.bodystructure == b'("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 12 1 NIL NIL NIL NIL)'


def test_bodystructure_of_a_multipart() -> None:
    built = judge(
        message(
            "Content-Type: multipart/mixed; boundary=b\nContent-Language: de, en\n\n--b\n"
            "Content-Type: text/plain; format=flowed\nContent-Language: de\n\nx\n--b\n"
            'Content-Type: image/png; name="a\\"b"\nContent-ID: <i@d>\nContent-Description: Bild\nContent-Transfer-Encoding: base64\nContent-MD5: x==\n'
            "Content-Disposition: attachment; filename*=utf-8''a%20b; size=3\nContent-Location: here\n\nAAAA\n--b\nContent-Type: message/rfc822\n\n"
            "Subject: in\n\nabc\n--b--\n"
        )
    )
    assert built.bodystructure == (
        b'(("text" "plain" ("format" "flowed") NIL NIL "7bit" 1 0 NIL NIL "de" NIL)'
        b'("image" "png" ("name" "a\\"b") "<i@d>" "Bild" "base64" 4 "x==" ("attachment" ("filename*" "utf-8\'\'a%20b" "size" "3")) NIL "here")'
        b'("message" "rfc822" NIL NIL NIL "7bit" 18 (NIL "in" NIL NIL NIL NIL NIL NIL NIL NIL) '
        b'("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 3 0 NIL NIL NIL NIL) 2 NIL NIL NIL NIL) '
        b'"mixed" ("boundary" "b") NIL ("de" "en") NIL)'
    )


NESTED = message(
    "Subject: top\nContent-Type: multipart/mixed; boundary=b\n\npre\n--b\nX: 1\n\none\n--b\nContent-Type: message/rfc822\nX: 2\n\nSubject: in\n"
    "Content-Type: multipart/alternative; boundary=c\n\n--c\nX: 2.1\n\ndeep\n--c\nContent-Type: message/rfc822\n\nSubject: single\n\nalone\n--c--\n--b--\n"
)
SECTIONS: list[tuple[tuple[int, ...], str, bytes | None]] = [
    ((1,), "", b"one"),
    ((1,), "MIME", b"X: 1\r\n\r\n"),
    ((1,), "HEADER", None),
    ((1,), "TEXT", None),
    ((1, 1), "", None),
    ((2,), "MIME", b"Content-Type: message/rfc822\r\nX: 2\r\n\r\n"),
    ((2,), "HEADER", b"Subject: in\r\nContent-Type: multipart/alternative; boundary=c\r\n\r\n"),
    ((2, 1), "", b"deep"),
    ((2, 1), "MIME", b"X: 2.1\r\n\r\n"),
    ((2, 2), "", b"Subject: single\r\n\r\nalone"),
    ((2, 2), "HEADER", b"Subject: single\r\n\r\n"),
    ((2, 2), "TEXT", b"alone"),
    ((2, 2, 1), "", b"alone"),
    ((2, 2, 1), "MIME", b"Subject: single\r\n\r\n"),
    ((2, 2, 1), "HEADER", None),
    ((2, 2, 1, 1), "", None),
    ((2, 3), "", None),
    ((3,), "", None),
    ((0,), "", None),
    ((), "MIME", None),
    ((), "HEADER", b"Subject: top\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"),
    ((), "", NESTED),
    ((), "WHAT", None),
]


@pytest.mark.parametrize(("path", "what", "octets"), SECTIONS)
def test_sections(path: tuple[int, ...], what: str, octets: bytes | None) -> None:
    judge(NESTED)
    assert octets_of(NESTED, summary.section(summary.build(parse(NESTED)), path, what)) == octets


@pytest.mark.parametrize(("path", "what", "octets"), SECTIONS)
def test_sections_behind_a_prefix(path: tuple[int, ...], what: str, octets: bytes | None) -> None:
    prefix = b"Delivered-To: x@y\r\n"
    built = summary.build(parse(NESTED), shift=len(prefix))
    if path == () and octets is not None:
        octets = prefix + octets
    assert octets_of(prefix + NESTED, summary.section(built, path, what)) == octets
    assert built.size == len(prefix + NESTED)


def test_part_1_of_a_message_that_is_no_multipart_is_its_body() -> None:
    built = judge(FULL)
    at = summary.build(parse(FULL))
    assert octets_of(FULL, summary.section(at, (1,), "")) == b"body  text\r\n"
    assert octets_of(FULL, summary.section(at, (), "TEXT")) == b"body  text\r\n"
    assert summary.section(at, (2,), "") is None
    assert summary.part(built, (1,)) == built.root


def test_what_else_a_summary_knows() -> None:
    built = judge(FULL)
    assert (built.subject, built.base_subject, built.is_reply) == ("Re: subject header", "subject header", True)
    assert (built.from_text, built.to_text, built.cc_text, built.bcc_text) == (
        "From Real <fromuser@fromdomain.org>",
        "To Real <touser@todomain.org>",
        "Cc Real <ccuser@ccdomain.org>",
        "Bcc Real <bccuser@bccdomain.org>",
    )
    assert (built.sent_at, built.sent_zone, built.preview) == (1171494123, 120, "body text")
    assert (built.message_id, built.references) == (b"<msg@id>", (b"<root@id>", b"<reply@to.id>"))
    assert summary.build(parse(FULL), preview_source=b"other").preview == "other"


def test_in_reply_to_joins_the_references() -> None:
    built = judge(message("In-Reply-To: <b@x>\nReferences: <a@x>\n\n"))
    assert built.references == (b"<a@x>", b"<b@x>")


def test_a_damaged_or_foreign_summary_is_refused() -> None:
    octets = summary.encode(judge(FULL))
    foreign = msgspec.msgpack.encode([summary.VERSION + 1, *msgspec.msgpack.decode(octets)[1:]])
    for damaged in (b"", octets[:-1], b"\xff" + octets, foreign):
        with pytest.raises(ValueError, match="message summary"):
            summary.decode(damaged)


def test_a_message_of_its_own_type_is_told_by_the_grammar() -> None:
    built = judge(message("Content-Type: message/rfc822\n\nSubject: in\n\nx\n"))
    told = read_body(built.bodystructure, extended=True)
    assert told["envelope"] == read_envelope(b'(NIL "in" NIL NIL NIL NIL NIL NIL NIL NIL)')
    assert told["lines"] == 3


def test_a_summary_from_before_fields_were_kept_is_read() -> None:
    older = msgspec.msgpack.decode(summary.encode(judge(FULL)))[:-2]
    read = summary.decode(msgspec.msgpack.encode([1, *older[1:]]))
    assert read.subject == "Re: subject header"
    assert read.fields is None


def test_fields_of_a_list_are_kept_as_they_stand() -> None:
    content = b"Received: x\r\nTO: a@x,\r\n b@x\r\nSubject : odd\r\nX-Other: y\r\nto: c@x\r\nMessage-ID: <1@x>\r\n\r\n"
    assert summary.build(parse(content)).fields == (
        (b"to", b"TO: a@x,\r\n b@x\r\n"),
        (b"subject", b"Subject : odd\r\n"),
        (b"to", b"to: c@x\r\n"),
        (b"message-id", b"<1@x>".join((b"Message-ID: ", b"\r\n"))),
    )


def test_fields_too_large_for_a_list_are_left_where_they_are() -> None:
    assert summary.build(parse(b"To: " + b"a@x, " * 1000 + b"a@x\r\n\r\n")).fields is None
