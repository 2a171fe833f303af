# SPDX-License-Identifier: Apache-2.0
"""What was expunged leaves the quota at once and the disk later: how much of it there can be."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

import msgspec
import pytest

from moatmail.core.limits import store as limits
from moatmail.store import operations as o
from moatmail.store import queries as q
from moatmail.store.index_items import AddSegment, ListSegments, ListUnindexed
from moatmail.store.interface import Store
from moatmail.store.local import LocalStore
from moatmail.store.sql import mailboxes
from moatmail.store.sql.statement import Statement
from moatmail.store.writer import Writer
from tests.store_contract.given import DAY, NOW, Ear, GlassVault, House, StandingClock, arrival, change, content, house, message, new_id

DELETED = mailboxes.DELETED


async def settle(store: Store) -> None:
    """Wait until nothing is erased any more: the store asks itself for the next slice, behind whatever waits."""
    still = 0
    while still < 5:
        if isinstance(store, LocalStore):
            await store.group._idle.wait()
        else:
            await asyncio.sleep(0.02)
        still = 0 if await store.write(o.EraseDue(NOW)) else still + 1


async def append(store: Store, where: House, size: int) -> bytes:
    """Put a message into the inbox, marked for removal; give its content's id."""
    one = content(size)
    await store.write(o.Append(new_id(), (one,), (o.Delivery(message(where.account, one), where.inbox, flags=DELETED),)))
    return one.id


async def expunge(store: Store, where: House) -> None:
    await store.write(o.Expunge(where.account, where.inbox, None, NOW))


async def kept(store: Store, contents: Iterable[bytes]) -> list[bool]:
    return [await store.read(q.GetContent(one)) is not None for one in contents]


async def test_append_and_expunge_in_turn_do_not_fill_the_disk(store: Store) -> None:
    """Fault: each round left the quota at once and the disk after 25 days."""
    alice = await house(store, quota=10_000)
    contents = []
    for _ in range(60):
        contents.append(await append(store, alice, 1_000))
        await expunge(store, alice)
    await settle(store)
    there = await kept(store, contents)
    # The newest of them, and no more than one quota.
    assert there == sorted(there)
    assert 8 <= sum(there) <= 10


async def test_what_is_within_one_quota_stays_for_all_its_days(store: Store) -> None:
    alice = await house(store, quota=10_000)
    contents = [await append(store, alice, 1_000) for _ in range(10)]
    await expunge(store, alice)
    await settle(store)
    assert all(await kept(store, contents))
    # And what is placed is never touched.
    one = await append(store, alice, 10_000)
    await settle(store)
    assert all(await kept(store, [*contents, one]))


async def test_without_a_quota_the_setting_is_the_bound(store: Store) -> None:
    alice = await house(store)
    await store.write(change(o.SetSetting("store.recoverable_octets", "5000")))
    contents = []
    for _ in range(12):
        contents.append(await append(store, alice, 1_000))
        await expunge(store, alice)
    await settle(store)
    assert 4 <= sum(await kept(store, contents)) <= 5


async def test_a_deleted_mailbox_and_a_replaced_message_count_too(store: Store) -> None:
    alice = await house(store, quota=10_000)
    await store.write(o.CreateMailbox(alice.account, new_id(), b"name", b"tag"))
    box = (await store.read(q.ListMailboxes(alice.account))).mailboxes[-1].id
    first = await append(store, alice, 6_000)
    await expunge(store, alice)
    one = content(6_000)
    await store.write(o.Append(new_id(), (one,), (o.Delivery(message(alice.account, one), box),)))
    await store.write(o.DeleteMailbox(alice.account, box, NOW))
    await settle(store)
    assert await kept(store, (first, one.id)) == [False, True]
    third, fourth = content(7_000), content(10)
    await store.write(o.Append(new_id(), (third,), (o.Delivery(message(alice.account, third), alice.inbox),)))
    uid = (await store.read(q.ListPlacements(alice.account, alice.inbox)))[0].uid
    replacing = o.Delivery(message(alice.account, fourth), alice.inbox)
    await store.write(o.Replace(new_id(), alice.account, alice.inbox, uid, (fourth,), replacing))
    await settle(store)
    assert await kept(store, (one.id, third.id, fourth.id)) == [False, True, True]


