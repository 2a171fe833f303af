# SPDX-License-Identifier: Apache-2.0
"""UIDs, flags, keywords and modseqs of a mailbox as arrays, shared by all sessions of a process that look at it.

Obeys RFC 3501 §2.3 (message attributes), RFC 7162 §3.1 (modification sequences).
Must never know what a session was told; it is a copy of the store's rows and may be dropped at any time.
"""

from __future__ import annotations

import asyncio
from array import array
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Sequence
from itertools import compress
from typing import Final

from moatmail.core.limits.mailbox import CHANGES, KEYWORD_SETS, VIEW_PAGE, VIEW_UNUSED_SECONDS, VIEWS_KEPT
from moatmail.core.ports.clock import Clock
from moatmail.mailbox.changes import Changes, Since, fetch_changes
from moatmail.mailbox.search_columns import flag_octets
from moatmail.store.column_items import ColumnsPage, ListColumns
from moatmail.store.interface import Store
from moatmail.store.operations import PlacementRow
from moatmail.store.queries import GetMailbox, MailboxRow

DELETED: Final = 4
SEEN: Final = 8
_IS_SEEN: Final = bytes(bool(bits & SEEN) for bits in range(256))
_IS_DELETED: Final = bytes(bool(bits & DELETED) for bits in range(256))


class View:
    """The arrays of one mailbox: equal places belong to one message, UIDs rise. Hold none of them over an `await`: `refresh` changes them."""

    def __init__(self, account: int, row: MailboxRow) -> None:
        self.account = account
        self.mailbox = row.id
        self.uids = array("I")
        self.flags = array("H")
        self.modseqs = array("Q")
        self.keywords: dict[int, tuple[bytes, ...]] = {}
        self.spellings: dict[bytes, bytes] = {}
        """Each keyword in use: small letters -> as it is written (RFC 3501 §2.3.2: compared without regard to case)."""
        self._sets: dict[tuple[str, ...], tuple[bytes, ...]] = {}
        self.modseq = row.highestmodseq
        self.uidnext = row.uidnext
        self.vanished_at = row.highestmodseq
        """The modseq at which a message went last; who was told of everything up to it has the same places as we."""
        self.used = 0.0
        self.lock = asyncio.Lock()

    # ---- filling ----

    def load(self, page: ColumnsPage) -> int:
        """Take the next placements, by rising UID, above all known; gives how many there were."""
        known = len(self.uids)
        self.uids.frombytes(page.uids)
        self.flags.frombytes(page.flags)
        self.modseqs.frombytes(page.modseqs)
        for uid, words in page.keywords:
            self._set_keywords(uid, words)
        return len(self.uids) - known

    def extend(self, rows: Sequence[PlacementRow]) -> None:
        """Take the next rows, by rising UID, above all known."""
        self.uids.extend([row.uid for row in rows])
        self.flags.extend([row.flags for row in rows])
        self.modseqs.extend([row.modseq for row in rows])
        for row in rows:
            if row.keywords:
                self._set_keywords(row.uid, row.keywords)

    async def apply(self, changes: Changes, pause: Callable[[], Awaitable[None]]) -> None:
        """Bring the arrays up to date; whoever looks in a `pause` finds equal places belonging to one message, some of them newer than others."""
        if changes.vanished:
            await self._remove(changes.vanished, pause)
            self.vanished_at = changes.modseq
        rows = changes.rows
        for start in range(0, len(rows), CHANGES):
            self._apply(rows[start : start + CHANGES])
            if start + CHANGES < len(rows):
                await pause()
        self.modseq, self.uidnext = changes.modseq, changes.uidnext

    def _apply(self, rows: Sequence[PlacementRow]) -> None:
        new: list[PlacementRow] = []
        beyond = self.uids[-1] if self.uids else 0
        for row in rows:
            if row.uid > beyond:
                new.append(row)
                continue
            place = bisect_left(self.uids, row.uid)
            if self.uids[place] == row.uid:
                self.flags[place] = row.flags
                self.modseqs[place] = row.modseq
                if row.keywords or row.uid in self.keywords:
                    self._set_keywords(row.uid, row.keywords)
            else:
                self._insert(place, row)
        self.extend(new)

    def _insert(self, place: int, row: PlacementRow) -> None:
        """Take a row that came late: only while the view is being filled, before anybody sees it."""
        self.uids.insert(place, row.uid)
        self.flags.insert(place, row.flags)
        self.modseqs.insert(place, row.modseq)
        self._set_keywords(row.uid, row.keywords)

    def _set_keywords(self, uid: int, keywords: Sequence[str]) -> None:
        if not keywords:
            self.keywords.pop(uid, None)
            return
        # Few sets of keywords are many messages': they are held once.
        words = self._sets.get(key := tuple(keywords))
        if words is None:
            if len(self._sets) > 2 * len(self.keywords) + KEYWORD_SETS:
                self._sets.clear()  # those of before
            words = self._sets[key] = tuple([word.encode() for word in keywords])
            for word in words:
                self.spellings.setdefault(word.lower(), word)
        self.keywords[uid] = words

    async def _remove(self, vanished: Sequence[int], pause: Callable[[], Awaitable[None]]) -> None:
        """Take away UIDs; the arrays stay whole until their successors are."""
        # One octet a message says who stays: taking out what goes is then one pass in C for each column.
        kept = bytearray(b"\1") * len(self.uids)
        for start in range(0, len(vanished), CHANGES):
            for uid in vanished[start : start + CHANGES]:
                place = self.place(uid)
                if place >= 0:
                    kept[place] = 0
                    self.keywords.pop(uid, None)
            if start + CHANGES < len(vanished):
                await pause()
        if all(kept):
            return
        columns = []
        for column in (self.uids, self.flags, self.modseqs):
            columns.append(array(column.typecode, compress(column, kept)))
            if len(column) > CHANGES:
                await pause()
        self.uids, self.flags, self.modseqs = columns

    # ---- looking ----

    def place(self, uid: int) -> int:
        """Give the place of a UID, -1 where it is not (any more)."""
        place = bisect_left(self.uids, uid)
        return place if place < len(self.uids) and self.uids[place] == uid else -1

    def first_unseen(self) -> int:
        r"""Give the number of the first message without ``\Seen``, 0 for none."""
        return flag_octets(self.flags).translate(_IS_SEEN).find(0) + 1

    def deleted(self) -> list[int]:
        r"""Give the UIDs of the messages with ``\Deleted``."""
        return list(compress(self.uids, flag_octets(self.flags).translate(_IS_DELETED)))


