# SPDX-License-Identifier: Apache-2.0
"""Invariant: any octets as a header or a field's value are read without an exception, and what is read lies within what was given.

Obeys RFC 5322, RFC 2047, RFC 2231; started as tests/fuzz/harness.py says.
Must never know how the readers work.
"""

from __future__ import annotations

from random import Random

from moatmail.core.limits.message import ADDRESSES_MAX, MESSAGE_IDS_MAX, PARAMETER_OCTETS_MAX, PARAMETERS_MAX
from moatmail.message.addresses import mailboxes
from moatmail.message.dates import parse_date
from moatmail.message.encoded_word import decode_words
from moatmail.message.header import Header, unfold
from moatmail.message.parameters import parameter_text, parse_parameters, strip_comments
from moatmail.message.references import base_subject, message_id, message_ids
from moatmail.message.submitted import complete
from moatmail.message.text import header_text
from tests.fuzz.harness import Target, changed, joined

SEEDS = (
    b"From a@b Sat\r\nReceived: from x\r\n\tby y; Wed, 5 Mar 2025 07:06:05 +0000\r\n",
    b'To: "B, A" (c (d)) <@r:a@b>, g: x@[192.0.2.1], =?utf-8?B?w7w=?= <"q r"@s.t>;\r\n',
    b"Bcc :\r\n a@b,\r\n\tc@d\r\nno colon\r\n",
    b'Content-Type: a/b; n*0*=utf-8\'\'%C3; n*1*=%BC; m="x\\"; y" z=w (c)\r\n',
    b"Subject: Re: [list] Fwd: =?utf-8?Q?=C3?= =?utf-8*de?Q?=BC?= (fwd)\r\n",
    b"Date: Tue,9 Jan 24 3:07:05 +0200 (GMT+02:00)\r\nReferences: <a@b>\r\n <c@d>\r\n\r\n",
)
TOKENS = (
    b"\r\n",
    b"\n ",
    b"\r",
    b":",
    b"(",
    b")",
    b"<",
    b">",
    b"@",
    b",",
    b";",
    b'"',
    b"\\",
    b"=?",
    b"?=",
    b"?Q?",
    b"*",
    b"*0*",
    b"%",
    b"[",
    b"\0",
    b"\xff",
    b"  ",
)


def check(data: bytes) -> None:
    """Read `data` as a header block and as the value of every kind of field, and check the invariant."""
    header = Header(data)
    place = 0
    for name, (start, middle, end) in zip(header.names, header.spans, strict=True):
        assert place <= start < middle <= end <= len(data)
        assert name == data[start : start + len(name)].lower()
        place = end
    header_text(data)
    done = Header(complete(header, now=0, local="x", domain="y"))
    assert b"bcc" not in done.names
    assert header.without(frozenset()) == data
    for value in (unfold(data), *header.all(b"to"), *header.all(b"content-type")):
        check_value(value)


def check_value(value: bytes) -> None:
    """Read one unfolded value as everything it could be."""
    assert not {0x0A, 0x0D, 0x00} & set(value)
    found = mailboxes(value)
    assert len(found) <= ADDRESSES_MAX
    for mailbox in found:
        address = mailbox.address
        assert address is None or address.wire
        mailbox.display_name.encode("utf-8", "surrogatepass")
    parameters = parse_parameters(strip_comments(value))
    assert len(parameters) <= PARAMETERS_MAX
    assert all(len(text) <= PARAMETER_OCTETS_MAX for _, text in parameters)
    for name in (b"n", b"m", b"z"):
        parameter_text(parameters, name)
    parse_date(value)
    message_id(value)
    assert len(message_ids(value)) <= MESSAGE_IDS_MAX
    base_subject(decode_words(value))


def mutate(random: Random) -> bytes:
    """Make an input from the seeds: joined, cut, overwritten."""
    return changed(random, joined(random, SEEDS, 4), TOKENS)


TARGET = Target(check, mutate)

if __name__ == "__main__":
    TARGET.main()
