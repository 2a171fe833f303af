# SPDX-License-Identifier: Apache-2.0
"""What changed in a mailbox, asked whole; and who wants to hear that something did.

Obeys RFC 7162 §3.1 (modification sequences), RFC 2177 §3 (IDLE hears at once).
Must never know a session: listeners are callables.
"""

from __future__ import annotations

import asyncio
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final, Protocol

from moatmail.core.limits.mailbox import CHANGES, GATHER_SECONDS, HEAL_SECONDS, PAGE, RESYNC_STEP, WAKE_SLICE
from moatmail.store.index_items import ListNumbers
from moatmail.store.interface import Store
from moatmail.store.operations import PlacementRow
from moatmail.store.queries import ListChanges

_TRIES: Final = 4


@dataclass(frozen=True, slots=True)
class Changes:
    """What is new after a modseq: rows new or changed by rising UID, UIDs that went, and the modseq and next UID up to which this is all."""

    rows: tuple[PlacementRow, ...]
    vanished: tuple[int, ...]
    modseq: int
    uidnext: int


@dataclass(frozen=True, slots=True)
class Since:
    """What somebody knows of a mailbox: up to which modseq, which UID came next then, and which UIDs it counts, rising (nobody's: what went is not asked)."""

    account: int
    mailbox: int
    modseq: int
    uidnext: int
    uids: Callable[[], Iterable[int]] = tuple


async def fetch_changes(store: Store, since: Since) -> Changes | None:
    """Give all changes after what is known; None when the mailbox is gone.

    New messages are given without a hole: UIDs are consecutive, so one that a change hid between two pages shows, and is asked for again.
    Where not all that vanished is remembered, what is known is compared with what is there.
    """
    tries = 1
    while True:
        found = await _fetch_all(store, since)
        if found is None:
            return None
        changes, whole = found
        if tries == _TRIES or whole:
            return changes
        tries += 1


async def _fetch_all(store: Store, since: Since) -> tuple[Changes, bool] | None:
    """Give all changes, and whether none of the UIDs that came since is missing among them."""
    rows: dict[int, PlacementRow] = {}
    vanished: dict[int, None] = {}
    upto, more, below = since.modseq, True, 0
    while more:
        answer = await store.read(ListChanges(since.account, since.mailbox, upto, PAGE))
        if answer is None:
            return None
        below = max(below, answer.compare_below)
        rows.update([(row.uid, row) for row in answer.rows])
        vanished.update(dict.fromkeys(answer.vanished))
        upto, more = answer.upto, answer.more
        if more:
            await asyncio.sleep(0)  # a page is a slice of work; others have their turn
    there: array[int] | None = None
    if below:
        there = await _list_uids(store, since)
        vanished.update(dict.fromkeys(await _without(since.uids(), there)))
    elif not rows and not vanished:
        return Changes((), (), upto, since.uidnext), True
    changes, new = await _ordered(rows, vanished, upto, since.uidnext)
    if there is None:
        return changes, new == changes.uidnext - since.uidnext
    # What came and went since is forgotten too: whole is what has all that are there.
    changes = replace(changes, uidnext=max(changes.uidnext, below))
    return changes, rows.keys() >= set(there[bisect_left(there, since.uidnext) : bisect_left(there, changes.uidnext)])


async def _list_uids(store: Store, since: Since) -> array[int]:
    there = array("I")
    while True:
        page = await store.read(ListNumbers(since.account, since.mailbox, there[-1] if there else 0))
        if not page.uids:
            return there
        there.frombytes(page.uids)
        await asyncio.sleep(0)  # a page is a slice of work; others have their turn


async def _without(known: Iterable[int], there: array[int]) -> list[int]:
    """Give which of the `known` UIDs are not `there`; both rise."""
    gone: list[int] = []
    uids = iter(known)
    while part := list(islice(uids, CHANGES)):
        gone.extend(sorted(set(part).difference(there[bisect_left(there, part[0]) : bisect_right(there, part[-1])])))
        await asyncio.sleep(0)
    return gone


