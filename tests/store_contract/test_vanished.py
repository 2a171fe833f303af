# SPDX-License-Identifier: Apache-2.0
"""What vanished is remembered up to a bound; who asks from before is told so, and never that nothing went."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from moatmail.core.limits import store as limits
from moatmail.store import operations as o
from moatmail.store import queries as q
from moatmail.store.local import LocalStore
from moatmail.store.sql import mailboxes
from moatmail.store.sql.statement import Statement
from moatmail.store.writer import Writer
from tests.store_contract.given import NOW, Ear, GlassVault, House, StandingClock, box, content, house, message, new_id

DELETED = mailboxes.DELETED
KEPT = 20


@pytest.fixture
def writer(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Writer:
    monkeypatch.setattr(limits, "VANISHED_KEPT", KEPT)
    monkeypatch.setattr(limits, "VANISHED_SLACK", 5)
    return Writer(folder, GlassVault(), StandingClock(), Ear())


async def put(store: LocalStore, where: House, number: int) -> None:
    """Put messages into the inbox, marked for removal."""
    one = content(10)
    deliveries = tuple(o.Delivery(message(where.account, one), where.inbox, flags=DELETED) for _ in range(number))
    await store.write(o.Append(new_id(), (one,), deliveries))


async def expunge(store: LocalStore, where: House, *uids: int) -> None:
    await store.write(o.Expunge(where.account, where.inbox, uids or None, NOW))


def rows(writer: Writer) -> list[int]:
    return [uid for (uid,) in writer.db.all(Statement("SELECT uid FROM vanished ORDER BY modseq, uid"))]


async def changes(store: LocalStore, where: House, modseq: int) -> q.ChangesAnswer:
    answer = await store.read(q.ListChanges(where.account, where.inbox, modseq))
    assert answer is not None
    return answer


async def vanished(store: LocalStore, where: House, modseq: int, after: int = 2**32) -> q.VanishedPage:
    page = await store.read(q.ListVanished(where.account, where.inbox, modseq, after))
    assert page is not None
    return page


async def test_however_many_go_one_by_one_some_are_remembered(writer: Writer) -> None:
    """Fault: a row for each message that ever went, for ever."""
    store = LocalStore(writer)
    alice = await house(store)
    await put(store, alice, 100)
    for uid in range(1, 101):
        await expunge(store, alice, uid)
        assert len(rows(writer)) <= KEPT + 5
    assert len(rows(writer)) >= KEPT
    assert rows(writer) == list(range(101 - len(rows(writer)), 101))
    await store.close()


async def test_who_asks_from_before_what_is_remembered_is_told_to_compare(writer: Writer) -> None:
    store = LocalStore(writer)
    alice = await house(store)
    await put(store, alice, 60)
    start = (await box(store, alice)).highestmodseq
    for uid in range(1, 51):
        await expunge(store, alice, uid)
    kept = rows(writer)
    forgotten = start + 50 - len(kept)
    before = await changes(store, alice, forgotten - 1)
    assert before.compare_below == 61
    assert (await vanished(store, alice, forgotten - 1)).forgotten
    assert (await vanished(store, alice, forgotten - 1)).uids == ()
    # From the modseq on up to which was forgotten all is known.
    exact = await changes(store, alice, forgotten)
    assert (exact.vanished, exact.compare_below) == (tuple(kept), 0)
    page = await vanished(store, alice, forgotten)
    assert (list(page.uids), page.forgotten) == (kept, False)
    # In the midst of what one change took away, a page that begins there would miss the rest of it.
    assert (await vanished(store, alice, forgotten, after=1)).forgotten
    await store.close()


async def test_what_one_change_took_away_may_be_forgotten_in_part(writer: Writer) -> None:
    store = LocalStore(writer)
    alice = await house(store)
    await put(store, alice, 60)
    start = (await box(store, alice)).highestmodseq
    await expunge(store, alice)
    assert len(rows(writer)) == KEPT
    assert (await changes(store, alice, start)).compare_below == 61
    assert (await vanished(store, alice, start)).forgotten
    assert not (await vanished(store, alice, start + 1)).forgotten
    await store.close()


async def test_a_mailbox_of_an_older_version_shrinks_step_by_step(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "VANISHED_KEPT", 10**6)
    store = LocalStore(writer)
    alice = await house(store)
    await put(store, alice, 200)
    for first in range(1, 180, 20):
        await expunge(store, alice, *range(first, first + 20))
    monkeypatch.setattr(limits, "VANISHED_KEPT", KEPT)
    left = [len(rows(writer))]
    for uid in range(181, 201):
        await expunge(store, alice, uid)
        left.append(len(rows(writer)))
    assert max(before - after for before, after in itertools.pairwise(left)) <= 5
    await put(store, alice, 200)
    for first in range(201, 400, 40):
        await expunge(store, alice, *range(first, first + 40))
    assert len(rows(writer)) <= KEPT + 5
    await store.close()
