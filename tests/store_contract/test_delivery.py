# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from moatmail.core.errors import NotFoundError, OverQuotaError, StoreUnavailableError
from moatmail.store import operations as o
from moatmail.store import queries as q
from moatmail.store.interface import Store
from tests.store_contract.given import NOW, arrival, box, content, house, message, new_id


async def test_a_delivered_message_is_read_back_as_it_was_given(store: Store) -> None:
    alice = await house(store)
    accept = arrival(alice.account, flags=8, keywords=("$Forwarded", "blue"))
    (placed,) = await store.write(accept)
    assert (placed.mailbox, placed.uid, placed.modseq) == (alice.inbox, 1, 2)
    (row,) = await store.read(q.GetMessages(alice.account, alice.inbox, (1,), prefix=True, summary=True))
    given = accept.deliveries[0].message
    assert (row.id, row.content, row.cover, row.prefix, row.summary, row.size) == (
        given.id, given.content, given.cover, given.prefix, given.summary, given.size,
    )  # fmt: skip
    assert (await store.read(q.ListPlacements(alice.account, alice.inbox))) == (o.PlacementRow(1, 8, ("$Forwarded", "blue"), 2),)
    kept = await store.read(q.GetContent(given.content))
    assert kept is not None
    assert kept.blob == accept.contents[0].blob


async def test_prefix_and_summary_come_only_when_asked_for(store: Store) -> None:
    alice = await house(store)
    await store.write(arrival(alice.account))
    (row,) = await store.read(q.GetMessages(alice.account, alice.inbox, (1,)))
    assert (row.prefix, row.summary) == (b"", b"")
    (row,) = await store.read(q.GetMessages(alice.account, alice.inbox, (1,), summary=True))
    assert (row.prefix, row.summary) == (b"", b"summary")


async def test_the_same_accept_again_answers_as_if_just_done_and_does_nothing(store: Store) -> None:
    alice = await house(store)
    accept = arrival(alice.account)
    first = await store.write(accept)
    await store.write(arrival(alice.account))
    assert await store.write(accept) == first
    row = await box(store, alice)
    assert (row.messages, row.uidnext, row.octets) == (2, 3, 4_000)
    (ledger,) = await store.read(q.GetLedger())
    assert (ledger.accepted, ledger.delivered) == (2, 2)


async def test_uids_and_modseqs_rise_over_concurrent_deliveries_without_gap_or_repetition(store: Store) -> None:
    alice = await house(store)
    placed = await asyncio.gather(*(store.write(arrival(alice.account, size=100)) for _ in range(40)))
    assert sorted(one[0].uid for one in placed) == list(range(1, 41))
    assert sorted(one[0].modseq for one in placed) == list(range(2, 42))
    row = await box(store, alice)
    assert (row.uidnext, row.highestmodseq, row.messages, row.unseen) == (41, 41, 40, 40)


async def test_one_content_serves_several_recipients_and_each_has_its_own_copy(store: Store) -> None:
    alice, bob = await house(store), await house(store, "bob")
    one = content()
    placed = await store.write(o.Accept((one,), (o.Delivery(message(alice.account, one)), o.Delivery(message(bob.account, one), special_use="junk"))))
    assert [(p.mailbox, p.uid) for p in placed] == [(alice.inbox, 1), (bob.boxes["junk"], 1)]


async def test_a_recipient_over_quota_fails_the_whole_accept_and_leaves_nothing(store: Store) -> None:
    alice, bob = await house(store), await house(store, "bob", quota=3_000)
    one = content(2_000)
    both = (o.Delivery(message(alice.account, one)), o.Delivery(message(bob.account, one)))
    await store.write(o.Accept((one,), both))
    other = content(2_000)
    refused = o.Accept((other,), (o.Delivery(message(alice.account, other)), o.Delivery(message(bob.account, other))))
    with pytest.raises(OverQuotaError, match=f"account {bob.account}"):
        await store.write(refused)
    assert (await box(store, alice)).messages == 1
    assert await store.read(q.GetContent(other.id)) is None
    (ledger,) = await store.read(q.GetLedger())
    assert (ledger.accepted, ledger.delivered) == (2, 2)


