# SPDX-License-Identifier: Apache-2.0
"""Which message has which number, as one session was told: UIDs as runs, some octets for a mailbox of any size.

Obeys RFC 3501 §2.3.1.2 (message sequence numbers), RFC 9051 §2.3.1.2 (numbers rise with UIDs, without gaps).
Must never know what changed in the store and was not told yet.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_right
from collections.abc import Generator, Iterable, Iterator, Sequence
from itertools import compress, islice
from typing import Final

Span = tuple[int, int]
"""First and last, both included."""

_STEPS: Final = 2000  # runs, or UIDs, of one step: about a millisecond


class Numbering:
    """Maps message numbers (from 1) to UIDs and back; a lookup is a bisection over the runs of consecutive UIDs."""

    __slots__ = ("_before", "_firsts", "count")

    def __init__(self, uids: Sequence[int] = ()) -> None:
        """Give numbers to `uids` (rising)."""
        count = self.count = len(uids)
        self._firsts = array("I", uids[:1])
        self._before = array("I", [0] if count else ())  # messages before each run
        if count and uids[-1] - uids[0] != count - 1:
            gaps = _gaps(uids)
            self._firsts.extend(compress(islice(uids, 1, None), gaps))
            self._before.extend(compress(range(1, count), gaps))

    def _add_run(self, first: int, last: int) -> None:
        self._firsts.append(first)
        self._before.append(self.count)
        self.count += last - first + 1

    @property
    def last_uid(self) -> int:
        """Give the highest UID, 0 for none."""
        return self._firsts[-1] + self.count - self._before[-1] - 1 if self.count else 0

    def rank(self, uid: int) -> int:
        """Give how many messages have a UID below `uid`."""
        place = bisect_right(self._firsts, uid) - 1
        if place < 0:
            return 0
        return min(self._before[place] + uid - self._firsts[place], self._end(place))

    def _end(self, place: int) -> int:
        return self._before[place + 1] if place + 1 < len(self._before) else self.count

    def number(self, uid: int) -> int:
        """Give the number of a UID, 0 where no message has it."""
        rank = self.rank(uid)
        return rank + 1 if rank < self.count and self.uid(rank + 1) == uid else 0

    def uid(self, number: int) -> int:
        """Give the UID of a message number; raises IndexError outside of 1 to `count`."""
        if not 1 <= number <= self.count:
            raise IndexError(number)
        place = bisect_right(self._before, number - 1) - 1
        return self._firsts[place] + number - 1 - self._before[place]

    def uids(self, first: int, last: int) -> Iterator[int]:
        """Give the UIDs of the numbers `first` to `last`, which must lie within 1 to `count`."""
        for low, high in self.uid_spans(first, last):
            yield from range(low, high + 1)

    def uid_spans(self, first: int, last: int) -> Iterator[Span]:
        """Give the runs of UIDs of the numbers `first` to `last`."""
        if first > last:
            return
        run = bisect_right(self._before, first - 1) - 1
        number = first
        while number <= last:
            until = min(last, self._end(run))
            uid = self._firsts[run] + number - 1 - self._before[run]
            yield uid, uid + until - number
            number = until + 1
            run += 1

    def spans_of_uids(self, ranges: Iterable[Span]) -> list[Span]:
        """Give the number ranges of the messages whose UIDs lie in `ranges` (sorted, disjoint)."""
        found: list[Span] = []
        for low, high in ranges:
            first, beyond = self.rank(low), self.rank(high + 1)
            if first < beyond:
                if found and found[-1][1] == first:
                    found[-1] = (found[-1][0], beyond)
                else:
                    found.append((first + 1, beyond))
        return found

    def add(self, uids: Sequence[int]) -> None:
        """Give the next numbers to `uids` (rising, above all known)."""
        new = Numbering(uids)
        joined = 1 if self.count and new.count and uids[0] == self.last_uid + 1 else 0
        self._firsts.extend(new._firsts[joined:])
        self._before.extend([before + self.count for before in new._before[joined:]])
        self.count += new.count

    def remove(self, uids: Iterable[int]) -> list[int]:
        """Take away UIDs and give their numbers, highest first, so that each is right when told in this order; unknown ones are passed over."""
        steps = self.removing(sorted(uids))
        while True:
            try:
                next(steps)
            except StopIteration as end:
                numbers: list[int] = end.value
                return numbers

    def removing(self, gone: Sequence[int]) -> Generator[None, None, list[int]]:
        """Do the same for `gone` (rising) in steps, between which the numbering is as it was: one pass over the runs and what goes."""
        kept = Numbering()
        numbers: list[int] = []
        place = 0
        for run, first in enumerate(self._firsts):
            before = self._before[run]
            last = first + self._end(run) - before - 1
            start = first
            while place < len(gone) and gone[place] <= last:
                uid = gone[place]
                place += 1
                if uid < start:
                    continue  # of none, or named twice
                numbers.append(before + uid - first + 1)
                if start < uid:
                    kept._add_run(start, uid - 1)
                start = uid + 1
                if place % _STEPS == 0:
                    yield
            if start <= last:
                kept._add_run(start, last)
            if run % _STEPS == _STEPS - 1:
                yield
        self._firsts, self._before, self.count = kept._firsts, kept._before, kept.count
        numbers.reverse()
        return numbers


def _gaps(uids: Sequence[int]) -> array[int]:
    """Give how many UIDs no message has before each but the first: all differences at once, as one long integer."""
    lanes = array("I", uids)
    width = lanes.itemsize
    octets = lanes.tobytes()
    ones = int.from_bytes((1).to_bytes(width, sys.byteorder) * (len(lanes) - 1), sys.byteorder)
    # UIDs rise, so no lane borrows from the next.
    missing = int.from_bytes(octets[width:], sys.byteorder) - int.from_bytes(octets[:-width], sys.byteorder) - ones
    return array("I", missing.to_bytes(len(octets) - width, sys.byteorder))
