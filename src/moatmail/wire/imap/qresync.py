# SPDX-License-Identifier: Apache-2.0
"""What a client remembers of a mailbox when it opens it again: the parameters of SELECT and EXAMINE.

Obeys RFC 4466 §2.1 (parameters), RFC 7162 §3.1.8 (CONDSTORE), §3.2.5 and §7 (QRESYNC), RFC 9586 §3 (no message numbers).
Must never know the mailbox.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from moatmail.wire.imap.grammar import Cursor, demand_uid, fail
from moatmail.wire.imap.sequence import MAXIMUM, STAR, SequenceSet

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Match:
    """A run of `count` messages that had the numbers from `number` on and the UIDs from `uid` on."""

    number: int
    uid: int
    count: int


@dataclass(frozen=True, slots=True)
class Known:
    """What a client knows: UIDVALIDITY and HIGHESTMODSEQ of its last visit, `uids` (sorted, disjoint; None for all), `matches` (rising)."""

    uidvalidity: int
    modseq: int
    uids: tuple[Span, ...] | None = None
    matches: tuple[Match, ...] = ()


@dataclass(frozen=True, slots=True)
class Parameters:
    """The parameters of one SELECT or EXAMINE."""

    condstore: bool = False
    known: Known | None = None


def parameters(cursor: Cursor) -> Parameters:
    """Take the optional parameters, each once."""
    if not cursor.take(b" "):
        return Parameters()
    cursor.expect(b"(", b"before parameters")
    condstore, known = False, None
    while True:
        name = cursor.word(b"a parameter")
        if name == b"CONDSTORE" and not condstore:
            condstore = True
        elif name == b"QRESYNC" and known is None:
            known = _known(cursor)
        else:
            fail(b"unknown parameter, or one given twice")
        if cursor.take(b")"):
            return Parameters(condstore, known)
        cursor.space(b"a parameter")


def _known(cursor: Cursor) -> Known:
    if not cursor.qresync:
        fail(b"QRESYNC has to be enabled first")  # RFC 7162 §3.2.3
    cursor.expect(b" (", b"before what is known")
    uidvalidity = cursor.positive(b"the UIDVALIDITY", MAXIMUM)
    cursor.space(b"a mod-sequence")
    modseq = cursor.positive(b"the mod-sequence")
    uids: tuple[Span, ...] | None = None
    matches: tuple[Match, ...] = ()
    if cursor.at(b" ") and not cursor.at(b" ("):
        cursor.space(b"known UIDs")
        uids = _without_star(cursor).resolve(MAXIMUM)
    if cursor.take(b" ("):
        matches = _matches(cursor)
        cursor.expect(b")", b"after message numbers and their UIDs")
    cursor.expect(b")", b"after what is known")
    return Known(uidvalidity, modseq, uids, matches)


def _without_star(cursor: Cursor) -> SequenceSet:
    sequence = cursor.sequence()
    if sequence.saved or any(STAR in pair for pair in sequence.ranges):
        fail(b"'*' and '$' are no known UIDs")  # RFC 7162 §7
    return sequence


def _matches(cursor: Cursor) -> tuple[Match, ...]:
    if cursor.uid_only:
        demand_uid()  # RFC 9586 §3
    numbers = _ascending(cursor)
    cursor.space(b"the UIDs of these messages")
    return tuple(_pairs(numbers, _ascending(cursor)))


def _ascending(cursor: Cursor) -> tuple[Span, ...]:
    ranges = _without_star(cursor).ranges
    before = 0
    for first, last in ranges:
        if not before < first <= last:
            fail(b"these numbers have to ascend")  # RFC 7162 §3.2.5.2
        before = last
    return ranges


def _pairs(numbers: tuple[Span, ...], uids: tuple[Span, ...]) -> Iterator[Match]:
    """Lay one list beside the other, run by run: neither is ever expanded."""
    if sum(last - first for first, last in numbers) + len(numbers) != sum(last - first for first, last in uids) + len(uids):
        fail(b"there have to be as many UIDs as message numbers")
    place, (uid, last_uid) = 0, uids[0]
    for first, last in numbers:
        number = first
        while number <= last:
            if uid > last_uid:
                place += 1
                uid, last_uid = uids[place]
            count = min(last - number, last_uid - uid) + 1
            yield Match(number, uid, count)
            number += count
            uid += count