async def _ordered(rows: dict[int, PlacementRow], vanished: dict[int, None], upto: int, uidnext: int) -> tuple[Changes, int]:
    """Bring gathered changes into order; each step is a pass in C, and between them others have their turn.

    Give too how many of the UIDs from `uidnext` on are among them.
    """
    long = len(rows) + len(vanished) > CHANGES
    for uid in rows.keys() & vanished.keys():
        del rows[uid]
    uids = sorted(rows)
    if long:
        await asyncio.sleep(0)
    ordered = tuple(map(rows.__getitem__, uids))
    if long:
        await asyncio.sleep(0)
    gone = tuple(vanished)
    highest = max(uidnext - 1, uids[-1] if uids else 0, max(gone, default=0))
    new = len(uids) - bisect_left(uids, uidnext) + sum(map(uidnext.__le__, gone))
    return Changes(ordered, gone, upto, highest + 1), new


class Hearer(Protocol):
    """Who watches a whole account: hears which of its mailboxes changed, and that its names did; no call may block."""

    def hint(self, mailbox: int) -> None:
        """Take note that something in a mailbox changed."""

    def look(self, delay: float) -> None:
        """Take note that names changed or hints were lost; look after `delay` seconds."""

    def heal(self) -> None:
        """Look anew when that was long ago."""


class Listeners:
    """Who waits for changes of which mailbox, and who watches which account, in this process; the bus tells it, and a lost hint heals."""

    def __init__(self) -> None:
        self._waiting: dict[int, dict[Callable[[], None], None]] = {}
        self._watched: dict[int, Hearer] = {}
        self._accounts: dict[int, Hearer] = {}

    def add(self, mailbox: int, wake: Callable[[], None]) -> None:
        """Call `wake` at each change of the mailbox; it must not block."""
        self._waiting.setdefault(mailbox, {})[wake] = None

    def remove(self, mailbox: int, wake: Callable[[], None]) -> None:
        """Call it no more."""
        waiting = self._waiting.get(mailbox)
        if waiting is not None:
            waiting.pop(wake, None)
            if not waiting:
                del self._waiting[mailbox]

    @property
    def watched(self) -> int:
        """Give how many mailboxes are watched."""
        return len(self._watched)

    def watch(self, account: int, hearer: Hearer, mailboxes: Iterable[int]) -> None:
        """Let the one watcher of an account hear of these mailboxes too."""
        self._accounts[account] = hearer
        self._watched.update(dict.fromkeys(mailboxes, hearer))

    def unwatch(self, hearer: Hearer, mailboxes: Iterable[int]) -> None:
        """Let it hear of these mailboxes no more."""
        for mailbox in mailboxes:
            if self._watched.get(mailbox) is hearer:
                del self._watched[mailbox]

    def forget(self, account: int, hearer: Hearer) -> None:
        """Let it hear of the account's names no more."""
        if self._accounts.get(account) is hearer:
            del self._accounts[account]

    def tell(self, mailboxes: Iterable[int]) -> None:
        """Take hints: these mailboxes changed."""
        for mailbox in mailboxes:
            self._wake(mailbox)
            hearer = self._watched.get(mailbox)
            if hearer is not None:
                hearer.hint(mailbox)

    def tell_names(self, accounts: Iterable[int]) -> None:
        """Take hints: mailboxes of these accounts were made, deleted, renamed or (un)subscribed."""
        for account in accounts:
            hearer = self._accounts.get(account)
            if hearer is not None:
                hearer.look(GATHER_SECONDS)

    def _wake(self, mailbox: int) -> None:
        for wake in tuple(self._waiting.get(mailbox, ())):
            wake()

    def resync(self) -> None:
        """Take note that hints were lost: everybody looks for himself."""
        for mailbox in tuple(self._waiting):
            self._wake(mailbox)
        for place, hearer in enumerate(tuple(self._accounts.values())):
            hearer.look(GATHER_SECONDS + place * RESYNC_STEP)

    async def heal(self) -> None:
        """Wake everybody every HEAL_SECONDS, in slices, for ever: a hint that was lost is made good."""
        while True:
            await asyncio.sleep(HEAL_SECONDS)
            for number, mailbox in enumerate(tuple(self._waiting)):
                self._wake(mailbox)
                if number % WAKE_SLICE == WAKE_SLICE - 1:
                    await asyncio.sleep(0.05)
            for number, hearer in enumerate(tuple(self._accounts.values())):
                hearer.heal()
                if number % WAKE_SLICE == WAKE_SLICE - 1:
                    await asyncio.sleep(0.05)
