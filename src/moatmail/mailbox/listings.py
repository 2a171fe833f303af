# SPDX-License-Identifier: Apache-2.0
"""Long lists of messages read through listings: thousands of messages, some of them at a time.

Obeys RFC 3501 §7.4.2 through `index/listing`.
Must never know a protocol; what no listing holds is for its caller to open.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final, NamedTuple, cast

from moatmail.core.errors import SealBrokenError
from moatmail.core.limits.mailbox import LISTING_ON_LOOP, LISTING_SEGMENTS, PAGE
from moatmail.crypto.seal import SealKey
from moatmail.mailbox.index.listing import Facts, Fields, Kind, Others, Places, Structures, open_facts, open_fields, open_others, open_structures
from moatmail.mailbox.opened import Opened
from moatmail.store.index_items import FindSegments, GetSegmentPart, ListNumbers, ListPlaced, PlacedRow

Part = Facts | Fields | Structures | Others
_OPEN: Final[dict[Kind, Callable[[SealKey, int, bytes, bytes], Part]]] = {
    Kind.FACTS: open_facts,
    Kind.FIELDS: open_fields,
    Kind.STRUCTURES: open_structures,
    Kind.OTHERS: open_others,
}


@dataclass(eq=False, slots=True)
class Listing:
    """One listing, with the parts that were asked for."""

    parts: dict[Kind, Part]

    @property
    def facts(self) -> Facts:
        """Give numbers, sizes and times: always here."""
        return cast("Facts", self.parts[Kind.FACTS])

    @property
    def fields(self) -> Fields:
        """Give the header fields; KeyError unless they were asked for."""
        return cast("Fields", self.parts[Kind.FIELDS])

    @property
    def structures(self) -> Structures:
        """Give ENVELOPE and BODYSTRUCTURE; KeyError unless they were asked for."""
        return cast("Structures", self.parts[Kind.STRUCTURES])

    @property
    def others(self) -> Others:
        """Give BODY and previews; KeyError unless they were asked for."""
        return cast("Others", self.parts[Kind.OTHERS])


class Run(NamedTuple):
    """Messages of one listing that follow each other in a page: from the place `first` of the page to below `beyond`, with their places in the listing."""

    first: int
    beyond: int
    listing: Listing
    places: Places

    def part(self, first: int, beyond: int) -> Places:
        """Give the places in the listing of some of them, by their places in the page."""
        low, high = first - self.first, beyond - self.first
        if isinstance(self.places, slice):
            return slice(self.places.start + low, self.places.start + high)
        return self.places[low:high]


class Listings:
    """The listings that one command reads; the last ones stay open, because messages mostly lie in the order of their numbers."""

    def __init__(self, opened: Opened, mailbox: int, kinds: frozenset[Kind], *, rows: bool = False) -> None:
        """Read the parts `kinds`, and with `rows` what the store's rows say besides."""
        self._opened = opened
        self._mailbox = mailbox
        self._kinds = (Kind.FACTS, *sorted(kinds - {Kind.FACTS}))
        self._rows = rows
        self._open: dict[bytes, Listing | None] = {}
        self.rows: dict[int, PlacedRow] = {}
        """The rows of the last page by UID, where they were asked for."""
        self.damaged: list[SealBrokenError] = []
        """Listings that do not open: their messages are opened one by one, and the administrator should hear of it."""

    async def find(self, uids: Sequence[int]) -> list[Run]:
        """Give those of at most PAGE messages (UIDs rising) that listings hold, in their order."""
        numbers = await self._numbers(uids)
        known = [number for number in numbers if number]
        if not known:
            return []
        segments = await self._opened.store.read(FindSegments(self._opened.id, min(known), max(known), LISTING_SEGMENTS + 1))
        if len(segments) > LISTING_SEGMENTS:
            return []  # scattered over many: opening them all would cost more than it saves
        holders: list[Listing | None] = [None] * len(uids)
        places = [0] * len(uids)
        for segment in segments:
            listing = await self._listing(segment)
            if listing is not None:
                self._place(listing, numbers, holders, places)
        for segment in tuple(self._open)[:-LISTING_SEGMENTS]:
            del self._open[segment]
        return _runs(holders, places)

    async def _numbers(self, uids: Sequence[int]) -> Sequence[int]:
        """Give the message number of each UID, 0 where it is unknown."""
        account, store = self._opened.id, self._opened.store
        if self._rows:
            rows = await store.read(ListPlaced(account, self._mailbox, uids[0], uids[-1], PAGE))
            self.rows = {row.uid: row for row in rows}
            return [row.number if (row := self.rows.get(uid)) is not None else 0 for uid in uids]
        # As many as may lie from the first to the last of them; the store gives some pages at most, and what lies beyond is for the caller.
        page = await store.read(ListNumbers(account, self._mailbox, uids[0] - 1, uids[-1] - uids[0] + 1))
        if page.uids == array("I", uids).tobytes():
            return array("Q", page.numbers)
        by_uid = dict(zip(array("I", page.uids), array("Q", page.numbers), strict=True))
        return [by_uid.get(uid, 0) for uid in uids]

    def _place(self, listing: Listing, numbers: Sequence[int], holders: list[Listing | None], places: list[int]) -> None:
        """Note which messages a listing holds, all that is wanted of them, and where."""
        unshown = listing.fields.unshown if Kind.FIELDS in listing.parts else frozenset()
        for at, place in enumerate(listing.facts.places(numbers)):
            if place is not None and place not in unshown:
                holders[at] = listing
                places[at] = place

    async def _listing(self, segment: bytes) -> Listing | None:
        if segment in self._open:
            listing = self._open.pop(segment)
        else:
            try:
                listing = await self._read(segment)
            except SealBrokenError as error:
                self.damaged.append(error)
                listing = None
        self._open[segment] = listing  # the last asked for is the last to go
        return listing

    async def _read(self, segment: bytes) -> Listing | None:
        sealed: list[tuple[Kind, bytes]] = []
        for kind in self._kinds:
            octets = await self._opened.store.read(GetSegmentPart(self._opened.id, segment, int(kind)))
            if octets is None:
                return None
            sealed.append((kind, octets))
        arguments = (self._opened.keys.sealing, self._opened.id, segment, sealed)
        # On a busy machine a thread waits longer for its turn than it works.
        return _open(*arguments) if sum([len(octets) for _kind, octets in sealed]) <= LISTING_ON_LOOP else await asyncio.to_thread(_open, *arguments)


def _open(sealing: SealKey, account: int, segment: bytes, sealed: list[tuple[Kind, bytes]]) -> Listing:
    return Listing({kind: _OPEN[kind](sealing, account, segment, octets) for kind, octets in sealed})


def _runs(holders: list[Listing | None], places: list[int]) -> list[Run]:
    runs: list[Run] = []
    first = 0
    for listing, group in groupby(holders):
        beyond = first + len(list(group))
        if listing is not None:
            runs.append(Run(first, beyond, listing, _compact(places[first:beyond])))
        first = beyond
    return runs


def _compact(places: list[int]) -> Places:
    one = slice(places[0], places[-1] + 1)
    return one if places == list(range(one.start, one.stop)) else places
