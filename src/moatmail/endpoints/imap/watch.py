# SPDX-License-Identifier: Apache-2.0
"""What one session wants to be told unasked, and what of it is due: a bounded heap of names and numbers, however slow its client reads.

Obeys RFC 5465 §5 (events), §5.8 (overflow), §6 (which mailboxes a group means).
Must never know how a response is written, nor the store.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Final, TypeVar

from moatmail.core.limits.endpoints import NOTIFY_DUE, NOTIFY_OWN
from moatmail.core.limits.mailbox import LISTED
from moatmail.core.mailbox_name import canonical, superiors
from moatmail.mailbox.numbering import Span
from moatmail.mailbox.watching import Box, Watching
from moatmail.wire.imap.fetch import FetchItem
from moatmail.wire.imap.notify import ABOUT_SELECTED, MESSAGE_EVENTS, EventGroup, NotifyEvent, Scope

# RFC 5465 §6.3: where mail is delivered to; what is sure to be spam goes to Junk.
_INBOXES: Final = frozenset(("inbox", "junk"))
_NOTHING: Final = EventGroup(Scope.SELECTED, frozenset())
_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class Watch:
    """The wishes of the last NOTIFY; no groups are NOTIFY NONE. `wake` is called when something becomes due."""

    __slots__ = ("_own", "_own_names", "_wake", "boxes", "flags", "fresh", "groups", "immediate", "items", "messages", "names", "overflowed", "watching")

    def __init__(self, groups: Sequence[EventGroup], wake: Callable[[], None]) -> None:
        self.groups = tuple([group for group in groups if group.scope not in ABOUT_SELECTED])
        self._wake = wake
        # RFC 5465 §3.1: of the selected mailbox nothing is told where no group speaks of it.
        selected = next((group for group in groups if group.scope in ABOUT_SELECTED), _NOTHING)
        self.messages = NotifyEvent.MESSAGE_NEW in selected.events
        """Whether new and expunged messages of the selected mailbox are told."""
        self.flags = NotifyEvent.FLAG_CHANGE in selected.events
        self.immediate = selected.scope is Scope.SELECTED
        """Whether expunges are told between commands too (RFC 5465 §6.1.1)."""
        self.items: tuple[FetchItem, ...] = selected.items
        self.fresh: list[Span] = []
        """UIDs of new messages of the selected mailbox of which `items` are to be told."""
        self.watching: Watching | None = None
        self.boxes: dict[int, None] = {}
        """Mailboxes whose STATUS is due."""
        self.names: dict[str, str | None] = {}
        """Names that are to be told, with the old name of those renamed."""
        self.overflowed = False
        self._own: dict[int, Span] = {}
        self._own_names: tuple[str, ...] = ()

    @property
    def due(self) -> bool:
        """Tell whether there is something to be told."""
        return bool(self.boxes or self.names or self.fresh or self.overflowed)

    @property
    def wants_others(self) -> bool:
        """Tell whether any event of mailboxes by name is wanted."""
        return any(group.events for group in self.groups)

    # ---- judging ----

    def events(self, name: str, special_use: str | None, subscriptions: frozenset[str]) -> frozenset[NotifyEvent]:
        """Give the events wanted of a mailbox: those of all its groups, up to one that says ``NONE``."""
        wanted: frozenset[NotifyEvent] = frozenset()
        for group in self.groups:
            if _MATCHES[group.scope](group, name, special_use, subscriptions):
                if not group.events:
                    break
                wanted |= group.events
        return wanted

    def events_of(self, box: Box) -> frozenset[NotifyEvent]:
        """Give the events wanted of a mailbox that exists."""
        return self.events(box.name, box.special_use, self._subscriptions())

    def _subscriptions(self) -> frozenset[str]:
        return self.watching.subscriptions if self.watching is not None else frozenset()

    async def covered(self) -> list[Box]:
        """Give the mailboxes whose messages are watched."""
        boxes = tuple(self.watching.boxes.values()) if self.watching is not None else ()
        found: list[Box] = []
        for count, box in enumerate(boxes, 1):
            if self.events_of(box) & MESSAGE_EVENTS:
                found.append(box)
            if count % LISTED == 0:
                await asyncio.sleep(0)
        return found

    # ---- hearing (mailbox/watching.Watcher) ----

    def counted(self, before: Box, now: Box) -> None:
        """Take note that messages came, went or got other flags."""
        wanted = self.events_of(now) & MESSAGE_EVENTS
        if not wanted or self._is_own(before, now):
            return
        moved = (before.uidvalidity, before.uidnext, before.messages) != (now.uidvalidity, now.uidnext, now.messages)
        if moved or NotifyEvent.FLAG_CHANGE in wanted:
            self._owe(self.boxes, now.number, None)

    def named(self, box: Box, old: str | None) -> None:
        """Take note that a mailbox was made or deleted, or renamed from `old`."""
        wanted = self.events_of(box)
        if old is not None:
            wanted |= self.events(old, box.special_use, self._subscriptions())
        if NotifyEvent.MAILBOX_NAME in wanted and not self._is_own_name(box.name):
            self._owe(self.names, box.name, old or self.names.get(box.name))

    def subscribed(self, name: str) -> None:
        """Take note that a name was subscribed or unsubscribed."""
        # A subscription that went is as much news to who watches the subscribed ones as one that came.
        wanted = self.events(name, None, self._subscriptions() | {name})
        if NotifyEvent.SUBSCRIPTION_CHANGE in wanted and not self._is_own_name(name):
            self._owe(self.names, name, self.names.get(name))

    def lost(self) -> None:
        """Take note that nothing more is told."""
        self.overflowed = True
        self.boxes.clear()
        self.names.clear()
        self._wake()

    def _owe(self, heap: dict[_Key, _Value], key: _Key, value: _Value) -> None:
        if self.overflowed:
            return
        heap[key] = value
        if len(heap) > NOTIFY_DUE:
            self.lost()
        self._wake()

    # ---- what this session did itself is no news to it (RFC 5465 §5) ----

    def did(self, mailbox: int, first: int, last: int) -> None:
        """Take note that the modseqs `first` to `last` of a mailbox are the session's own doing."""
        low, high = self._own.pop(mailbox, (first, first - 1))
        if len(self._own) >= NOTIFY_OWN:
            self._own.clear()
        self._own[mailbox] = (low if high == first - 1 else first, last)

    def _is_own(self, before: Box, now: Box) -> bool:
        first, last = self._own.pop(now.number, (0, 0))
        return bool(first) and first <= before.modseq + 1 and now.modseq <= last

    def begin_own(self, *names: str) -> None:
        """Take note that what happens to these names, above and below them, is the session's own doing until `end_own`."""
        self._own_names = names

    def end_own(self) -> None:
        """Take note that it is done."""
        self._own_names = ()

    def _is_own_name(self, name: str) -> bool:
        return any(name == own or own in superiors(name) or name in superiors(own) for own in self._own_names)

    # ---- the selected mailbox ----

    def arrived(self, uids: Iterable[int]) -> None:
        """Take note of new messages of which `items` are to be told."""
        for uid in uids:
            if self.fresh and self.fresh[-1][1] == uid - 1:
                self.fresh[-1] = (self.fresh[-1][0], uid)
            else:
                self.fresh.append((uid, uid))


