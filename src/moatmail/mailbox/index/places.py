# SPDX-License-Identifier: Apache-2.0
"""Where messages lie in a mailbox: from message numbers, which the index speaks of, to places in a snapshot.

Obeys RFC 3501 §2.3.1.1 (UIDs rise; the message under a UID never changes).
Must never know a message.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Awaitable, Callable, Sequence
from itertools import repeat
from operator import eq, lt
from typing import Final

from moatmail.core.limits import mailbox as limits

Pause = Callable[[], Awaitable[None]]
ABSENT: Final = -1
_NOBODY: Final = 0  # no message has this number


class Numbers:
    """UIDs of a mailbox and their message numbers, side by side; UIDs rise, and so do numbers where nothing was copied or moved here (`rising`)."""

    __slots__ = ("numbers", "rising", "uids")

    def __init__(self) -> None:
        self.uids = array("I")
        self.numbers = array("Q")
        self.rising = True

    def extend(self, uids: array[int], numbers: array[int]) -> None:
        """Take the next, above all known."""
        if self.rising:
            self.rising = all(map(lt, numbers, numbers[1:])) and (not self.numbers or self.numbers[-1] < numbers[0])
        self.uids.extend(uids)
        self.numbers.extend(numbers)


class Places:
    """The places of messages in one snapshot of a mailbox, and which of them are asked about."""

    def __init__(self, numbers: array[int], open_places: Sequence[int], *, rising: bool) -> None:
        self._numbers = numbers
        self._rising = rising
        every = len(open_places) == len(numbers)
        self._open = bytearray(b"\1" if every else b"\0") * len(numbers)
        for place in () if every else open_places:
            self._open[place] = 1
        self._place_of: dict[int, int] = {}
        self.twice: dict[int, list[int]] = {}
        """The other places of messages that lie more than once in the mailbox, by number; `of` gives the first."""

    @classmethod
    async def learn(cls, known: Numbers, uids: Sequence[int], open_places: Sequence[int], pause: Pause) -> Places:
        """Give the places of the messages under `uids`, of which `open_places` (both rise) are asked about."""
        count = len(uids)
        if known.uids[:count] == uids:
            places = cls(known.numbers[:count], open_places, rising=known.rising)
        else:
            numbers = await _numbers_of(known, uids, pause)
            places = cls(numbers, open_places, rising=known.rising and _NOBODY not in numbers)
        await pause()
        if not places._rising:
            await places._learn_each(pause)
        return places

    async def _learn_each(self, pause: Pause) -> None:
        for start in range(0, len(self._numbers), limits.INDEX_SLICE):
            part = self._numbers[start : start + limits.INDEX_SLICE]
            learnt = dict(zip(part, range(start, start + len(part)), strict=True))
            if len(learnt) == len(part) and learnt.keys().isdisjoint(self._place_of):
                self._place_of.update(learnt)
            else:
                self._learn_again(part, start)
            await pause()
        self._place_of.pop(_NOBODY, None)
        self.twice.pop(_NOBODY, None)

    def _learn_again(self, numbers: Sequence[int], start: int) -> None:
        """Sort out messages that lie twice in the mailbox: copied within it."""
        for place, number in enumerate(numbers, start):
            if self._place_of.setdefault(number, place) != place:
                self.twice.setdefault(number, []).append(place)

    def of(self, number: int) -> int:
        """Give the place of a message, ABSENT where it lies elsewhere."""
        if not self._rising:
            return self._place_of.get(number, ABSENT)
        place = bisect_left(self._numbers, number)
        return place if place < len(self._numbers) and self._numbers[place] == number else ABSENT

    def is_open(self, number: int) -> bool:
        """Tell whether a message is asked about: at any of its places."""
        place = self.of(number)
        return place != ABSENT and (self._open[place] == 1 or any(self._open[other] for other in self.twice.get(number, ())))

    def of_all(self, numbers: array[int]) -> Sequence[int]:
        """Give the places of messages by rising numbers: a range where they lie one behind the other."""
        if not self._rising:
            found = list(map(self._place_of.get, numbers, repeat(ABSENT)))
            run = range(found[0], found[0] + len(found))
            return run if found[0] >= 0 and found[-1] == run[-1] and all(map(eq, found, run)) else found
        low, beyond = bisect_left(self._numbers, numbers[0]), bisect_right(self._numbers, numbers[-1])
        here = self._numbers[low:beyond]
        if here == numbers:
            return range(low, beyond)
        if len(here) > 4 * len(numbers):
            return list(map(self.of, numbers))
        local = dict(zip(here, range(low, beyond), strict=True))
        return list(map(local.get, numbers, repeat(ABSENT)))

    def count_open(self, places: Sequence[int]) -> int:
        """Count those of `places`, as `of_all` gives them, that are asked about."""
        if isinstance(places, range):
            return self._open.count(1, places.start, places.stop)
        return sum([self._open[place] for place in places if place != ABSENT])


async def _numbers_of(known: Numbers, uids: Sequence[int], pause: Pause) -> array[int]:
    """Give the numbers of the messages under `uids`, side by side; _NOBODY where none is known."""
    by_uid: dict[int, int] = {}
    for start in range(0, len(known.uids), limits.INDEX_SLICE):
        end = start + limits.INDEX_SLICE
        by_uid.update(zip(known.uids[start:end], known.numbers[start:end], strict=True))
        await pause()
    numbers = array("Q")
    for start in range(0, len(uids), limits.INDEX_SLICE):
        numbers.extend(map(by_uid.get, uids[start : start + limits.INDEX_SLICE], repeat(_NOBODY)))
        await pause()
    return numbers
