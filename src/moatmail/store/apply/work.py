# SPDX-License-Identifier: Apache-2.0
"""What an operation works with: the writing connection, the Vault, the time; and what must happen only if it commits.

Obeys no RFC.
Must never know which operation is at work.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

from moatmail.core.errors import StoreUnavailableError
from moatmail.core.ports.vault import Vault
from moatmail.store.soft import Kept
from moatmail.store.sql import state
from moatmail.store.sqlite import Database

_DAY: Final = 86400


class Hints(NamedTuple):
    """What others may want to know after a commit.

    Mailbox -> HIGHESTMODSEQ, whether something is due, the settings' version or 0, accounts to leave, accounts whose list of mailboxes changed.
    """

    mailboxes: dict[int, int]
    queue: bool
    settings: int
    accounts: frozenset[int] = frozenset()
    listings: frozenset[int] = frozenset()


@dataclass(slots=True)
class Effects:
    """What follows from a commit, gathered while operations are applied; a failed operation's share is dropped."""

    mailboxes: dict[int, int] = field(default_factory=dict)
    queue: bool = False
    settings: int = 0
    accounts: set[int] = field(default_factory=set)
    listings: set[int] = field(default_factory=set)
    new_keys: dict[int, bytes] = field(default_factory=dict)
    gone_keys: list[int] = field(default_factory=list)
    gone_files: list[bytes] = field(default_factory=list)
    soft: list[Kept] = field(default_factory=list)
    ledger: Counter[tuple[int, str]] = field(default_factory=Counter)
    truncate: bool = False
    erase_more: bool = False
    crowded: set[int] = field(default_factory=set)

    def take(self, other: Effects) -> None:
        """Add the effects of an operation that succeeded."""
        self.mailboxes.update(other.mailboxes)
        self.queue |= other.queue
        self.settings = max(self.settings, other.settings)
        self.accounts |= other.accounts
        self.listings |= other.listings
        self.new_keys.update(other.new_keys)
        self.gone_keys += other.gone_keys
        self.gone_files += other.gone_files
        self.soft += other.soft
        self.ledger.update(other.ledger)
        self.truncate |= other.truncate
        self.erase_more |= other.erase_more
        self.crowded |= other.crowded

    def count(self, at: float, column: str, number: int = 1) -> None:
        """Add to the ledger of the day of `at` (R20: accepted = delivered + queued + relayed + bounced, day by day)."""
        self.ledger[int(at // _DAY), column] += number

    @property
    def hints(self) -> Hints:
        """Give what the bus tells."""
        return Hints(self.mailboxes, self.queue, self.settings, frozenset(self.accounts), frozenset(self.listings))


class KeyStore(Protocol):
    """The wrapped keys of accounts (see `store.keystore`)."""

    def get(self, account: int) -> bytes | None:
        """Give an account's wrapped keys, or None."""
        ...


@dataclass(slots=True)
class Work:
    """One operation's place of work, inside the writer's transaction."""

    db: Database
    vault: Vault
    keys: KeyStore
    now: float
    effects: Effects
    asker: str = ""

    def count_meta(self, counter: str, more: int = 1) -> int:
        """Raise one of the store's own counters and give it."""
        row = self.db.one(state.COUNT_META, {"counter": counter, "more": more})
        if row is None:
            raise StoreUnavailableError(f"the counter {counter} is missing")
        value: int = row[0]
        return value
