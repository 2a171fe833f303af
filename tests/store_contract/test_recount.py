# SPDX-License-Identifier: Apache-2.0
"""Counts that damage spoiled are made anew from rows; what was given once is never given again."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from moatmail.core.errors import NotFoundError
from moatmail.store import operations as o
from moatmail.store.apply.work import Hints
from moatmail.store.interface import Store
from moatmail.store.local import LocalStore
from moatmail.store.repair_items import Recount
from moatmail.store.sql import mailboxes
from moatmail.store.sql.statement import Statement
from moatmail.store.writer import Writer
from tests.store_contract.given import NOW, Ear, GlassVault, House, StandingClock, arrival, house, new_id
from tests.store_contract.test_counts import CONTRADICTIONS

SEEN, DELETED = mailboxes.SEEN, mailboxes.DELETED


class Damaged:
    """A store with some mail, behind whose back rows are changed."""

    def __init__(self, folder: Path) -> None:
        self.told: list[Hints] = []
        self.writer = Writer(folder, GlassVault(), StandingClock(), Ear())
        self.store = LocalStore(self.writer, self.told.append)

    async def furnish(self) -> House:
        alice = await house(self.store, quota=50_000)
        for number, flags in enumerate((0, SEEN, DELETED, SEEN | DELETED, DELETED, 0)):
            await self.store.write(arrival(alice.account, size=100 + number, flags=flags))
        await self.store.write(o.Copy(new_id(), alice.account, alice.inbox, alice.boxes["archive"], (1, 2)))
        await self.store.write(o.Expunge(alice.account, alice.inbox, (3,), NOW))
        await self.store.write(o.Expunge(alice.account, alice.inbox, (5,), NOW))
        return alice

    def rows(self) -> list[tuple[object, ...]]:
        return [
            *self.writer.db.all(Statement("SELECT * FROM mailbox ORDER BY id")),
            *self.writer.db.all(Statement("SELECT id, used_octets, recoverable, recoverable_octets FROM account")),
        ]

    def damage(self, statement: str) -> None:
        self.writer.db.begin()
        self.writer.db.run(Statement(statement))
        self.writer.db.commit()

    async def recount(self, where: House, boxes: Iterable[str] = ("inbox", "archive", "")) -> list[bool]:
        return [await self.store.write(Recount(where.account, where.boxes[use] if use else 0)) for use in boxes]

    def contradictions(self) -> list[str]:
        return [name for name, sql in CONTRADICTIONS.items() if self.writer.db.all(Statement(sql))]


@pytest.mark.parametrize("column", ["messages", "unseen", "deleted", "octets", "deleted_octets", "vanished"])
@pytest.mark.parametrize("spoiled", ["0", "7777"])
async def test_a_spoiled_count_of_a_mailbox_is_made_anew(column: str, spoiled: str, folder: Path) -> None:
    """Fault: rebuilding made summaries and words anew and left the counts as damage had left them."""
    place = Damaged(folder)
    alice = await place.furnish()
    right = place.rows()
    assert await place.recount(alice) == [False, False, False]
    assert place.rows() == right
    place.damage(f"UPDATE mailbox SET {column} = {spoiled} WHERE id = {alice.inbox}")  # noqa: S608  of this file
    assert place.rows() != right
    place.told.clear()
    assert await place.recount(alice) == [True, False, False]
    assert place.rows() == right
    assert place.contradictions() == []
    # Whoever looks at the mailbox looks again.
    assert [alice.inbox in hints.mailboxes for hints in place.told] == [True]
    await place.store.close()


@pytest.mark.parametrize("column", ["used_octets", "recoverable", "recoverable_octets"])
async def test_spoiled_rooms_of_an_account_are_made_anew(column: str, folder: Path) -> None:
    place = Damaged(folder)
    alice = await place.furnish()
    right = place.rows()
    place.damage(f"UPDATE account SET {column} = 40000")  # noqa: S608  of this file
    assert await place.recount(alice) == [False, False, True]
    assert place.rows() == right
    await place.store.close()


async def test_uidnext_and_highestmodseq_rise_above_all_rows_and_never_fall(folder: Path) -> None:
    place = Damaged(folder)
    alice = await place.furnish()
    right = place.rows()
    place.damage(f"UPDATE mailbox SET uidnext = 2, highestmodseq = 1 WHERE id = {alice.inbox}")  # noqa: S608  of this file
    assert await place.recount(alice, ("inbox",)) == [True]
    assert place.rows() == right
    # Rows that are lost take no number with them.
    place.damage("DELETE FROM placement WHERE uid > 1")
    place.damage("DELETE FROM vanished")
    assert await place.recount(alice, ("inbox",)) == [True]
    answer = await place.store.write(arrival(alice.account))
    assert (answer[0].uid, answer[0].modseq) == (7, 10)
    await place.store.close()


async def test_what_vanished_last_counts_for_the_next_uid(folder: Path) -> None:
    place = Damaged(folder)
    alice = await place.furnish()
    await place.store.write(o.StoreFlags(new_id(), alice.account, alice.inbox, (6,), "add", DELETED))
    await place.store.write(o.Expunge(alice.account, alice.inbox, (6,), NOW))
    right = place.rows()
    place.damage("UPDATE mailbox SET uidnext = 1, highestmodseq = 1")
    assert await place.recount(alice) == [True, True, False]
    assert place.rows()[0] == right[0]
    await place.store.close()


async def test_there_is_nothing_to_count_of_what_is_not_there(store: Store) -> None:
    alice, bob = await house(store), await house(store, "bob")
    for asked in (Recount(alice.account, 999), Recount(alice.account, bob.inbox), Recount(999, 0)):
        with pytest.raises(NotFoundError):
            await store.write(asked)
