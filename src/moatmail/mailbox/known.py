# SPDX-License-Identifier: Apache-2.0
"""Messages somebody looked at lately: their rows and opened summaries, kept for the next look while the account is open.

Obeys docs/security.md (what was opened goes with the last session of its account, and after a minute without use).
Must never know flags: what is kept here of a UID never changes (RFC 3501 §2.3.1.1), and whoever asks knows that the message is still there.
"""

from __future__ import annotations

from collections.abc import Sequence

from moatmail.core.limits.mailbox import KNOWN_MESSAGES, KNOWN_OCTETS
from moatmail.crypto.cover import AccountKeys
from moatmail.mailbox.unsealing import open_summary
from moatmail.message.summary import Summary
from moatmail.store.interface import Store
from moatmail.store.queries import GetMessages, MessageRow

_COST = 600
"""Octets that a message costs beside its own."""


class Known:
    """One message: its row as it was read with prefix and summary; the summary is opened when it is first asked for."""

    __slots__ = ("opened", "row")

    def __init__(self, row: MessageRow) -> None:
        self.row = row
        self.opened: Summary | None = None

    def summary(self, keys: AccountKeys, account: int) -> Summary:
        """Give the summary; raises SealBrokenError."""
        if self.opened is None:
            self.opened = open_summary(keys, account, self.row)
        return self.opened


class Budget:
    """What all accounts of a process may keep; over it, the one that was not used for longest forgets all."""

    def __init__(self, octets: int = KNOWN_OCTETS) -> None:
        self._octets = octets
        self._all = 0
        self._kept: dict[KnownMessages, int] = {}

    def take(self, who: KnownMessages, octets: int) -> None:
        """Count what somebody keeps, as the last user."""
        self._kept[who] = self._kept.pop(who, 0) + octets
        self._all += octets
        while self._all > self._octets:
            next(iter(self._kept)).forget()

    def give(self, who: KnownMessages) -> None:
        """Count somebody no more."""
        self._all -= self._kept.pop(who, 0)


class KnownMessages:
    """The known messages of one account."""

    def __init__(self, store: Store, account: int, budget: Budget) -> None:
        self._store = store
        self._account = account
        self._budget = budget
        self._known: dict[tuple[int, int], Known] = {}
        self._used = False

    def __len__(self) -> int:
        return len(self._known)

    async def find(self, mailbox: int, uids: Sequence[int]) -> dict[int, Known]:
        """Give messages of a mailbox by UID, at most PAGE; those that are gone may or may not be among them."""
        self._used = True
        known = self._known
        found: dict[int, Known] = {}
        missing: list[int] = []
        for uid in uids:
            one = known.get((mailbox, uid))
            if one is None:
                missing.append(uid)
            else:
                found[uid] = one
        if missing:
            octets = 0
            for row in await self._store.read(GetMessages(self._account, mailbox, tuple(missing), True, True)):
                found[row.uid] = known[mailbox, row.uid] = Known(row)
                octets += len(row.summary) * 3 + len(row.prefix) + _COST
            if len(known) > KNOWN_MESSAGES:
                self.forget()  # who reads a whole mailbox shall not keep it
            else:
                self._budget.take(self, octets)
        return found

    def forget(self) -> None:
        """Keep nothing any more."""
        self._known.clear()
        self._budget.give(self)

    def sweep(self) -> None:
        """Forget all unless it was used since the last sweep."""
        if not self._used:
            self.forget()
        self._used = False
