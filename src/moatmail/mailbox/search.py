# SPDX-License-Identifier: Apache-2.0
"""Search in one mailbox: numbers first, then the index, sizes and dates, then summaries, headers, texts, and only of those still open.

Obeys RFC 3501 §6.4.4.
Must never know the protocol that asks, nor hold the loop: it works in slices.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import Enum
from typing import Final, Protocol

from moatmail.core.errors import NotFoundError, SealBrokenError
from moatmail.core.limits import mailbox as limits
from moatmail.core.ports.clock import Clock
from moatmail.mailbox.criteria import Criterion
from moatmail.mailbox.search_columns import Columns, Settled, Snapshot
from moatmail.mailbox.search_facts import Facts, facts_test
from moatmail.mailbox.search_message import Candidate, Content, Level, Test, asks_sizes, build_test
from moatmail.message.summary import Summary
from moatmail.store.queries import MessageRow

# What tells that a message cannot be read: its seal, or a content that is not where its row says.
UNREADABLE: Final = (SealBrokenError, NotFoundError)


class Need(Enum):
    """Which of the matching messages are wanted."""

    ALL = "all"
    FIRST = "first"
    LAST = "last"


class Reader(Protocol):
    """Reads the messages of one mailbox; each call is one page, answered without holding the loop."""

    async def sizes(self, after: int) -> Sequence[tuple[int, int, float, float]]:
        """Give (uid, size, received_at, saved_at) of the next messages after a UID, at most a page."""
        ...

    async def rows(self, uids: Sequence[int]) -> Sequence[MessageRow]:
        """Give rows with prefix and summary, of those that still are there."""
        ...

    async def summaries(self, uids: Sequence[int]) -> Sequence[MessageRow]:
        """Give rows with summary only, of those that still are there."""
        ...

    def summary(self, row: MessageRow) -> Summary:
        """Open a summary; raises SealBrokenError."""
        ...

    async def content(self, row: MessageRow) -> Content:
        """Open a content; raises SealBrokenError, NotFoundError."""
        ...

    async def settle(
        self, criterion: Criterion, uids: Sequence[int], places: Sequence[int], pause: Callable[[], Awaitable[None]]
    ) -> Mapping[Criterion, Settled]:
        """Give what an index tells of the text criteria in `criterion` about messages at `places` (rising) of `uids`; empty where there is none."""
        ...

    def tell_broken(self, row: MessageRow, error: Exception) -> None:
        """Hear of a message that cannot be read: somebody should look."""
        ...


def _go_on() -> None:
    """Have no reason to stop."""


class Slices:
    """Lets others have the loop whenever a slice of work is done; `check` is called then, and what it raises ends the search."""

    __slots__ = ("_check", "_clock", "_since", "goal", "progress")

    def __init__(self, clock: Clock, check: Callable[[], None] = _go_on) -> None:
        self._clock = clock
        self._check = check
        self._since = clock.monotonic()
        self.progress = 0
        """Messages looked at so far."""
        self.goal = 0
        """Messages to be looked at, 0 while nobody knows."""

    async def pause(self) -> None:
        """Go on at once, or after everybody else had a turn."""
        if self._clock.monotonic() - self._since >= limits.SEARCH_SLICE:
            await asyncio.sleep(0)
            self._check()
            self._since = self._clock.monotonic()


async def search(criterion: Criterion, snapshot: Snapshot, reader: Reader, slices: Slices, need: Need = Need.ALL) -> list[int]:
    """Give the places (from 0, rising) of the messages of `snapshot` that match; with FIRST or LAST at most that one.

    A message that is gone, or cannot be opened where it must be, does not match. Raises StoreUnavailableError, and what ends the slices.
    """
    columns = Columns(snapshot)
    await columns.prepare(criterion, slices.pause)
    settled = columns.settle(criterion)
    found, rest = _narrow(columns.places(settled.true), columns.open_places(settled), need)
    await slices.pause()
    if rest and (known := await reader.settle(criterion, snapshot.uids, rest, slices.pause)):
        columns.know(known)
        settled = columns.settle(criterion)
        await slices.pause()
        found, rest = _narrow(columns.places(settled.true), columns.open_places(settled), need)
    if rest:
        slices.goal = len(rest)
        opening = _Opening(build_test(criterion, columns), snapshot, reader, slices)
        quick = facts_test(criterion)
        if quick is not None:
            more, rest = await opening.by_facts(rest, quick), []
            found, _ = _narrow(sorted(found + more), rest, need)
        elif asks_sizes(criterion):
            more, rest = await opening.by_sizes(rest)
            slices.progress = slices.goal - len(rest)
            found, rest = _narrow(sorted(found + more), rest, need)
        more = await opening.by_messages(rest, need)
        found, _ = _narrow(sorted(found + more), [], need)
    return found


def _narrow(found: list[int], rest: list[int], need: Need) -> tuple[list[int], list[int]]:
    """Where one message is enough, keep the best found and those of the rest that could still be better (both lists rise)."""
    if need is Need.ALL or not found:
        return found, rest
    if need is Need.FIRST:
        return found[:1], [place for place in rest if place < found[0]]
    return found[-1:], [place for place in rest if place > found[-1]]


class _Opening:
    """Decides about messages that numbers left open, opening each no further than it must."""

    def __init__(self, test: Test, snapshot: Snapshot, reader: Reader, slices: Slices) -> None:
        self._test = test
        self._uids = snapshot.uids
        self._reader = reader
        self._slices = slices

    async def by_messages(self, places: list[int], need: Need) -> list[int]:
        """Give those of `places` that match, by opening them; the first found alone unless all are needed."""
        ordered = places[::-1] if need is Need.LAST else places
        found: list[int] = []
        for start in range(0, len(ordered), limits.SEARCH_PAGE):
            found += await self._page(ordered[start : start + limits.SEARCH_PAGE], stop=need is not Need.ALL)
            if found and need is not Need.ALL:
                break
        return found

    async def by_facts(self, places: list[int], matches: Facts) -> list[int]:
        """Give those of `places` (rising) that match, where size and internal date decide alone."""
        found: list[int] = []
        uids = self._uids
        at = 0
        while at < len(places) and (page := await self._reader.sizes(uids[places[at]] - 1)):
            wanted = {uid for uid, size, received_at, saved_at in page if matches(size, received_at, saved_at)}
            beyond = bisect_right(places, page[-1][0], lo=at, key=uids.__getitem__)
            found.extend([place for place in places[at:beyond] if uids[place] in wanted])
            at = beyond
            await self._slices.pause()
        return found

    async def by_sizes(self, places: list[int]) -> tuple[list[int], list[int]]:
        """Give those of `places` (rising) that size and internal date decide in favour, and those still open."""
        found: list[int] = []
        still_open: list[int] = []
        uids = self._uids
        at = 0
        while at < len(places) and (page := await self._reader.sizes(uids[places[at]] - 1)):
            known = {uid: (size, received_at, saved_at) for uid, size, received_at, saved_at in page}
            beyond = bisect_right(places, page[-1][0], lo=at, key=uids.__getitem__)
            for place in places[at:beyond]:
                facts = known.get(uids[place])
                if facts is None:
                    continue  # gone from the mailbox
                answer = self._test(Candidate(place, *facts))
                if answer is not False:
                    (still_open if answer is None else found).append(place)
            at = beyond
            await self._slices.pause()
        return found, still_open

    async def _page(self, places: list[int], *, stop: bool) -> list[int]:
        """Give those of one page of messages that match, in the given order, the first only with `stop`."""
        uids = [self._uids[place] for place in places]
        rows = {row.uid: row for row in await self._reader.rows(sorted(uids))}
        found: list[int] = []
        for place, uid in zip(places, uids, strict=True):
            row = rows.get(uid)
            self._slices.progress += 1
            if row is not None and await self._matches(place, row):
                found.append(place)
                if stop:
                    break
            await self._slices.pause()
        return found

    async def _matches(self, place: int, row: MessageRow) -> bool:
        """Open one message step by step until the question is decided."""
        candidate = Candidate(place, row.size, row.received_at, row.saved_at)
        try:
            candidate.open_summary(self._reader.summary(row))
            answer = self._test(candidate)
            if answer is None:
                candidate.open_header(await self._reader.content(row))
                answer = self._test(candidate)
            if answer is None:
                answer = await self._look_into_text(candidate)
        except UNREADABLE as error:
            self._reader.tell_broken(row, error)
            return False
        return answer is True

    async def _look_into_text(self, candidate: Candidate) -> bool | None:
        candidate.level = Level.TEXT
        if candidate.size > limits.SEARCH_ON_LOOP:
            return await asyncio.to_thread(self._test, candidate)
        await self._slices.pause()
        return self._test(candidate)
