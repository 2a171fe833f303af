# SPDX-License-Identifier: Apache-2.0
"""An internationalized message for a reader without UTF8=ACCEPT: a surrogate in ASCII whose numbers agree (RFC 6858 §2, §3)."""

from __future__ import annotations

import re

import pytest

from moatmail.message.encoded_word import decode_words
from tests.unit.endpoints.imap.lab import Lab

BODY = b"--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nGr\xc3\xbc\xc3\x9fe\r\n--b\r\nContent-Type: text/plain\r\n\r\nsecond\r\n--b--\r\n"
MESSAGE = (
    "From: José <josé@exämple.com>\r\nTo: alice@example.test\r\nSubject: Grüße\r\nMessage-ID: <1@sender.test>\r\n"
    'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="b"; x-name="größe"\r\n\r\n'
).encode() + BODY


async def test_what_is_read_is_ascii_and_its_numbers_agree(lab: Lab) -> None:
    await lab.deliver(MESSAGE, smtputf8=True)
    client = await lab.client(select="INBOX")
    whole = b"".join(await client.ok("FETCH 1 (RFC822.SIZE BODY.PEEK[])"))
    size = re.search(rb"RFC822.SIZE ([0-9]+) BODY\[\] \{([0-9]+)\}\r\n", whole)
    assert size is not None
    assert size[1] == size[2]
    message = whole[size.end() :][: int(size[1])]
    header, _, body = message.partition(b"\r\n\r\n")
    assert header.isascii()
    assert body == BODY
    assert b"invalid@internationalized-address.invalid" in header
    assert decode_words(re.search(rb"Subject: (.*)\r\n", header)[1]) == "Grüße"  # type: ignore[index]
    assert header.startswith(b"Return-Path: <bob@sender.test>\r\nDelivered-To: alice@example.test\r\n")


@pytest.mark.parametrize(
    ("item", "wanted"),
    [
        pytest.param("BODY.PEEK[2]", b"BODY[2] {6}\r\nsecond", id="a part is found behind the new header"),
        pytest.param("BODY.PEEK[1]", b"BODY[1] {7}\r\nGr\xc3\xbc\xc3\x9fe", id="the first part too"),
        pytest.param("BODY.PEEK[TEXT]", b"BODY[TEXT] {%d}\r\n" % len(BODY) + BODY, id="the text begins where the new header ends"),
    ],
)
async def test_sections(lab: Lab, item: str, wanted: bytes) -> None:
    await lab.deliver(MESSAGE, smtputf8=True)
    client = await lab.client(select="INBOX")
    assert b"1 FETCH (" + wanted + b")" in await client.ok(f"FETCH 1 ({item})")
    assert not lab.events.alerts()


async def test_envelope_and_structure_are_ascii_and_searching_finds_the_words(lab: Lab) -> None:
    await lab.deliver(MESSAGE, smtputf8=True)
    client = await lab.client(select="INBOX")
    told = b"".join(await client.ok("FETCH 1 (ENVELOPE BODYSTRUCTURE)"))
    assert told.isascii()
    assert b'"invalid" "internationalized-address.invalid"' in told
    for criterion in ("SUBJECT", "FROM", "TEXT", "BODY"):
        word = "josé" if criterion == "FROM" else "grüße"
        found = await client.ok(f"SEARCH CHARSET UTF-8 {criterion} {{{len(word.encode())}+}}\r\n{word}")
        assert b"SEARCH 1" in found, criterion


async def test_eight_bit_headers_of_a_plain_envelope_stay_as_they_came(lab: Lab) -> None:
    """Case smtp-19."""
    await lab.deliver(MESSAGE)
    client = await lab.client(select="INBOX")
    assert "Subject: Grüße".encode() in b"".join(await client.ok("FETCH 1 (BODY.PEEK[])"))
