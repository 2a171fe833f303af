# SPDX-License-Identifier: Apache-2.0
r"""INBOX as POP3 sees it: what lay there at login, numbered once, and what shall go at the end.

Obeys RFC 1939 §4 (message numbers, sizes), §6 (removed at the end or not at all), §7 (unique-ids).
Must never know a session; it changes no flag but ``\Deleted``, of what it removes.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Iterator

from moatmail.core.errors import NotFoundError
from moatmail.core.limits.mailbox import PAGE
from moatmail.mailbox import mailboxes, placements
from moatmail.mailbox.opened import Opened
from moatmail.mailbox.placements import FlagChange
from moatmail.mailbox.reading import OpenMessage, fetch_rows
from moatmail.mailbox.view import DELETED
from moatmail.store.queries import MessageSizes


class NoSuchMessageError(NotFoundError):
    """No message has this number, or it was marked for removal."""

    public = "no such message"


class Maildrop:
    """A snapshot: 13 octets a message. Numbers begin with 1 and keep their meaning whatever others do to the mailbox meanwhile."""

    def __init__(self, opened: Opened, mailbox: int, uidvalidity: int) -> None:
        self._opened = opened
        self._mailbox = mailbox
        self._uidvalidity = uidvalidity
        self._uids = array("I")
        self._sizes = array("Q")
        self._marks = bytearray()
        self.count = 0
        """Messages not marked."""
        self.octets = 0
        """Their octets, as RETR sends them (before dots are doubled)."""

    @classmethod
    async def open(cls, opened: Opened) -> Maildrop:
        """Take the snapshot."""
        row = await mailboxes.find(opened, "INBOX")
        drop = cls(opened, row.id, row.uidvalidity)
        after = 0
        while page := await opened.store.read(MessageSizes(opened.id, row.id, after, PAGE)):
            drop._uids.extend([row[0] for row in page])
            drop._sizes.extend([row[1] for row in page])
            after = page[-1][0]
            await asyncio.sleep(0)  # a page is a slice of work; others have their turn
        drop.reset()
        return drop

    # ---- what is there ----

    def _place(self, number: int) -> int:
        if not 0 < number <= len(self._uids) or self._marks[number - 1]:
            raise NoSuchMessageError
        return number - 1

    def size(self, number: int) -> int:
        """Give a message's octets; raises NoSuchMessageError."""
        return self._sizes[self._place(number)]

    def unique_id(self, number: int) -> bytes:
        """Give a message's unique-id; raises NoSuchMessageError."""
        return self._unique_id(self._place(number))

    def _unique_id(self, place: int) -> bytes:
        # RFC 1939 §7, RFC 3501 §2.3.1.1: UIDVALIDITY and UID are never given twice, and at most 21 octets.
        return b"%d-%d" % (self._uidvalidity, self._uids[place])

    def sizes(self, rows: int) -> Iterator[bytes]:
        """Give the lines of LIST for all messages, `rows` at once."""
        marks, sizes = self._marks, self._sizes
        for start in range(0, len(marks), rows):
            places = range(start, min(start + rows, len(marks)))
            yield b"".join([b"%d %d\r\n" % (place + 1, sizes[place]) for place in places if not marks[place]])

    def unique_ids(self, rows: int) -> Iterator[bytes]:
        """Give the lines of UIDL for all messages, `rows` at once."""
        marks = self._marks
        for start in range(0, len(marks), rows):
            places = range(start, min(start + rows, len(marks)))
            yield b"".join([b"%d %b\r\n" % (place + 1, self._unique_id(place)) for place in places if not marks[place]])

    async def message(self, number: int) -> OpenMessage:
        """Open a message; raises NoSuchMessageError, also where somebody else removed it meanwhile, and SealBrokenError."""
        uid = self._uids[self._place(number)]
        row = (await fetch_rows(self._opened, self._mailbox, (uid,), prefix=True)).get(uid)
        if row is None:
            raise NoSuchMessageError(public="this message was removed by another client")
        return await OpenMessage(self._opened, row).open(self._opened)

    # ---- what shall go ----

    def mark(self, number: int) -> None:
        """Mark a message for removal; raises NoSuchMessageError."""
        place = self._place(number)
        self._marks[place] = 1
        self.count -= 1
        self.octets -= self._sizes[place]

    def reset(self) -> None:
        """Take all marks back."""
        self._marks = bytearray(len(self._uids))
        self.count = len(self._uids)
        self.octets = sum(self._sizes)

    async def remove(self, now: float) -> int:
        """Remove what is marked and give how many that are; what another client removed meanwhile is no fault. Raises what the store raises."""
        uids = [uid for uid, mark in zip(self._uids, self._marks, strict=True) if mark]
        for part in placements.slices(uids):
            await placements.set_flags(self._opened, self._mailbox, part, FlagChange("add", DELETED), now)
            await placements.expunge(self._opened, self._mailbox, part, now)
        return len(uids)
