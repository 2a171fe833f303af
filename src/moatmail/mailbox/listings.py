# SPDX-License-Identifier: Apache-2.0
"""Long lists of messages read through listings: thousands of messages, some of them at a time.

Obeys RFC 3501 §7.4.2 through `index/listing`.
Must never know a protocol; what no listing holds is for its caller to open.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from moatmail.core.errors import SealBrokenError
from moatmail.core.limits.mailbox import LISTING_SEGMENTS, PAGE
from moatmail.mailbox.index.listing import KIND, Entry, open_listing
from moatmail.mailbox.opened import Opened
from moatmail.store.index_items import FindSegments, GetSegmentPart, ListPlaced, PlacedRow


class Listed(NamedTuple):
    """One message: what its rows say, and its entry."""

    row: PlacedRow
    entry: Entry


class Listings:
    """The listings that one command reads; the last ones stay open, because messages mostly lie in the order of their numbers."""

    def __init__(self, opened: Opened, mailbox: int) -> None:
        self._opened = opened
        self._mailbox = mailbox
        self._open: dict[bytes, dict[int, Entry]] = {}
        self.damaged: list[SealBrokenError] = []
        """Listings that do not open: their messages are opened one by one, and the administrator should hear of it."""

    async def find(self, uids: Sequence[int]) -> dict[int, Listed]:
        """Give those of at most PAGE messages (UIDs rising) that a listing holds, by UID."""
        account = self._opened.id
        rows = await self._opened.store.read(ListPlaced(account, self._mailbox, uids[0], uids[-1], PAGE))
        if not rows:
            return {}
        numbers = [row.number for row in rows]
        segments = await self._opened.store.read(FindSegments(account, min(numbers), max(numbers), LISTING_SEGMENTS + 1))
        if not segments or len(segments) > LISTING_SEGMENTS:
            return {}  # scattered over many: opening them all would cost more than it saves
        found: dict[int, Listed] = {}
        for entries in [await self._entries(segment) for segment in segments]:
            found.update({row.uid: Listed(row, entry) for row in rows if (entry := entries.get(row.number)) is not None})
        for segment in tuple(self._open)[:-LISTING_SEGMENTS]:
            del self._open[segment]
        return found

    async def _entries(self, segment: bytes) -> dict[int, Entry]:
        entries = self._open.get(segment)
        if entries is None:
            sealed = await self._opened.store.read(GetSegmentPart(self._opened.id, segment, KIND))
            entries = {}
            if sealed is not None:
                try:
                    entries = await asyncio.to_thread(open_listing, self._opened.keys.sealing, self._opened.id, segment, sealed)
                except SealBrokenError as error:
                    self.damaged.append(error)
        else:
            del self._open[segment]
        self._open[segment] = entries  # the last asked for is the last to go
        return entries