async def _pause() -> None:
    await asyncio.sleep(0)


class Views:
    """The views of one account in this process; `sweep` drops those that nobody used for a while."""

    def __init__(self, store: Store, account: int, clock: Clock) -> None:
        self._store = store
        self._account = account
        self._clock = clock
        self._views: dict[int, View] = {}
        self._loading = asyncio.Lock()

    async def current(self, mailbox: int) -> View | None:
        """Give the view as of now, loaded if need be; None when the mailbox is gone."""
        view = self._views.get(mailbox)
        if view is None:
            async with self._loading:
                view = self._views.get(mailbox) or await self._load(mailbox)
            if view is None:
                return None
        view.used = self._clock.monotonic()
        return view if await self._refresh(view) else None

    async def _load(self, mailbox: int) -> View | None:
        row = await self._store.read(GetMailbox(self._account, mailbox))
        if row is None:
            return None
        view = View(self._account, row)
        while True:
            page = await self._store.read(ListColumns(self._account, mailbox, view.uids[-1] if view.uids else 0, VIEW_PAGE))
            if view.load(page) < VIEW_PAGE:
                break
            await asyncio.sleep(0)
        # Pages were read one after another: all that changed meanwhile has a modseq above the one we began with.
        if not await self._refresh(view):
            return None
        self._views[mailbox] = view
        return view

    async def _refresh(self, view: View) -> bool:
        async with view.lock:
            changes = await fetch_changes(self._store, Since(self._account, view.mailbox, view.modseq, view.uidnext, lambda: view.uids))
            if changes is None:
                self._views.pop(view.mailbox, None)
                return False
            if changes.modseq != view.modseq:
                await view.apply(changes, _pause)
            return True

    def sweep(self) -> None:
        """Drop views unused for VIEW_UNUSED_SECONDS."""
        limit = self._clock.monotonic() - VIEW_UNUSED_SECONDS
        for mailbox in [mailbox for mailbox, view in self._views.items() if view.used < limit]:
            del self._views[mailbox]

    @property
    def messages(self) -> int:
        """Give how many messages all views have."""
        return sum([len(view.uids) for view in self._views.values()])

    def has(self, mailbox: int) -> bool:
        """Tell whether a view is here."""
        return mailbox in self._views

    def __len__(self) -> int:
        return len(self._views)


class KeptViews:
    """Views of accounts whose last session has ended, for the next one: a client that comes back within a minute loads nothing again.

    They hold numbers, flags and keywords, nothing that needs an account's keys; whoever takes them brings them up to date as always.
    """

    def __init__(self, messages: int = VIEWS_KEPT) -> None:
        """Keep views of at most so many messages; those kept first go first."""
        self._room = messages
        self._messages = 0
        self._kept: dict[int, tuple[Views, int]] = {}

    def keep(self, account: int, views: Views) -> None:
        """Keep an account's views."""
        self.take(account)
        messages = views.messages
        self._kept[account] = views, messages
        self._messages += messages
        while self._messages > self._room:
            self.take(next(iter(self._kept)))

    def take(self, account: int) -> Views | None:
        """Give an account's views, and keep them no more."""
        views, messages = self._kept.pop(account, (None, 0))
        self._messages -= messages
        return views

    def sweep(self) -> None:
        """Drop what was unused for VIEW_UNUSED_SECONDS."""
        for account, (views, _messages) in tuple(self._kept.items()):
            views.sweep()
            if not len(views):
                self.take(account)

    def __len__(self) -> int:
        return len(self._kept)
