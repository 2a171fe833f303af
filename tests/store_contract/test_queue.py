# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio

import pytest

from moatmail.core.errors import ConflictError
from moatmail.store import operations as o
from moatmail.store import queries as q
from moatmail.store.interface import Store
from tests.store_contract.given import NOW, box, content, house, message, new_id

HOUR = 3600.0
ME = "boot-1/process-1"


def entry(of: o.NewContent, *due: float, kind: str = "submitted") -> o.NewSpool:
    return o.NewSpool(new_id(), of.id, b"sealed key", b"sealed envelope", NOW, due or (NOW,), kind, b"sealed prefix")


async def queued(store: Store, *due: float) -> tuple[o.NewContent, o.NewSpool]:
    one = content()
    spool = entry(one, *due)
    await store.write(o.Accept((one,), spools=(spool,)))
    return one, spool


def claim(at: float = NOW, owner: str = ME, lease: float = HOUR) -> o.ClaimSpool:
    return o.ClaimSpool(at, at + lease, owner, 10)


async def test_a_claim_gives_the_entry_as_it_was_put_with_its_due_recipients(store: Store) -> None:
    one, spool = await queued(store, NOW, NOW + HOUR)
    (claimed,) = await store.write(claim())
    assert claimed == o.ClaimedSpool(
        spool.id, one.id, b"sealed key", b"sealed envelope", NOW, "submitted", (o.SpoolRecipient(0, "queued", 0, NOW),), b"sealed prefix"
    )


async def test_nobody_gets_what_another_holds_until_the_lease_is_over(store: Store) -> None:
    await queued(store)
    assert len(await store.write(claim())) == 1
    assert await store.write(claim(owner="boot-1/process-2")) == ()
    assert await store.write(claim()) == ()
    assert len(await store.write(claim(NOW + HOUR, "boot-1/process-2"))) == 1


async def test_a_repeated_claim_gives_the_same_answer_because_the_first_may_be_lost(store: Store) -> None:
    await queued(store)
    asked = o.ClaimSpool(NOW, NOW + HOUR, ME, 10, new_id())
    first = await store.write(asked)
    assert len(first) == 1
    assert await store.write(asked) == first


async def test_concurrent_claims_share_the_entries_without_giving_one_twice(store: Store) -> None:
    for _ in range(20):
        await queued(store)
    claims = await asyncio.gather(*(store.write(o.ClaimSpool(NOW, NOW + HOUR, f"boot/{number}", 7)) for number in range(4)))
    ids = [claimed.id for answer in claims for claimed in answer]
    assert len(ids) == len(set(ids)) == 20


async def test_leases_die_with_the_process_that_had_them(store: Store) -> None:
    await queued(store)
    await store.write(claim(owner="boot-1/dead"))
    assert await store.write(o.ReleaseLeases(ME)) == 1
    assert len(await store.write(claim())) == 1
    assert await store.write(o.ReleaseLeases(ME)) == 0


async def test_an_entry_goes_with_its_content_when_all_recipients_are_final(store: Store) -> None:
    one, spool = await queued(store, NOW, NOW)
    await store.write(claim())
    await store.write(o.SettleSpool(spool.id, ME, (o.RecipientOutcome(0, "relayed", 0.0), o.RecipientOutcome(1, "queued", NOW + HOUR, b"451"))))
    assert await store.read(q.CountQueue()) == q.QueueCounts(1, 1, NOW + HOUR)
    assert await store.write(claim()) == ()
    (claimed,) = await store.write(claim(NOW + HOUR))
    assert claimed.due == (o.SpoolRecipient(1, "queued", 1, NOW + HOUR),)
    await store.write(o.SettleSpool(spool.id, ME, (o.RecipientOutcome(1, "relayed", 0.0),)))
    assert await store.read(q.CountQueue()) == q.QueueCounts(0, 0, 0.0)
    assert await store.read(q.GetContent(one.id)) is None


async def test_a_bounce_is_queued_in_the_transaction_that_settles_and_the_ledger_closes(store: Store) -> None:
    _one, spool = await queued(store, NOW, NOW)
    alice = await house(store)
    await store.write(claim())
    report = content()
    delivery = o.Delivery(message(alice.account, report))
    settle = o.SettleSpool(
        spool.id,
        ME,
        (o.RecipientOutcome(0, "bounced", 0.0), o.RecipientOutcome(1, "relayed", 0.0)),
        (delivery,),
        (report,),
        (entry(report, kind="generated"),),
        new_id(),
    )
    (placed,) = await store.write(settle)
    assert placed.mailbox == alice.inbox
    assert await store.write(settle) == (placed,)
    assert (await box(store, alice)).messages == 1
    assert (await store.read(q.CountQueue())).entries == 1
    (day,) = await store.read(q.GetLedger())
    assert day == q.LedgerRow(int(NOW // 86400), 3, 0, 1, 1, 1)
    assert day.accepted == day.delivered + day.queued + day.relayed + day.bounced


async def test_what_is_being_worked_at_is_not_due_before_its_lease_ends(store: Store) -> None:
    """Fault: while a remote host hung, role `back` asked for the same entry twenty times a second."""
    await queued(store)
    assert (await store.read(q.CountQueue())).next_attempt == NOW
    await store.write(o.ClaimSpool(NOW, NOW + 2 * HOUR, ME, 7))
    assert (await store.read(q.CountQueue())).next_attempt == NOW + 2 * HOUR


async def test_only_the_holder_settles_and_a_failed_settlement_leaves_nothing(store: Store) -> None:
    _one, spool = await queued(store)
    report = content()
    outcome = (o.RecipientOutcome(0, "bounced", 0.0),)
    await store.write(claim())
    with pytest.raises(ConflictError):
        await store.write(o.SettleSpool(spool.id, "boot-1/other", outcome, (), (report,), (entry(report),)))
    with pytest.raises(ConflictError):
        await store.write(o.SettleSpool(new_id(), ME, outcome))
    assert (await store.read(q.CountQueue())).recipients == 1
    assert await store.read(q.GetContent(report.id)) is None


async def test_local_and_remote_recipients_share_a_content_until_both_are_done(store: Store) -> None:
    alice = await house(store)
    one = content()
    spool = entry(one)
    accept = o.Accept((one,), (o.Delivery(message(alice.account, one)),), (spool,))
    first = await store.write(accept)
    assert await store.write(accept) == first
    await store.write(claim())
    await store.write(o.SettleSpool(spool.id, ME, (o.RecipientOutcome(0, "relayed", 0.0),)))
    assert await store.read(q.GetContent(one.id)) is not None
    (day,) = await store.read(q.GetLedger())
    assert day == q.LedgerRow(int(NOW // 86400), 2, 1, 0, 1, 0)


async def test_an_entry_without_recipients_is_refused(store: Store) -> None:
    one = content()
    with pytest.raises(ConflictError):
        await store.write(o.Accept((one,), spools=(o.NewSpool(new_id(), one.id, b"", b"", NOW, ()),)))