async def test_one_account_pays_nothing_for_another(store: Store) -> None:
    alice, bob = await house(store, quota=10_000), await house(store, "bob", quota=10_000)
    hers = await append(store, alice, 9_000)
    await expunge(store, alice)
    for _ in range(5):
        await append(store, bob, 9_000)
        await expunge(store, bob)
    await settle(store)
    assert await kept(store, (hers,)) == [True]


async def test_what_goes_early_goes_as_what_is_due(store: Store) -> None:
    """With the message go its words, and the segment that holds them; what else was in it waits to be merged again."""
    alice = await house(store, quota=10_000)
    accepts = [arrival(alice.account, size=3_000, flags=flags) for flags in (DELETED, 0)]
    for accept in accepts:
        delivery = msgspec.structs.replace(accept.deliveries[0], message=msgspec.structs.replace(accept.deliveries[0].message, words=b"words"))
        await store.write(msgspec.structs.replace(accept, deliveries=(delivery,)))
    tail = tuple(row.number for row in await store.read(ListUnindexed(alice.account)))
    await store.write(AddSegment(alice.account, new_id(), tail, ((0, b"part"),)))
    for _ in range(3):
        await append(store, alice, 4_000)
        await expunge(store, alice)
    await settle(store)
    assert await kept(store, [accept.contents[0].id for accept in accepts]) == [False, True]
    assert await store.read(ListSegments(alice.account)) == ()
    assert [row.number for row in await store.read(ListUnindexed(alice.account))] == [tail[1]]


async def fill(writer: Writer, account: int, number: int) -> None:
    """Have many small messages recoverable, as a folder of an older version may."""
    one = content(1)
    writer.db.begin()
    writer.db.run(Statement("INSERT INTO content (id, \"references\", size, blob) VALUES (:id, :n, 1, x'00')"), {"id": one.id, "n": number})
    writer.db.run_many(
        Statement(
            "INSERT INTO message (id, account, content, size, received_at, erase_at, cover_kind, cover, prefix, summary)"
            " VALUES (:id, :account, :content, 100, 0, :until, 2, x'', x'', x'')"
        ),
        [{"id": new_id(), "account": account, "content": one.id, "until": NOW + DAY + place} for place in range(number)],
    )
    counts = {"n": number, "account": account}
    writer.db.run(Statement("UPDATE account SET recoverable = :n, recoverable_octets = 100 * :n WHERE id = :account"), counts)
    writer.db.commit()


@pytest.mark.parametrize("bound", ["octets", "messages"])
async def test_however_many_are_too_many_they_go_in_batches_oldest_first(bound: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = Writer(folder, GlassVault(), StandingClock(), Ear())
    store = LocalStore(writer)
    alice = await house(store, quota=20_000 if bound == "octets" else 0)
    if bound == "messages":
        monkeypatch.setattr(limits, "RECOVERABLE_MESSAGES", 200)
    await fill(writer, alice.account, 3_000)
    commits = store.group.commits
    await append(store, alice, 10)
    await expunge(store, alice)
    await settle(store)
    await store.close()
    assert store.group.commits - commits >= 2 + 6  # 500 at a time
    writer = Writer(folder, GlassVault(), StandingClock(), Ear())
    left = [row[0] for row in writer.db.all(Statement("SELECT erase_at FROM message ORDER BY erase_at"))]
    assert 170 <= len(left) <= 200
    assert left[0] == NOW + DAY + 3_000 - len(left) + 1
    writer.close()


async def test_a_clock_that_goes_back_does_not_keep_what_is_too_much(folder: Path) -> None:
    clock = StandingClock()
    writer = Writer(folder, GlassVault(), clock, Ear())
    store = LocalStore(writer)
    alice = await house(store, quota=1_000)
    contents = []
    for back in range(3):
        clock.time = NOW - back * DAY
        contents.append(await append(store, alice, 900))
        await expunge(store, alice)
    await settle(store)
    assert sum(await kept(store, contents)) == 1
    await store.close()
