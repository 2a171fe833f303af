# SPDX-License-Identifier: Apache-2.0
"""What a search reads: the pages of one mailbox, messages opened with their owner's keys.

Obeys RFC 3501 §6.4.4 through `search`.
Must never know what is looked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from msgspec.structs import replace

from moatmail.core.errors import NotFoundError
from moatmail.core.events import Event
from moatmail.core.limits import mailbox as limits
from moatmail.core.ports.event_sink import EventSink
from moatmail.mailbox.criteria import Criterion
from moatmail.mailbox.index.evaluate import Evaluation, leaves
from moatmail.mailbox.known import Known
from moatmail.mailbox.opened import Opened
from moatmail.mailbox.reading import OpenMessage, fetch_rows
from moatmail.mailbox.search_columns import Settled
from moatmail.mailbox.unsealing import open_summary
from moatmail.message.summary import Summary, for_utf8
from moatmail.store.index_items import RealSizes
from moatmail.store.queries import MessageRow, MessageSizes


class MailboxReader:
    """Reads one mailbox of an open account, for one search at a time; a message under examination is opened once.

    Whoever asks, the real header is searched and sorted by, never the surrogate of an internationalized one. A size is that which the asker
    is told: with `utf8` that of the real message.
    """

    def __init__(self, opened: Opened, mailbox: int, events: EventSink, *, utf8: bool = False) -> None:
        self._opened = opened
        self._mailbox = mailbox
        self._events = events
        self._known: dict[int, Known] = {}
        self._gone: set[int] = set()
        self._real: dict[int, int] | None = None if utf8 else {}

    async def _real_sizes(self) -> dict[int, int]:
        """Give the sizes that are told in another way than rows have them: few, or none."""
        if self._real is None:
            real: dict[int, int] = {}
            while page := await self._opened.store.read(RealSizes(self._opened.id, self._mailbox, max(real, default=0))):
                real.update(page)
                await asyncio.sleep(0)  # a page is a slice of work; others have their turn
            self._real = real
        return self._real

    async def _told(self, rows: Iterable[MessageRow]) -> list[MessageRow]:
        real = await self._real_sizes()
        if not real:
            return list(rows)
        return [replace(row, size=real[row.uid]) if row.uid in real else row for row in rows]

    async def sizes(self, after: int) -> Sequence[tuple[int, int, float, float]]:
        """Give (uid, size, received_at, saved_at) of the next messages after a UID, at most a page."""
        page = await self._opened.store.read(MessageSizes(self._opened.id, self._mailbox, after, limits.PAGE))
        real = await self._real_sizes()
        return [(uid, real.get(uid, size), received_at, saved_at) for uid, size, received_at, saved_at in page] if real else page

    async def rows(self, uids: Sequence[int]) -> Sequence[MessageRow]:
        """Give rows with prefix and summary; one that is gone may be among them for as long as its content is not asked for."""
        self._known = await self._opened.known.find(self._mailbox, uids)
        return await self._told([known.row for known in self._known.values()])

    async def summaries(self, uids: Sequence[int]) -> Sequence[MessageRow]:
        """Give rows with summary only, of those that still are there."""
        self._known = {}
        return await self._told((await fetch_rows(self._opened, self._mailbox, uids, summary=True)).values())

    def summary(self, row: MessageRow) -> Summary:
        """Open a summary; raises SealBrokenError."""
        known = self._known.get(row.uid)
        if known is not None:
            return for_utf8(known.summary(self._opened.keys, self._opened.id))
        return for_utf8(open_summary(self._opened.keys, self._opened.id, row))

    async def content(self, row: MessageRow) -> OpenMessage:
        """Open a content; raises SealBrokenError, NotFoundError."""
        try:
            known = self._known.get(row.uid)
            return await OpenMessage(self._opened, row, None if known is None else known.opened, utf8=True).open(self._opened)
        except NotFoundError:
            if not await fetch_rows(self._opened, self._mailbox, (row.uid,)):
                self._gone.add(row.uid)  # erased since its row was read
            raise

    async def settle(
        self, criterion: Criterion, uids: Sequence[int], places: Sequence[int], pause: Callable[[], Awaitable[None]]
    ) -> Mapping[Criterion, Settled]:
        """Ask the account's index, where enough messages are open."""
        if len(places) < limits.INDEX_WORTH:
            return {}
        # Segments keep the sizes of rows.
        asked = leaves(criterion, facts=len(places) > limits.FACTS_WORTH and not await self._real_sizes())
        return await Evaluation(self._opened.index, self._mailbox, uids, pause).settle(asked, places)

    def tell_broken(self, row: MessageRow, error: Exception) -> None:
        """Hear of a message that cannot be read: somebody should look."""
        if row.uid in self._gone:
            return
        text = f"a message of account {self._opened.id} did not open in a search: {error}"
        self._events.emit(Event.of("seal.broken", text, alert=True, account=self._opened.id, mailbox=self._mailbox, uid=row.uid))
