# SPDX-License-Identifier: Apache-2.0
"""BINARY over a door: decoded parts, their sizes, large ones in pieces, and messages that come with NUL."""

from __future__ import annotations

import base64
import random
from binascii import b2a_base64

import pytest

from tests.unit.endpoints.imap.lab import HELLO, Client, Lab

HEAD = b'Subject: parts\r\nContent-Type: multipart/mixed; boundary="b"\r\n\r\n'
PARTS = (
    b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nK=C3=B6ln\r\n",
    b"Content-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n" + b2a_base64(b"a\0b\0c") + b"\r\n",
    b"Content-Type: text/plain\r\n\r\nplain\r\n",
    b"Content-Type: text/plain\r\nContent-Transfer-Encoding: x-uuencode\r\n\r\nsecret\r\n",
    b"Content-Type: message/rfc822\r\n\r\nSubject: inner\r\nContent-Transfer-Encoding: base64\r\n\r\naW5uZXI=\r\n",
)
MESSAGE = HEAD + b"--b\r\n" + b"--b\r\n".join(PARTS) + b"--b--\r\n"

ANSWERS = {
    "BINARY.PEEK[1]": b"BINARY[1] {5}\r\nK\xc3\xb6ln",
    "BINARY.PEEK[1]<1.3>": b"BINARY[1]<1> {3}\r\n\xc3\xb6l",
    "BINARY.PEEK[2]": b"BINARY[2] ~{5}\r\na\0b\0c",
    "BINARY.PEEK[2]<2.1>": b"BINARY[2]<2> {1}\r\nb",
    "BINARY.PEEK[2]<9.9>": b'BINARY[2]<9> ""',
    "BINARY.PEEK[3]": b"BINARY[3] {5}\r\nplain",
    "BINARY.PEEK[5.1]": b"BINARY[5.1] {5}\r\ninner",
    "BINARY.PEEK[7]": b"BINARY[7] NIL",
    "BINARY.SIZE[1]": b"BINARY.SIZE[1] 5",
    "BINARY.SIZE[2]": b"BINARY.SIZE[2] 5",
    "BINARY.SIZE[7]": b"BINARY.SIZE[7] 0",
    "(BINARY.SIZE[5] BINARY.PEEK[3])": b"BINARY.SIZE[5] 61 BINARY[3] {5}\r\nplain",
}


async def test_every_part_is_told_decoded(lab: Lab) -> None:
    # RFC 3516 §4.2, §4.3.
    await lab.deliver(MESSAGE)
    client = await lab.client(select="INBOX")
    for item, wanted in ANSWERS.items():
        assert await client.ok(f"FETCH 1 {item}") == [b"1 FETCH (%b)" % wanted], item
    (whole,) = await client.ok("FETCH 1 (BODY.PEEK[] BINARY.PEEK[])")
    body, _, binary = whole.partition(b" BINARY[] ")
    assert body.partition(b" {")[2] + b")" == binary.removeprefix(b"{")
    assert (await client.ok("FETCH 1 FLAGS"))[0] == b"1 FETCH (FLAGS (\\Recent))"
    assert b"\\Seen" in (await client.ok("FETCH 1 BINARY[3]"))[0]


async def test_an_unknown_encoding_is_told_and_the_others_are_served(lab: Lab) -> None:
    await lab.deliver(MESSAGE, HELLO)
    client = await lab.client(select="INBOX")
    for item in ("BINARY.PEEK[4]", "BINARY.SIZE[4]"):
        told = await client.command(f"FETCH 1:2 ({item})")
        assert client.tagged.startswith(b"NO [UNKNOWN-CTE]")
        assert len(told) == 1
    assert lab.events.alerts() == []


async def test_a_large_part_in_pieces(lab: Lab) -> None:
    octets = random.Random(7).randbytes(900_000)
    await lab.deliver(b"Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\n" + base64.encodebytes(octets).replace(b"\n", b"\r\n"))
    client = await lab.client(select="INBOX")
    (answer,) = await client.ok("FETCH 1 (BINARY.SIZE[1] BINARY.PEEK[1])")
    assert answer == b"1 FETCH (BINARY.SIZE[1] 900000 BINARY[1] ~{900000}\r\n%b)" % octets
    (answer,) = await client.ok("FETCH 1 (BINARY.PEEK[1]<70000.300000>)")
    assert answer == b"1 FETCH (BINARY[1]<70000> ~{300000}\r\n%b)" % octets[70_000:370_000]


BINARY = b"Subject: x\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: binary\r\n\r\n"


async def append_binary(client: Client, octets: bytes) -> bytes:
    await client.command(b"APPEND INBOX ~{%d+}\r\n%b" % (len(octets), octets))
    return client.tagged


