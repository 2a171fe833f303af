# SPDX-License-Identifier: Apache-2.0
"""What a client wants to be told unasked (NOTIFY): event groups.

Obeys RFC 5465 §5, §6 and §8.
Must never know which mailboxes exist, nor what happened.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from moatmail.wire.imap.fetch import FetchItem


class Scope(Enum):
    """Which mailboxes an event group speaks of (RFC 5465 §6); the value is the name on the wire."""

    SELECTED = b"SELECTED"
    SELECTED_DELAYED = b"SELECTED-DELAYED"
    INBOXES = b"INBOXES"
    PERSONAL = b"PERSONAL"
    SUBSCRIBED = b"SUBSCRIBED"
    SUBTREE = b"SUBTREE"
    MAILBOXES = b"MAILBOXES"


class NotifyEvent(Enum):
    """What can be told (RFC 5465 §5); the value is the name on the wire. No annotations, no metadata: we keep none."""

    MESSAGE_NEW = b"MessageNew"
    MESSAGE_EXPUNGE = b"MessageExpunge"
    FLAG_CHANGE = b"FlagChange"
    MAILBOX_NAME = b"MailboxName"
    SUBSCRIPTION_CHANGE = b"SubscriptionChange"


MESSAGE_EVENTS: Final = frozenset((NotifyEvent.MESSAGE_NEW, NotifyEvent.MESSAGE_EXPUNGE, NotifyEvent.FLAG_CHANGE))
ABOUT_SELECTED: Final = frozenset((Scope.SELECTED, Scope.SELECTED_DELAYED))
# RFC 5465 §3.1: who asks for an event we do not have is told all those we have.
BAD_EVENT: Final = b"BADEVENT (%b)" % b" ".join(event.value for event in NotifyEvent)
OVERFLOW: Final = b"NOTIFICATIONOVERFLOW"


@dataclass(frozen=True, slots=True)
class EventGroup:
    """Events of some mailboxes; none for ``NONE``. `names` belong to SUBTREE and MAILBOXES; `items`: to be told of each new message (RFC 5465 §5.2)."""

    scope: Scope
    events: frozenset[NotifyEvent]
    names: frozenset[str] = frozenset()
    items: tuple[FetchItem, ...] = ()
