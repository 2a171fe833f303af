# SPDX-License-Identifier: Apache-2.0
"""Sequence sets: sets of message numbers or UIDs, kept as ranges and never expanded; and ranges of places in a result.

Obeys RFC 3501 §9 (sequence-set), RFC 4315 §3 (uid-set), RFC 5182 §5 (``$``) and RFC 9394 §4 (partial-range).
Must never know which numbers a mailbox has.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from moatmail.core.limits import imap as limits

MAXIMUM: Final = 0xFFFFFFFF  # RFC 3501 §9: nz-number is of 32 bits
STAR: Final = 0  # `*` in a range: the largest number of the mailbox; 0 itself is no number of a message
SAVED: Final = b"$"  # what the last SEARCH with SAVE found
_SET: Final = re.compile(rb"[0-9:*,$]+")


@dataclass(frozen=True, slots=True)
class SequenceSet:
    """Ranges as the client wrote them, each a pair, `STAR` for ``*``; a pair may be given in either order. `saved`: ``$`` was among them."""

    ranges: tuple[tuple[int, int], ...]
    saved: bool = False

    def resolve(self, largest: int) -> tuple[tuple[int, int], ...]:
        """Give sorted, disjoint, non-adjacent ranges with ``*`` = `largest`; `largest` 0 (an empty mailbox) makes ``*`` match nothing.

        What was saved is not among them: only a session knows it.

        RFC 3501 §9: ``5:*`` holds the largest number even if that is below 5.
        """
        pairs = []
        for first, last in self.ranges:
            low, high = first or largest, last or largest
            if low and high:
                pairs.append((low, high) if low <= high else (high, low))
            elif low or high:
                continue  # the other end is `*` of an empty mailbox
        return merge(pairs)

    @property
    def highest(self) -> int:
        """Tell the highest number written, 0 if only ``*``: numbers beyond the mailbox are BAD for message numbers, harmless for UIDs."""
        return max((max(pair) for pair in self.ranges), default=0)

    def __bytes__(self) -> bytes:
        """Write the set as on the wire."""
        members = [_member(first, last) for first, last in self.ranges]
        return b",".join([*members, SAVED] if self.saved else members)


@dataclass(frozen=True, slots=True)
class PartialRange:
    """Places in a result, from 1 for its first message, or from -1 for its last; both ends of one sign, in either order, as the client wrote them."""

    first: int
    last: int

    def places(self, count: int) -> slice:
        """Give the slice of a result of `count` messages that the range names; empty where the result does not reach."""
        low, high = min(self.first, self.last), max(self.first, self.last)
        if low > 0:
            return slice(min(low - 1, count), min(high, count))
        return slice(max(count + low, 0), max(count + high + 1, 0))

    def __bytes__(self) -> bytes:
        """Write the range as it was asked for (RFC 9394 §3.1)."""
        return b"%d:%d" % (self.first, self.last)


def parse(text: bytes) -> SequenceSet | None:
    """Read a set; None if it is none, holds 0, a number over 32 bits or too many members."""
    if not _SET.fullmatch(text):
        return None
    members = text.split(b",", limits.SEQUENCE_RANGES)
    if len(members) > limits.SEQUENCE_RANGES:
        return None
    ranges = []
    saved = False
    for member in members:
        if member == SAVED:
            saved = True
            continue
        first, colon, last = member.partition(b":")
        low = _number(first)
        high = _number(last) if colon else low
        if low is None or high is None:
            return None
        ranges.append((low, high))
    return SequenceSet(tuple(ranges), saved)


class Ranges:
    """Numbers written in the order in which they are added, rising runs as ranges: ``1:3,5``; in parts, for those who have many."""

    __slots__ = ("_first", "_last", "_out")

    def __init__(self) -> None:
        self._out: list[bytes] = []
        self._first = self._last = 0

    def add(self, numbers: Iterable[int]) -> None:
        """Take the next numbers."""
        out, first, last = self._out, self._first, self._last
        for number in numbers:
            if number == last + 1 and last:
                last = number
                continue
            if last:
                out.append(_member(first, last))
            first = last = number
        self._first, self._last = first, last

    def __bytes__(self) -> bytes:
        """Write what was added; empty if there was nothing."""
        return b",".join([*self._out, _member(self._first, self._last)] if self._last else self._out)


def compact(numbers: Iterable[int]) -> bytes:
    """Write numbers in the given order, rising runs as ranges: ``1:3,5``; empty if there are none (RFC 4315 §3: COPYUID keeps the order)."""
    ranges = Ranges()
    ranges.add(numbers)
    return bytes(ranges)


def _member(first: int, last: int) -> bytes:
    left = b"%d" % first if first else b"*"
    if first == last:
        return left
    return left + (b":%d" % last if last else b":*")


def _number(text: bytes) -> int | None:
    if text == b"*":
        return STAR
    # RFC 3501 §9: nz-number has no leading zero; ten digits hold 32 bits.
    if not text or len(text) > 10 or not text.isdigit() or text[0] == 0x30:
        return None
    number = int(text)
    return number if number <= MAXIMUM else None


def merge(pairs: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Give ranges of rising ends sorted, disjoint and non-adjacent."""
    pairs.sort()
    out: list[tuple[int, int]] = []
    for low, high in pairs:
        if out and low <= out[-1][1] + 1:
            if high > out[-1][1]:
                out[-1] = (out[-1][0], high)
        else:
            out.append((low, high))
    return tuple(out)