async def test_a_binary_message_comes_back_as_it_went(lab: Lab) -> None:
    # RFC 3516 §4.4: kept in base64, and decoded again.
    client = await lab.client(select="INBOX")
    for body in (b"\0\n\r\xff", random.Random(3).randbytes(300_000)):
        assert (await append_binary(client, BINARY + body)).startswith(b"OK [APPENDUID")
        (answer,) = await client.ok("FETCH * (BINARY.PEEK[1] BODY.PEEK[1])")
        head, _, encoded = answer.partition(b" BODY[1] ")
        assert head.endswith(b"~{%d}\r\n%b" % (len(body), body))
        assert base64.b64decode(encoded.partition(b"\r\n")[2]) == body
        assert b"\0" not in encoded


async def test_binary_and_other_messages_in_one_append(lab: Lab) -> None:
    client = await lab.client(select="INBOX")
    one = BINARY + b"\0\0"
    await client.ok(b"APPEND INBOX {%d+}\r\n%b ~{%d+}\r\n%b" % (len(HELLO), HELLO, len(one), one))
    assert await client.ok("FETCH 2 BINARY.SIZE[1]") == [b"2 FETCH (BINARY.SIZE[1] 2)"]


@pytest.mark.parametrize(
    ("octets", "answer"),
    [
        pytest.param(b"Subject: \0\r\n\r\nx", b"NO [UNKNOWN-CTE]", id="a NUL in the header"),
        pytest.param(BINARY + b"x" * 4 * 1024 * 1024, b"NO [TOOBIG]", id="more than is held at once"),
        pytest.param(b"X: " + b"y" * 300_000 + b"\r\n\r\n", b"NO [TOOBIG]", id="a header too large"),
    ],
)
async def test_what_cannot_be_kept_is_refused(lab: Lab, octets: bytes, answer: bytes) -> None:
    client = await lab.client()
    assert (await append_binary(client, octets)).startswith(answer)
    assert await client.ok("STATUS INBOX (MESSAGES)") == [b"STATUS INBOX (MESSAGES 0)"]
    assert lab.events.alerts() == []


LINES = b"one\ntwo\r\nthree\rfour\n"


@pytest.mark.parametrize("media", [b"text/plain; charset=utf-8", b"text/x-patch", b"application/octet-stream"])
async def test_line_ends_that_were_encoded_come_as_they_are(lab: Lab, media: bytes) -> None:
    # RFC 3516 §4.3: what the encoding held, no octet else; §6 speaks of how a server keeps lines, and here they are kept in CRLF.
    await lab.deliver(b"Content-Type: %b\r\nContent-Transfer-Encoding: base64\r\n\r\n%b" % (media, b2a_base64(LINES)))
    client = await lab.client(select="INBOX")
    (told,) = await client.ok("FETCH 1 (BINARY.SIZE[1] BINARY.PEEK[1])")
    assert told == b"1 FETCH (BINARY.SIZE[1] %d BINARY[1] {%d}\r\n%b)" % (len(LINES), len(LINES), LINES)


async def test_a_nul_in_an_ordinary_literal_is_refused(lab: Lab) -> None:
    """Fault: RFC 9051 §9 has no NUL in it (CHAR8), and it was kept and served."""
    client = await lab.client()
    for message in (HELLO + b"a\0b\r\n", b"Subject: \0\r\n\r\nx", HELLO + b"x" * 300_000 + b"\0"):
        assert (await client.append("INBOX", message)).startswith(b"NO [CANNOT] a message with NUL")
    await client.command(b"APPEND INBOX {%d+}\r\n%b {3+}\r\na\0b" % (len(HELLO), HELLO))
    assert client.tagged.startswith(b"NO [CANNOT]")
    assert await client.ok("STATUS INBOX (MESSAGES)") == [b"STATUS INBOX (MESSAGES 0)"]
    assert lab.events.alerts() == []


@pytest.mark.parametrize("octets", [b"a\0b\r\n", b"\0" * 700_000 + b"\r\n"], ids=["small", "in pieces"])
async def test_a_nul_that_lies_in_the_store_is_served_as_what_a_literal_can_carry(lab: Lab, octets: bytes) -> None:
    """RFC 3501 §9: only a literal of eight bits (BINARY) may hold it; sizes stay what they are."""
    message = HELLO + octets
    await lab.deliver(message)
    client = await lab.client(select="INBOX")
    (told,) = await client.ok("FETCH 1 BODY.PEEK[TEXT]")
    shown = message.partition(b"\r\n\r\n")[2].replace(b"\0", b"\x80")
    assert told == b"1 FETCH (BODY[TEXT] {%d}\r\n%b)" % (len(shown), shown)
    (told,) = await client.ok("FETCH 1 (RFC822.SIZE BODY.PEEK[] BODY.PEEK[1]<24.6>)")
    assert b"\0" not in told
    (told,) = await client.ok("FETCH 1 BINARY.PEEK[1]")
    assert told.startswith(b"1 FETCH (BINARY[1] ~{")
    assert b"\0" in told
