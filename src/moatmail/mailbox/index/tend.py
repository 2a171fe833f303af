# SPDX-License-Identifier: Apache-2.0
"""The search index kept in order while an account is open: words of messages that have none, and messages of the tail merged into segments.

Obeys docs/security.md: only a process that has the account open can read what it indexes.
Must never know why an account is open, nor hold the loop: what takes time runs in a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from moatmail.core.errors import ConflictError, NotFoundError, SealBrokenError
from moatmail.core.limits import mailbox as limits
from moatmail.crypto.cover import open_cover
from moatmail.crypto.seal import SealKey
from moatmail.mailbox.index.merging import Merging, give_way, slices, write_segment
from moatmail.mailbox.index.words import Words, body_words, header_words, join, open_words, seal, summary_words
from moatmail.mailbox.reading import OpenMessage, Owner, open_summary
from moatmail.store.index_items import AddWords, CountUnindexed, ListUnindexed, UnindexedRow
from moatmail.store.queries import MessageRow

T = TypeVar("T")
_UNREADABLE: Final = (SealBrokenError, NotFoundError, OSError)


class Tender:
    """Indexes one account: `run` is one round, ended early when the account is closed."""

    def __init__(self, owner: Owner, still_open: Callable[[], bool]) -> None:
        self._owner = owner
        self._store = owner.store
        self._account = owner.id
        self._keys = owner.keys
        self._still_open = still_open
        self._fault: Exception | None = None

    async def run(self, now: float) -> None:
        """Merge, then make words that are still missing; raises what the store raises, and in the end the first error that no parser expected."""
        count = await self._store.read(CountUnindexed(self._account))
        if count.messages >= limits.INDEX_MERGE:
            await self._merge(now)
            count = await self._store.read(CountUnindexed(self._account))
        if count.without_words:
            await self._make_words()
        if self._fault is not None:
            raise self._fault

    # ---- words ----

    async def _make_words(self) -> None:
        after = 0
        while self._still_open() and (rows := await self._store.read(ListUnindexed(self._account, after, limits.INDEX_BATCH))):
            made: list[tuple[int, bytes]] = []
            octets = 0
            for row in rows:
                after = row.number
                words = None if row.words else await self._words_of(row)
                if words is not None:
                    sealed = await asyncio.to_thread(seal, self._sealing(row), self._account, row.id, words)
                    made.append((row.number, sealed))
                    octets += len(sealed)
                # They travel in one frame: whoever writes at length must not make it too large, and stop the index for ever.
                if octets >= limits.INDEX_BATCH_OCTETS or not self._still_open():
                    break
            if made:
                await self._store.write(AddWords(self._account, tuple(made)))

    async def _words_of(self, row: UnindexedRow) -> Words | None:
        """Make the words of a message; None where it does not open: whoever reads it tells of that."""
        try:
            return await give_way(words_of, await open_unindexed(self._owner, row))
        except _UNREADABLE:
            return None
        except Exception as error:  # noqa: BLE001  what one message does to a parser must not keep all others out of the index
            self._fault = self._fault or error
            return None

    def _sealing(self, row: UnindexedRow) -> SealKey:
        return SealKey(open_cover(self._keys, self._account, row.id, row.cover).message_key)

    # ---- segments ----

    async def _merge(self, now: float) -> None:
        after = 0
        while self._still_open():
            merging = Merging()
            after = await self._fill(merging, after)
            numbers = tuple(merging.words.numbers)
            # Few messages may fill a segment with their words; were they left, they would stand before all others for ever.
            if len(numbers) < limits.INDEX_MERGE and not merging.words.full:
                return
            try:
                await write_segment(self._owner, merging, now)
            except ConflictError:
                return  # another process merges this account too, or messages went: the next round sees what is left

    async def _fill(self, merging: Merging, after: int) -> int:
        """Add messages of the tail behind a number until the segment is full; gives the last number looked at."""
        while self._still_open() and (rows := await self._store.read(ListUnindexed(self._account, after, limits.INDEX_BATCH))):
            for some in slices(rows):
                if not self._still_open():
                    return after
                if some[0].words:
                    after = await give_way(self._add, merging, some)
                else:
                    after = await self._add_without_words(merging, some[0])
                if merging.words.full:
                    return after
        return after

    def _add(self, merging: Merging, rows: Sequence[UnindexedRow]) -> int:
        for row in rows:
            # One that does not open stays in the tail: it is looked at by itself, and whoever reads it tells of it.
            with contextlib.suppress(SealBrokenError):
                merging.add(row, open_words(self._sealing(row), self._account, row.id, row.words), open_summary(self._owner, row))
            if merging.words.full:
                return row.number
        return rows[-1].number

    async def _add_without_words(self, merging: Merging, row: UnindexedRow) -> int:
        """Add a message whose words were not made yet, or went with a segment of which something was erased: they are not kept on the way."""
        words = await self._words_of(row)
        if words is not None:
            with contextlib.suppress(SealBrokenError):
                merging.add(row, words, open_summary(self._owner, row))
        return row.number


async def open_unindexed(owner: Owner, row: UnindexedRow) -> OpenMessage:
    """Open a message of the tail as it is searched, with its real header; raises SealBrokenError, NotFoundError."""
    known = MessageRow(0, row.id, row.content, row.cover, row.prefix, row.summary, 0, 0.0, 0.0)
    return await OpenMessage(owner, known, utf8=True).open(owner)


def words_of(message: OpenMessage) -> Words:
    """Give the words of an open message; raises SealBrokenError."""
    summary = message.summary
    return join(summary_words(summary), header_words(message.header()), body_words(summary.root, message.read))
