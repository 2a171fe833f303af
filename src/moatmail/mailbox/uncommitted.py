# SPDX-License-Identifier: Apache-2.0
"""Messages that our users announced and that are not committed yet: how much of them there may be, of a command, an account and a process.

Obeys RFC 9051 §6.3.12 (APPEND is whole or not at all), RFC 3502 (several are kept together, so all of them wait), RFC 5530 §3 (LIMIT).
Must never know what a message says, or how it is announced.
"""

from __future__ import annotations

from moatmail.core.errors import PermanentError, StorageFullError
from moatmail.core.limits.mailbox import UNCOMMITTED_ACCOUNT, UNCOMMITTED_COMMAND
from moatmail.core.limits.store import FREE_OCTETS
from moatmail.store.content import ContentFiles


class TooMuchUncommittedError(PermanentError):
    """More was announced than may wait for its commit; none of it is kept."""

    public = "too much of it at once: send the messages in several commands, one after the other"


class Uncommitted:
    """All that is announced in this process; no quota knows of it, and until the commit nobody could be asked to make room again."""

    def __init__(self, files: ContentFiles) -> None:
        self._files = files
        self._accounts: dict[int, int] = {}

    @property
    def octets(self) -> int:
        """Give how many octets may still come, or wait."""
        return sum(self._accounts.values())

    def begin(self, account: int) -> Room:
        """Give the room of one command."""
        return Room(self, account)

    def check(self, account: int, octets: int, largest: int) -> None:
        """Admit `octets` more of an account, where one message may have `largest`; raises TooMuchUncommittedError, StorageFullError."""
        if self._accounts.get(account, 0) + octets > UNCOMMITTED_ACCOUNT * largest:
            raise TooMuchUncommittedError
        # What came already is counted twice near the end of the disk: there it is better to send somebody away early than to fill it up.
        if self._files.free_octets() < self.octets + octets + FREE_OCTETS:
            raise StorageFullError("what is announced would not fit the disk")

    def count(self, account: int, octets: int) -> None:
        """Take note of octets announced, or (negative) no longer awaited."""
        now = self._accounts.get(account, 0) + octets
        if now:
            self._accounts[account] = now
        else:
            self._accounts.pop(account, None)


class Room:
    """What one command announced so far."""

    __slots__ = ("_account", "_of", "octets")

    def __init__(self, of: Uncommitted, account: int) -> None:
        self._of = of
        self._account = account
        self.octets = 0

    def take(self, octets: int, largest: int) -> None:
        """Announce one more message; raises TooMuchUncommittedError, StorageFullError."""
        if self.octets + octets > UNCOMMITTED_COMMAND * largest:
            raise TooMuchUncommittedError
        self._of.check(self._account, octets, largest)
        self._of.count(self._account, octets)
        self.octets += octets

    def release(self) -> None:
        """Await nothing any more: all is committed, or dropped; harmless when repeated."""
        octets, self.octets = self.octets, 0
        self._of.count(self._account, -octets)