@asynccontextmanager
async def own_names(wishes: Watch | None, *names: str) -> AsyncIterator[None]:
    """Spare a session the news of what it does to these names itself (RFC 5465 §5)."""
    watching = wishes.watching if wishes is not None else None
    if wishes is None or watching is None:
        yield
        return
    await watching.refresh()  # what others did before is told
    wishes.begin_own(*names)
    try:
        yield
        watching.look()
        await watching.refresh()
    finally:
        wishes.end_own()


_Matcher = Callable[[EventGroup, str, "str | None", frozenset[str]], bool]


def _in_subtree(group: EventGroup, name: str, _special_use: str | None, _subscriptions: frozenset[str]) -> bool:
    name = canonical(name)
    return name in group.names or any(superior in group.names for superior in superiors(name))


_MATCHES: Final[dict[Scope, _Matcher]] = {
    Scope.PERSONAL: lambda _group, _name, _use, _subscriptions: True,
    Scope.INBOXES: lambda _group, _name, use, _subscriptions: use in _INBOXES,
    Scope.SUBSCRIBED: lambda _group, name, _use, subscriptions: name in subscriptions,
    Scope.SUBTREE: _in_subtree,
    Scope.MAILBOXES: lambda group, name, _use, _subscriptions: canonical(name) in group.names,
}
