# SPDX-License-Identifier: Apache-2.0
"""A segment in the making, and how work that nobody waits for gives way to readers.

Obeys docs/security.md: all parts of a segment are sealed under the mailbox key, and come and go together.
Must never know where its words come from.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeVar

from moatmail.core.limits import mailbox as limits
from moatmail.crypto.seal import SealKey, new_id
from moatmail.mailbox.index import facts
from moatmail.mailbox.index.listing import Kind, ListingBuilder
from moatmail.mailbox.index.segment import SegmentBuilder
from moatmail.mailbox.index.words import FieldClass, Words
from moatmail.mailbox.reading import Owner
from moatmail.message.summary import Summary
from moatmail.store.index_items import AddSegment, UnindexedRow

T = TypeVar("T")


async def give_way(work: Callable[..., T], *arguments: object) -> T:
    """Do a slice of work in a thread, then rest as long: readers wait for a slice at most, and have half of the time however much there is to index."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    done = await asyncio.to_thread(work, *arguments)
    # Where others are at work too the slice took longer, and so does the rest.
    await asyncio.sleep(min(limits.INDEX_REST * (loop.time() - begun), limits.INDEX_REST_MAX))
    return done


def slices(rows: Sequence[UnindexedRow]) -> Iterator[list[UnindexedRow]]:
    """Cut rows into slices of work: some with words, or one without."""
    some: list[UnindexedRow] = []
    octets = 0
    for row in rows:
        if some and (not row.words or not some[-1].words or len(some) == limits.INDEX_MERGED or octets >= limits.INDEX_MERGED_OCTETS):
            yield some
            some, octets = [], 0
        some.append(row)
        octets += len(row.words)
    if some:
        yield some


class Merging:
    """A segment in the making: its words, and what lists of its messages show."""

    kinds: Final = (*FieldClass, *Kind, facts.KIND)

    def __init__(self) -> None:
        self.words = SegmentBuilder()
        self._listing = ListingBuilder()
        self._facts = facts.FactsBuilder()

    def add(self, row: UnindexedRow, words: Words, summary: Summary) -> None:
        """Take a message, by rising number."""
        self.words.add(row.number, words)
        self._listing.add(row.number, row.received_at, summary)
        self._facts.add(row.number, row.size, row.received_at)

    def seal(self, kind: int, sealing: SealKey, account: int, segment: bytes) -> list[tuple[int, bytes]]:
        """Give (kind, sealed) of what belongs to a kind: one or two."""
        if kind == facts.KIND:
            return [self._facts.seal(sealing, account, segment)]
        if kind in tuple(Kind):
            return [(kind, self._listing.seal_part(Kind(kind), sealing, account, segment))]
        return self.words.seal_parts(FieldClass(kind), sealing, account, segment)


async def write_segment(owner: Owner, merging: Merging, now: float, replaces: tuple[bytes, ...] = ()) -> None:
    """Seal a segment and give it to the store, in place of others; raises ConflictError, and what the store raises."""
    segment = new_id(int(now * 1000))
    parts: list[tuple[int, bytes]] = []
    for kind in merging.kinds:
        parts += await give_way(merging.seal, kind, owner.keys.sealing, owner.id, segment)
    await owner.store.write(AddSegment(owner.id, segment, tuple(merging.words.numbers), tuple(parts), replaces))
