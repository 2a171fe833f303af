# SPDX-License-Identifier: Apache-2.0
"""The arguments of NOTIFY.

Obeys RFC 5465 §3.1, §5, §6.1 and §8.
Must never know which mailboxes exist.
"""

from __future__ import annotations

from typing import Final

from moatmail.core.limits import imap as limits
from moatmail.core.mailbox_name import canonical
from moatmail.wire.imap import fetch_grammar
from moatmail.wire.imap.events import Notify
from moatmail.wire.imap.fetch import FetchItem
from moatmail.wire.imap.grammar import CommandRefusedError, Cursor, fail
from moatmail.wire.imap.mailbox_name import read_name
from moatmail.wire.imap.notify import ABOUT_SELECTED, BAD_EVENT, MESSAGE_EVENTS, OVERFLOW, EventGroup, NotifyEvent, Scope

_SCOPES: Final = {scope.value: scope for scope in Scope}
_NAMED: Final = frozenset((Scope.SUBTREE, Scope.MAILBOXES))
_EVENTS: Final = {event.value.upper(): event for event in NotifyEvent}
_BOTH: Final = frozenset((NotifyEvent.MESSAGE_NEW, NotifyEvent.MESSAGE_EXPUNGE))


def notify(cursor: Cursor, tag: bytes) -> Notify:
    """Take ``NONE``, or ``SET`` with event groups; raises CommandRefusedError for events we do not have and for more groups than we keep."""
    form = cursor.word(b"SET or NONE")
    if form == b"NONE":
        return Notify(tag, ())
    if form != b"SET":
        fail(b"expected SET or NONE")
    cursor.space(b"event groups")
    status = not cursor.at(b"(")
    if status:
        if cursor.word(b"STATUS or an event group") != b"STATUS":
            fail(b"expected STATUS or an event group")
        cursor.space(b"event groups")
    parser = _Groups(cursor)
    parser.read()
    return Notify(tag, tuple(parser.groups), status)


class _Groups:
    """Reads event groups; what the grammar allows but we do not do is refused at the end, for BAD goes before NO."""

    def __init__(self, cursor: Cursor) -> None:
        self._cursor = cursor
        self._names = 0
        self._unsupported = False
        self.groups: list[EventGroup] = []

    def read(self) -> None:
        """Read all groups."""
        self._group()
        while self._cursor.take(b" "):
            self._group()
        if sum(group.scope in ABOUT_SELECTED for group in self.groups) > 1:
            fail(b"the selected mailbox has one event group")  # RFC 5465 §6.1
        if self._unsupported:
            raise CommandRefusedError(b"there are no such events here", BAD_EVENT)  # RFC 5465 §3.1: NO, not BAD
        if len(self.groups) > limits.NOTIFY_GROUPS or self._names > limits.NOTIFY_NAMES:
            raise CommandRefusedError(b"too many event groups or mailbox names", OVERFLOW)

    def _group(self) -> None:
        cursor = self._cursor
        cursor.expect(b"(", b"before an event group")
        scope = _SCOPES.get(cursor.word(b"which mailboxes"))
        if scope is None:
            fail(b"unknown kind of mailboxes")
        cursor.space(b"events")
        names: frozenset[str] = frozenset()
        if scope in _NAMED:
            names = self._mailboxes()
            cursor.space(b"events")
        events, items = self._events(scope)
        cursor.expect(b")", b"after an event group")
        self.groups.append(EventGroup(scope, events, names, items))

    def _mailboxes(self) -> frozenset[str]:
        """Take one name or a list; one that no mailbox can have is passed over as one that none has (RFC 5465 §3.1). No wildcards (§6.6)."""
        cursor = self._cursor
        names: set[str] = set()
        several = cursor.take(b"(")
        while True:
            name = read_name(cursor.astring(b"a mailbox name"), utf8=cursor.utf8)
            if name is not None:
                names.add(canonical(name))
            self._names += 1
            if not several or cursor.take(b")"):
                return frozenset(names)
            cursor.space(b"a mailbox name")

    def _events(self, scope: Scope) -> tuple[frozenset[NotifyEvent], tuple[FetchItem, ...]]:
        cursor = self._cursor
        if not cursor.take(b"("):
            if cursor.word(b"events or NONE") != b"NONE":
                fail(b"expected events in parentheses, or NONE")
            return frozenset(), ()
        named: set[bytes] = set()
        items: tuple[FetchItem, ...] = ()
        while True:
            name = cursor.word(b"an event")
            if name in named:
                fail(b"an event is named twice")
            named.add(name)
            if name == b"MESSAGENEW" and cursor.take(b" ("):
                cursor.position -= 1
                items = fetch_grammar.items(cursor)
            if cursor.take(b")"):
                return self._judge(scope, named, items), items
            cursor.space(b"an event")

    def _judge(self, scope: Scope, named: set[bytes], items: tuple[FetchItem, ...]) -> frozenset[NotifyEvent]:
        events = frozenset(_EVENTS[name] for name in named if name in _EVENTS)
        self._unsupported = self._unsupported or len(events) < len(named)
        if scope in ABOUT_SELECTED and not events <= MESSAGE_EVENTS:
            fail(b"the selected mailbox has message events only")  # RFC 5465 §6.1
        if items and scope not in ABOUT_SELECTED:
            fail(b"messages of the selected mailbox only can be fetched")  # RFC 5465 §8
        about = events & MESSAGE_EVENTS
        if (about or b"ANNOTATIONCHANGE" in named) and not about >= _BOTH:
            fail(b"MessageNew and MessageExpunge belong to each other, and to FlagChange")  # RFC 5465 §5
        return events
