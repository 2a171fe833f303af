# SPDX-License-Identifier: Apache-2.0
"""All mailboxes of an account as they were last seen, for those who want to hear of each that changes, appears, goes or gets another name.

Obeys RFC 5465 §5 (what is an event), §5.8 (who asks for too much is told so).
Must never know a protocol, nor who wants to hear what: watchers judge for themselves.

One list for all sessions of the account in this process. A hint costs one row read; names cost a listing. A hint that was lost heals: every
HEAL_SECONDS (longer where there are more mailboxes than a page) the account is listed and compared.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

import msgspec

from moatmail.core.errors import MoatmailError, PermanentError
from moatmail.core.limits.mailbox import GATHER_SECONDS, HEAL_SECONDS, LISTED, PAGE, WAKE_SLICE, WATCHED_MAILBOXES
from moatmail.core.mailbox_name import superiors
from moatmail.core.ports.clock import Clock
from moatmail.mailbox.changes import Listeners
from moatmail.mailbox.mailboxes import Mailboxes, list_mailboxes
from moatmail.mailbox.opened import Opened
from moatmail.store.queries import GetMailbox, MailboxRow


class TooMuchWatchedError(PermanentError):
    """This process watches as many mailboxes as it may."""

    public = "too many mailboxes are watched"


class Box(msgspec.Struct, frozen=True, gc=False):
    """What is compared of a mailbox; nothing for the collector of circles to look at, for there are thousands."""

    number: int
    name: str
    special_use: str | None
    uidvalidity: int
    uidnext: int
    modseq: int
    messages: int
    unseen: int

    @classmethod
    def of(cls, row: MailboxRow, name: str) -> Box:
        """Take what is compared out of a row."""
        return cls(row.id, name, row.special_use, row.uidvalidity, row.uidnext, row.highestmodseq, row.messages, row.unseen)


class Watcher(Protocol):
    """Who wants to hear; no call may block."""

    def counted(self, before: Box, now: Box) -> None:
        """Take note that messages came, went or got other flags."""

    def named(self, box: Box, old: str | None) -> None:
        """Take note that a mailbox was made or deleted, or renamed from `old`."""

    def subscribed(self, name: str) -> None:
        """Take note that a name was subscribed or unsubscribed."""

    def lost(self) -> None:
        """Take note that nothing more is told: too much is watched."""


class Watching:
    """The mailboxes of one account, compared when somebody says that something changed."""

    def __init__(self, opened: Opened, listeners: Listeners, clock: Clock) -> None:
        self._opened = opened
        self._listeners = listeners
        self._clock = clock
        self._watchers: dict[Watcher, None] = {}
        self.boxes: dict[int, Box] = {}
        """By number."""
        self.subscriptions: frozenset[str] = frozenset()
        self._numbers: dict[str, int] = {}
        self._parents: frozenset[str] | None = None
        self._due: set[int] = set()
        self._names_due = True
        self._listed_at: float | None = None
        self._lock = asyncio.Lock()
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    # ---- who watches ----

    async def add(self, watcher: Watcher) -> None:
        """Tell `watcher` from now on; raises TooMuchWatchedError, and what the store raises."""
        self._watchers[watcher] = None
        try:
            async with self._lock:
                if self._names_due:
                    await self._relist()
        except BaseException:
            self.remove(watcher)
            raise

    def remove(self, watcher: Watcher) -> None:
        """Tell it no more; with the last one everything is forgotten."""
        self._watchers.pop(watcher, None)
        if self._watchers:
            return
        self._listeners.unwatch(self, self.boxes)
        self._listeners.forget(self._opened.id, self)
        if self._opened.watching is self:
            self._opened.watching = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._task is not None:
            self._task.cancel()

    # ---- looking ----

    def find(self, name: str) -> Box | None:
        """Give the mailbox of a name."""
        number = self._numbers.get(name)
        return None if number is None else self.boxes.get(number)

    def has_children(self, name: str) -> bool:
        """Tell whether mailboxes lie below a name."""
        if self._parents is None:
            self._parents = frozenset(superior for box in self.boxes.values() for superior in superiors(box.name))
        return name in self._parents

    # ---- hints ----

    def hint(self, mailbox: int) -> None:
        """Take note that something in a mailbox changed."""
        self._due.add(mailbox)
        self._schedule(GATHER_SECONDS)

    def look(self, delay: float = GATHER_SECONDS) -> None:
        """Take note that names or subscriptions changed, or that hints were lost."""
        self._names_due = True
        self._schedule(delay)

    def heal(self) -> None:
        """Look anew when that was long ago: as much longer as there are more mailboxes than a page, so that it costs the same."""
        if self._listed_at is not None and self._clock.monotonic() - self._listed_at >= HEAL_SECONDS * (1 + len(self.boxes) // PAGE):
            self.look()

    def _schedule(self, delay: float) -> None:
        # RFC 5465 §9: many changes at once are one notification; so a burst wakes a sleeping telephone once.
        if self._timer is None and self._watchers:
            self._timer = asyncio.get_running_loop().call_later(delay, self._begin)

    def _begin(self) -> None:
        self._timer = None
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self.refresh())
        else:
            self._schedule(GATHER_SECONDS)

    async def refresh(self) -> None:
        """Compare what hints named with the store, now; what cannot be compared for a moment is compared later."""
        try:
            await self._refresh()
        except TooMuchWatchedError:
            self._end()
        except MoatmailError:
            self._names_due = True  # the store is away for a moment; the next hint or the healing look tells what was missed
        except Exception:
            self._end()
            raise

    def _end(self) -> None:
        for watcher in tuple(self._watchers):
            watcher.lost()

    # ---- comparing ----

    async def _refresh(self) -> None:
        async with self._lock:
            while self._names_due or self._due:
                await (self._relist() if self._names_due else self._recount())

    async def _recount(self) -> None:
        due, self._due = self._due, set()
        for count, number in enumerate(due, 1):
            before = self.boxes.get(number)
            if before is None:
                continue
            row = await self._opened.store.read(GetMailbox(self._opened.id, number))
            if row is None:
                self._names_due = True  # it is gone: of that tells the list
                continue
            now = Box.of(row, before.name)
            self.boxes[number] = now
            self._compare(before, now)
            if count % WAKE_SLICE == 0:
                await asyncio.sleep(0)

    def _compare(self, before: Box, now: Box) -> None:
        if now.modseq != before.modseq or now.uidvalidity != before.uidvalidity:
            for watcher in tuple(self._watchers):
                watcher.counted(before, now)

    async def _relist(self) -> None:
        self._names_due = False
        self._due.clear()
        try:
            listed = await list_mailboxes(self._opened)
        except BaseException:
            self._names_due = True
            raise
        first = self._listed_at is None
        self._listed_at = self._clock.monotonic()
        before, subscribed_before = self.boxes, self.subscriptions
        now: dict[int, Box] = {}
        for count, (name, row) in enumerate(listed.by_name.items(), 1):
            now[row.id] = Box.of(row, name)
            if count % LISTED == 0:
                await asyncio.sleep(0)
        self._listen(before, now)
        self._take(listed, now)
        if not first:
            await self._compare_lists(before, subscribed_before)

    async def _compare_lists(self, before: dict[int, Box], subscribed_before: frozenset[str]) -> None:
        for box in [box for number, box in before.items() if number not in self.boxes]:
            self._tell_named(box, None)
        for count, (number, box) in enumerate(tuple(self.boxes.items()), 1):
            old = before.get(number)
            if old is None:
                self._tell_named(box, None)
                old = msgspec.structs.replace(box, uidnext=1, modseq=1, messages=0, unseen=0)
            elif old.name != box.name:
                self._tell_named(box, old.name)
            self._compare(old, box)
            if count % LISTED == 0:
                await asyncio.sleep(0)
        for name in subscribed_before ^ self.subscriptions:
            for watcher in tuple(self._watchers):
                watcher.subscribed(name)

    def _listen(self, before: dict[int, Box], now: dict[int, Box]) -> None:
        """Hear of what is in the list and of nothing else; raises TooMuchWatchedError."""
        new = now.keys() - before.keys()
        if self._listeners.watched + len(new) > WATCHED_MAILBOXES:
            raise TooMuchWatchedError
        self._listeners.unwatch(self, before.keys() - now.keys())
        self._listeners.watch(self._opened.id, self, new)

    def _take(self, listed: Mailboxes, now: dict[int, Box]) -> None:
        self.boxes = now
        self._numbers = {name: row.id for name, row in listed.by_name.items()}
        self._parents = None
        self.subscriptions = listed.subscribed

    def _tell_named(self, box: Box, old: str | None) -> None:
        for watcher in tuple(self._watchers):
            watcher.named(box, old)


async def watch(opened: Opened, listeners: Listeners, clock: Clock, watcher: Watcher) -> Watching:
    """Let `watcher` hear of the account's mailboxes; `Watching.remove` it once. Raises TooMuchWatchedError."""
    watching = opened.watching
    if watching is None:
        watching = opened.watching = Watching(opened, listeners, clock)
    await watching.add(watcher)
    return watching
