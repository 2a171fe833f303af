# SPDX-License-Identifier: Apache-2.0
"""A listing says what the summaries say, opens as itself alone, and is bounded."""

from __future__ import annotations

from unittest.mock import patch

import msgspec
import pytest

from moatmail.core.errors import SealBrokenError
from moatmail.crypto.seal import Purpose, SealKey, new_id, new_key
from moatmail.mailbox.index.listing import KIND, build, open_listing
from moatmail.message import summary
from moatmail.message.structure import StructureParser

ACCOUNT = 7
MAIL = (
    b"From: a@x\r\nTo: b@x\r\nSubject: one\r\n\r\nfirst\r\n",
    b"Subject: =?utf-8?q?gr=C3=BC=C3=9Fe?=\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n",
    b"To: " + b"a@x, " * 1000 + b"a@x\r\n\r\nlong\r\n",
    b"\r\n",
)


def made(content: bytes) -> summary.Summary:
    parser = StructureParser()
    parser.feed(content)
    return summary.build(parser.finish())


def test_a_listing_says_what_the_summaries_say() -> None:
    sealing, segment = SealKey(new_key()), new_id(1)
    kind, sealed = build(((number, made(content)) for number, content in enumerate(MAIL, 5)), sealing, ACCOUNT, segment)
    assert kind == KIND
    entries = open_listing(sealing, ACCOUNT, segment, sealed)
    assert list(entries) == [5, 6, 7, 8]
    for number, content in enumerate(MAIL, 5):
        entry, one = entries[number], made(content)
        assert (entry.envelope, entry.body, entry.bodystructure, entry.preview) == (one.envelope, one.body, one.bodystructure, one.preview)
        assert entry.fields == one.fields
    assert entries[7].fields is None


def test_a_listing_opens_as_itself_only() -> None:
    sealing, segment = SealKey(new_key()), new_id(1)
    _kind, sealed = build([(1, made(MAIL[0]))], sealing, ACCOUNT, segment)
    for account, other, octets in ((8, segment, sealed), (ACCOUNT, new_id(1), sealed), (ACCOUNT, segment, sealed[:-1]), (ACCOUNT, segment, b"")):
        with pytest.raises(SealBrokenError):
            open_listing(sealing, account, other, octets)


@pytest.mark.parametrize("content", [pytest.param(b"\xc1", id="no MessagePack"), pytest.param(msgspec.msgpack.encode([2, []]), id="another version")])
def test_what_is_sealed_as_a_listing_and_is_none_is_refused(content: bytes) -> None:
    sealing, segment = SealKey(new_key()), new_id(1)
    with pytest.raises(SealBrokenError, match="listing"):
        open_listing(sealing, ACCOUNT, segment, sealing.seal(Purpose.SEGMENT, ACCOUNT, segment + bytes((KIND,)), content))


def test_messages_that_would_make_it_too_large_are_left_out() -> None:
    sealing, segment = SealKey(new_key()), new_id(1)
    with patch("moatmail.mailbox.index.listing.LISTING_OCTETS", 1000):
        _kind, sealed = build([(number, made(MAIL[0])) for number in range(1, 100)], sealing, ACCOUNT, segment)
    assert 1 <= len(open_listing(sealing, ACCOUNT, segment, sealed)) < 5
