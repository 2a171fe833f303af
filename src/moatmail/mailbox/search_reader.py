# SPDX-License-Identifier: Apache-2.0
"""What a search reads: the pages of one mailbox, messages opened with their owner's keys.

Obeys RFC 3501 §6.4.4 through `search`.
Must never know what is looked for.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from moatmail.core.events import Event
from moatmail.core.limits import mailbox as limits
from moatmail.core.ports.event_sink import EventSink
from moatmail.mailbox.criteria import Criterion
from moatmail.mailbox.index.evaluate import Evaluation, leaves
from moatmail.mailbox.opened import Opened
from moatmail.mailbox.reading import OpenMessage, fetch_rows
from moatmail.mailbox.search_columns import Settled
from moatmail.message.summary import Summary
from moatmail.store.queries import MessageRow, MessageSizes


class MailboxReader:
    """Reads one mailbox of an open account, for one search at a time; a message under examination is opened once."""

    def __init__(self, opened: Opened, mailbox: int, events: EventSink) -> None:
        self._opened = opened
        self._mailbox = mailbox
        self._events = events
        self._message: OpenMessage | None = None

    async def sizes(self, after: int) -> Sequence[tuple[int, int, float]]:
        """Give (uid, size, received_at) of the next messages after a UID, at most a page."""
        page = await self._opened.store.read(MessageSizes(self._opened.id, self._mailbox, after, limits.PAGE))
        return [(uid, size, received_at) for uid, size, received_at, _saved_at in page]

    async def rows(self, uids: Sequence[int]) -> Sequence[MessageRow]:
        """Give rows with prefix and summary, of those that still are there."""
        return tuple((await fetch_rows(self._opened, self._mailbox, uids, prefix=True, summary=True)).values())

    async def summaries(self, uids: Sequence[int]) -> Sequence[MessageRow]:
        """Give rows with summary only, of those that still are there."""
        return tuple((await fetch_rows(self._opened, self._mailbox, uids, summary=True)).values())

    def summary(self, row: MessageRow) -> Summary:
        """Open a summary; raises SealBrokenError."""
        self._message = OpenMessage(self._opened, row)
        return self._message.summary

    async def content(self, row: MessageRow) -> OpenMessage:
        """Open a content; raises SealBrokenError, NotFoundError."""
        message = self._message
        if message is None or message.row is not row:
            message = self._message = OpenMessage(self._opened, row)
        return await message.open(self._opened)

    async def settle(
        self, criterion: Criterion, uids: Sequence[int], places: Sequence[int], pause: Callable[[], Awaitable[None]]
    ) -> Mapping[Criterion, Settled]:
        """Ask the account's index, where enough messages are open."""
        if len(places) < limits.INDEX_WORTH:
            return {}
        return await Evaluation(self._opened.index, self._mailbox, uids, pause).settle(leaves(criterion), places)

    def tell_broken(self, row: MessageRow, error: Exception) -> None:
        """Hear of a message that cannot be read: somebody should look."""
        text = f"a message of account {self._opened.id} did not open in a search: {error}"
        self._events.emit(Event.of("seal.broken", text, alert=True, account=self._opened.id, mailbox=self._mailbox, uid=row.uid))
