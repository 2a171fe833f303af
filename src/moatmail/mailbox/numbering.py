# SPDX-License-Identifier: Apache-2.0
"""Which message has which number, as one session was told: UIDs as runs, some octets for a mailbox of any size.

Obeys RFC 3501 §2.3.1.2 (message sequence numbers), RFC 9051 §2.3.1.2 (numbers rise with UIDs, without gaps).
Must never know what changed in the store and was not told yet.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence

Span = tuple[int, int]
"""First and last, both included."""


class Numbering:
    """Maps message numbers (from 1) to UIDs and back; a lookup is a bisection over the runs of consecutive UIDs."""

    __slots__ = ("_before", "_firsts", "count")

    def __init__(self, uids: Sequence[int] = ()) -> None:
        """Give numbers to `uids` (rising)."""
        self._firsts = array("I")
        self._before = array("I")  # messages before each run
        self.count = 0
        for first, last in _runs(uids):
            self._add_run(first, last)

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
        number = first
        while number <= last:
            place = bisect_right(self._before, number - 1) - 1
            until = min(last, self._end(place))
            uid = self._firsts[place] + number - 1 - self._before[place]
            yield uid, uid + until - number
            number = until + 1

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

    def add(self, uids: Iterable[int]) -> None:
        """Give the next numbers to `uids` (rising, above all known)."""
        for uid in uids:
            if self.count and uid == self.last_uid + 1:
                self.count += 1
            else:
                self._add_run(uid, uid)

    def remove(self, uids: Iterable[int]) -> list[int]:
        """Take away UIDs and give their numbers, highest first, so that each is right when told in this order; unknown ones are passed over.

        One pass over the runs and what goes, however much it is.
        """
        gone = sorted(set(uids))
        runs = list(self.uid_spans(1, self.count))
        before_runs = self._before
        self._firsts, self._before, self.count = array("I"), array("I"), 0
        numbers: list[int] = []
        place = 0
        for (first, last), before in zip(runs, before_runs, strict=True):
            start = first
            while place < len(gone) and gone[place] <= last:
                uid = gone[place]
                place += 1
                if uid < first:
                    continue
                numbers.append(before + uid - first + 1)
                if start < uid:
                    self._add_run(start, uid - 1)
                start = uid + 1
            if start <= last:
                self._add_run(start, last)
        numbers.reverse()
        return numbers


def _runs(uids: Sequence[int]) -> Iterator[Span]:
    """Give the runs of consecutive numbers; a run's end is found by bisection, so that a mailbox without gaps costs nothing."""
    start, count = 0, len(uids)
    while start < count:
        # In a run, UID and place rise together; behind a gap their difference is larger.
        beyond = bisect_right(range(count), uids[start] - start, lo=start, key=lambda place: uids[place] - place)
        yield uids[start], uids[beyond - 1]
        start = beyond
