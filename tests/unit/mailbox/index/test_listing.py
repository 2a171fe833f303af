# SPDX-License-Identifier: Apache-2.0
"""A listing says what the summaries say, opens as itself alone, and is bounded."""

from __future__ import annotations

from collections.abc import Iterable
from unittest.mock import patch

import msgspec
import pytest

from moatmail.core.errors import SealBrokenError
from moatmail.crypto.seal import Purpose, SealKey, new_id, new_key
from moatmail.mailbox.index.listing import (
    Facts,
    Fields,
    Kind,
    ListingBuilder,
    Others,
    Places,
    Structures,
    open_facts,
    open_fields,
    open_others,
    open_structures,
    take,
)
from moatmail.message import summary
from moatmail.message.structure import StructureParser

ACCOUNT = 7
MAIL = (
    b"From: a@x\r\nTo: b@x\r\nSubject: one\r\n\r\nfirst\r\n",
    b"Subject: =?utf-8?q?gr=C3=BC=C3=9Fe?=\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n",
    b"To: " + b"a@x, " * 1000 + b"a@x\r\n\r\nlong\r\n",
    b"\r\n",
    b"To: once\r\nTo: twice\r\n\r\n",
)


def made(content: bytes) -> summary.Summary:
    parser = StructureParser()
    parser.feed(content)
    return summary.build(parser.finish())


def open_all(sealing: SealKey, segment: bytes, parts: tuple[tuple[int, bytes], ...]) -> tuple[Facts, Fields, Structures, Others]:
    sealed = dict(parts)
    return (
        open_facts(sealing, ACCOUNT, segment, sealed[Kind.FACTS]),
        open_fields(sealing, ACCOUNT, segment, sealed[Kind.FIELDS]),
        open_structures(sealing, ACCOUNT, segment, sealed[Kind.STRUCTURES]),
        open_others(sealing, ACCOUNT, segment, sealed[Kind.OTHERS]),
    )


def build(rows: Iterable[tuple[int, float, summary.Summary]], sealing: SealKey, segment: bytes) -> tuple[tuple[int, bytes], ...]:
    builder = ListingBuilder()
    for row in rows:
        builder.add(*row)
    return builder.seal(sealing, ACCOUNT, segment)


def test_a_listing_says_what_the_summaries_say() -> None:
    sealing, segment = SealKey(new_key()), new_id(1)
    rows = [(number * number, -2.5 + 1000 * number, made(content)) for number, content in enumerate(MAIL, 5)]
    facts, fields, structures, others = open_all(sealing, segment, build(rows, sealing, segment))
    assert facts.places([25, 36, 49, 64, 81, 26, 5]) == [0, 1, 2, 3, 4, None, None]
    assert facts.received == [4997, 5997, 6997, 7997, 8997]
    assert fields.unshown == {2}
    for place, content in enumerate(MAIL):
        one = made(content)
        assert facts.sizes[place] == one.size == len(content)
        assert (structures.envelopes[place], structures.bodystructures[place]) == (one.envelope, one.bodystructure)
        assert (others.bodies[place], others.previews[place]) == (one.body, one.preview)


FIELDS = (
    b"From: a@x\r\nTo: b@x\r\nSubject: one\r\n\r\n",
    b"Subject: the other way round\r\nTo: b@x\r\nFrom: a@x\r\n\r\n",
    b"To: b@x\r\nX-Other: no list shows it\r\nFrom: a@x\r\n\r\n",
    b"To: once\r\nSubject: two of a kind\r\nTo: twice\r\n\r\n",
    b"\r\n",
    b"SUBJECT:\r\n folded\r\nDate: today\r\n\r\n",
)


@pytest.mark.parametrize(
    "names", [{b"to"}, {b"subject", b"from", b"to"}, {b"date", b"subject"}, {b"cc"}, {b"x-other"}], ids=lambda names: b" ".join(sorted(names)).decode()
)
@pytest.mark.parametrize("places", [slice(0, 6), slice(2, 4), [5, 3, 0], [1]], ids=str)
def test_fields_are_given_in_the_order_of_their_message(names: set[bytes], places: Places) -> None:
    sealing, segment = SealKey(new_key()), new_id(1)
    _facts, fields, _structures, _others = open_all(
        sealing, segment, build([(number, 0.0, made(content)) for number, content in enumerate(FIELDS, 1)], sealing, segment)
    )
    wanted = frozenset(names)
    expected = [b"".join([octets for name, octets in made(content).fields or () if name in wanted]) for content in FIELDS]
    assert fields.select(wanted, places) == list(take(expected, places))
    assert fields.select(wanted, places) == list(take(expected, places))  # what it keeps from the first time serves the second


def test_a_listing_opens_as_itself_only() -> None:
    sealing, segment = SealKey(new_key()), new_id(1)
    parts = dict(build([(1, 0.0, made(MAIL[0]))], sealing, segment))
    sealed = parts[Kind.FACTS]
    for account, other, octets in ((8, segment, sealed), (ACCOUNT, new_id(1), sealed), (ACCOUNT, segment, sealed[:-1]), (ACCOUNT, segment, parts[Kind.OTHERS])):
        with pytest.raises(SealBrokenError):
            open_facts(sealing, account, other, octets)


@pytest.mark.parametrize("content", [pytest.param(b"\xc1", id="no MessagePack"), pytest.param(msgspec.msgpack.encode([3, [], [], []]), id="another version")])
def test_what_is_sealed_as_a_listing_and_is_none_is_refused(content: bytes) -> None:
    sealing, segment = SealKey(new_key()), new_id(1)
    with pytest.raises(SealBrokenError, match="listing"):
        open_facts(sealing, ACCOUNT, segment, sealing.seal(Purpose.SEGMENT, ACCOUNT, segment + bytes((Kind.FACTS,)), content))


def test_messages_that_would_make_it_too_large_are_left_out() -> None:
    sealing, segment = SealKey(new_key()), new_id(1)
    with patch("moatmail.mailbox.index.listing.LISTING_OCTETS", 1000):
        parts = build([(number, 0.0, made(MAIL[0])) for number in range(1, 100)], sealing, segment)
    facts, *_others = open_all(sealing, segment, parts)
    assert 1 <= len(facts) < 5
