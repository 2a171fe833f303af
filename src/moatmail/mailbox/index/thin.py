# SPDX-License-Identifier: Apache-2.0
"""Segments made anew without what was expunged, before it is erased: else they go whole with it, and all their messages are read again.

Obeys docs/security.md: what is erased takes every segment with it that held its words; a segment made here in time holds none of them.
Must never know why a message was expunged. Who was not here in time loses nothing but time: `tend` makes the segment from contents.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence

from moatmail.core.errors import ConflictError, SealBrokenError
from moatmail.core.limits import mailbox as limits
from moatmail.mailbox.index.merging import Merging, give_way, write_segment
from moatmail.mailbox.index.segment import POSTINGS, Part, open_part, open_postings
from moatmail.mailbox.index.words import VERSION, FieldClass, Words
from moatmail.mailbox.reading import Owner, open_summary
from moatmail.store.index_items import FindDoomed, GetSegmentPart, ListSegmentRows, UnindexedRow

_Texts = Mapping[FieldClass, Sequence[bytes]]


class Thinner:
    """Thins the segments of one account: `run` is one round, ended early when the account is closed."""

    def __init__(self, owner: Owner, still_open: Callable[[], bool]) -> None:
        self._owner = owner
        self._still_open = still_open

    async def run(self, now: float) -> None:
        """Make the segments anew of which a message is erased soon; raises what the store raises."""
        at, number = 0.0, 0
        tried: set[bytes] = set()
        while self._still_open():
            # Of few that stay there is no segment to make: they are read again, with what came since.
            page = await self._owner.store.read(FindDoomed(self._owner.id, now + limits.THIN_AHEAD, limits.INDEX_MERGE, at, number))
            fresh = [one for one in page.segments if one not in tried]
            for one in fresh:
                tried.add(one)
                await self._thin(one, now)
            if page.at == 0 or (not fresh and (page.at, page.number) == (at, number)):
                return
            at, number = page.at, page.number

    async def _thin(self, segment: bytes, now: float) -> None:
        try:
            numbers, unknown, texts = await self._open(segment)
            merging = Merging()
            after = 0
            while self._still_open() and (rows := await self._owner.store.read(ListSegmentRows(self._owner.id, segment, after, limits.INDEX_BATCH))):
                for start in range(0, len(rows), limits.INDEX_MERGED):
                    await give_way(self._add, merging, rows[start : start + limits.INDEX_MERGED], numbers, unknown, texts)
                after = rows[-1].number
            if self._still_open() and len(merging.words.numbers) >= limits.INDEX_MERGE:
                await write_segment(self._owner, merging, now, (segment,))
        except (ConflictError, _GoneError, SealBrokenError):
            return  # dropped meanwhile, or damaged: who searches tells of that

    async def _open(self, segment: bytes) -> tuple[Mapping[int, int], frozenset[int], _Texts]:
        """Give the place of each message number, the places whose words are not all there, and the words of each place."""
        texts: dict[FieldClass, Sequence[bytes]] = {}
        numbers: array[int] = array("Q")
        unknown: frozenset[int] = frozenset()
        for kind in FieldClass:
            part, some = await give_way(self._texts, segment, kind, await self._sealed(segment, kind), await self._postings(segment, kind))
            if numbers and part.numbers != numbers:
                raise _GoneError
            numbers, texts[kind] = part.numbers, some
            if kind is FieldClass.BODY:
                unknown = frozenset(part.unknown)
        return {number: place for place, number in enumerate(numbers)}, unknown, texts

    async def _sealed(self, segment: bytes, kind: FieldClass) -> bytes:
        sealed = await self._owner.store.read(GetSegmentPart(self._owner.id, segment, kind))
        if sealed is None:
            raise _GoneError
        return sealed

    async def _postings(self, segment: bytes, kind: FieldClass) -> bytes | None:
        return await self._owner.store.read(GetSegmentPart(self._owner.id, segment, kind + POSTINGS))

    def _texts(self, segment: bytes, kind: FieldClass, sealed: bytes, apart: bytes | None) -> tuple[Part, list[bytes]]:
        sealing, account = self._owner.keys.sealing, self._owner.id
        part = open_part(sealing, account, segment, kind, sealed)
        postings = None if apart is None else open_postings(sealing, account, segment, kind, apart)
        try:
            return part, part.texts(postings)
        except ValueError as error:
            raise SealBrokenError(f"segment {segment.hex()}, part {kind.name}: {error}") from None

    def _add(self, merging: Merging, rows: Sequence[UnindexedRow], numbers: Mapping[int, int], unknown: frozenset[int], texts: _Texts) -> None:
        for row in rows:
            place = numbers.get(row.number)
            if place is None:
                raise _GoneError
            first, second, third, fourth, fifth, sixth, seventh = [texts[kind][place] for kind in FieldClass]
            words = Words(VERSION, place not in unknown, (first, second, third, fourth, fifth, sixth, seventh))
            merging.add(row, words, open_summary(self._owner, row))


class _GoneError(Exception):
    """The segment is not what it was."""