async def test_the_last_octet_of_a_quota_may_be_used(store: Store) -> None:
    alice = await house(store, quota=4_000)
    await store.write(arrival(alice.account))
    await store.write(arrival(alice.account))
    with pytest.raises(OverQuotaError):
        await store.write(arrival(alice.account, size=1))


async def test_an_operation_that_fails_does_not_touch_its_neighbours_in_the_batch(store: Store) -> None:
    alice, bob = await house(store), await house(store, "bob", quota=1)
    writes = [store.write(arrival(who.account)) for who in (alice, bob, alice, bob, alice)]
    results = await asyncio.gather(*writes, return_exceptions=True)
    assert [isinstance(result, OverQuotaError) for result in results] == [False, True, False, True, False]
    assert (await box(store, alice)).uidnext == 4


async def test_mail_for_a_mailbox_its_owner_deleted_goes_to_the_inbox(store: Store) -> None:
    alice = await house(store)
    await store.write(o.DeleteMailbox(alice.account, alice.boxes["junk"], NOW))
    (placed,) = await store.write(arrival(alice.account, special_use="junk"))
    assert placed.mailbox == alice.inbox


@pytest.mark.parametrize("mailbox", [999, 0], ids=["no such mailbox", "no such account"])
async def test_a_delivery_without_a_place_is_refused(store: Store, mailbox: int) -> None:
    alice = await house(store)
    with pytest.raises(NotFoundError):
        await store.write(arrival(alice.account if mailbox else 77, mailbox=mailbox))


async def test_a_foreign_mailbox_is_no_place(store: Store) -> None:
    alice, bob = await house(store), await house(store, "bob")
    with pytest.raises(NotFoundError):
        await store.write(arrival(alice.account, mailbox=bob.inbox))
    await store.write(arrival(bob.account))
    assert await store.read(q.ListPlacements(alice.account, bob.inbox)) == ()
    assert await store.read(q.GetMessages(alice.account, bob.inbox, (1,))) == ()
    assert await store.read(q.GetMailbox(alice.account, bob.inbox)) is None


async def test_a_message_must_have_its_content(store: Store) -> None:
    alice = await house(store)
    with pytest.raises(NotFoundError):
        await store.write(replace(arrival(alice.account), contents=()))


async def test_append_repeated_under_its_id_appends_once(store: Store) -> None:
    alice = await house(store)
    one, two = content(), content()
    deliveries = tuple(o.Delivery(message(alice.account, each), mailbox=alice.boxes["drafts"], flags=16) for each in (one, two))
    append = o.Append(new_id(), (one, two), deliveries)
    first = await store.write(append)
    assert [placed.uid for placed in first] == [1, 2]
    assert await store.write(append) == first
    assert (await box(store, alice, "drafts")).messages == 2
    assert (await store.read(q.GetLedger())) == ()


async def test_large_content_is_named_by_a_row_without_octets(store: Store) -> None:
    alice = await house(store)
    one = o.NewContent(new_id(), 1_000_000, None)
    await store.write(o.Accept((one,), (o.Delivery(message(alice.account, one)),)))
    assert await store.read(q.GetContent(one.id)) == q.ContentRow(1_000_000, None)


async def test_a_fault_of_ours_fails_one_operation_and_not_the_store(store: Store) -> None:
    alice = await house(store)
    broken = replace(arrival(alice.account), deliveries=(o.Delivery(message(alice.account, content(), size=2**70)),))
    results = await asyncio.gather(store.write(broken), store.write(arrival(alice.account)), return_exceptions=True)
    assert isinstance(results[0], (StoreUnavailableError, OverflowError))
    assert not isinstance(results[1], BaseException)
