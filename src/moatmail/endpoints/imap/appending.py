# SPDX-License-Identifier: Apache-2.0
"""A message of APPEND on its way in, and those before it in the same command.

Obeys RFC 3501 §6.3.11, RFC 3502 (several messages, all or none).
Must never know the session.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from moatmail.mailbox.incoming import Incoming
from moatmail.mailbox.newlines import Newlines
from moatmail.mailbox.uncommitted import Room
from moatmail.store.operations import Delivery, NewContent


@dataclass(frozen=True, slots=True)
class Sealed:
    """A message that came whole and waits for the rest of its command."""

    content: NewContent
    delivery: Delivery


@dataclass(slots=True)
class Appending:
    """What is known of it: where it goes, its flags, its date, its octets so far, since when (monotonic seconds)."""

    mailbox: int
    flags: int
    keywords: tuple[str, ...]
    received_at: float
    incoming: Incoming
    since: float
    room: Room
    """What this command announced so far, of all its messages."""
    lines: Newlines = field(default_factory=Newlines)
    binary: list[bytes] | None = None
    """What came of a message that may hold binary parts; it is looked through, and made one without, when it is whole."""
    sealed: list[Sealed] = field(default_factory=list)
    """The earlier messages of this command."""
    replaces: int = 0
    """The UID of the message of the selected mailbox that goes for it (RFC 8508); 0 for none."""
