# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from array import array
from pathlib import Path

import msgspec
import pytest

from moatmail.core.errors import AlreadyExistsError, ConflictError, NotFoundError, NotPermittedError, OverQuotaError
from moatmail.store import operations as o
from moatmail.store import queries as q
from moatmail.store.column_items import ColumnsPage, ListColumns
from moatmail.store.index_items import RealSizes
from moatmail.store.interface import Store
from moatmail.store.sql import messages
from moatmail.store.sql.statement import Statement
from moatmail.store.writer import Writer
from tests.store_contract.given import DAY, NOW, Ear, GlassVault, House, StandingClock, arrival, box, change, content, house, message, new_id

SEEN, DELETED, FLAGGED = 8, 4, 2


async def fill(store: Store, alice: House, number: int, flags: int = 0) -> None:
    for _ in range(number):
        await store.write(arrival(alice.account, size=100, flags=flags))


async def rows(store: Store, alice: House, use: str = "inbox") -> list[tuple[int, int]]:
    return [(row.uid, row.flags) for row in await store.read(q.ListPlacements(alice.account, alice.boxes[use]))]


def flags(alice: House, mode: str, bits: int, *uids: int, **more: object) -> o.StoreFlags:
    return o.StoreFlags(new_id(), alice.account, alice.inbox, uids, mode, bits, **more)  # type: ignore[arg-type]


async def test_a_new_account_has_six_subscribed_mailboxes_with_positive_highestmodseq(store: Store) -> None:
    alice = await house(store)
    answer = await store.read(q.ListMailboxes(alice.account))
    assert [row.special_use for row in answer.mailboxes] == ["inbox", "drafts", "sent", "junk", "trash", "archive"]
    assert all((row.highestmodseq, row.uidnext, row.messages) == (1, 1, 0) for row in answer.mailboxes)
    assert len({row.uidvalidity for row in answer.mailboxes}) == 6
    assert {row.sealed_name for row in answer.subscriptions} == {row.sealed_name for row in answer.mailboxes}


@pytest.mark.parametrize(
    ("mode", "bits", "keywords", "wanted"),
    [
        pytest.param("add", FLAGGED, ("new",), o.PlacementRow(1, SEEN | FLAGGED, ("old", "new"), 3), id="add keeps what was there"),
        pytest.param("remove", SEEN, ("old",), o.PlacementRow(1, 0, (), 3), id="remove takes only what is named"),
        pytest.param("replace", DELETED, ("new",), o.PlacementRow(1, DELETED, ("new",), 3), id="replace leaves nothing else"),
        pytest.param("add", SEEN, ("old",), o.PlacementRow(1, SEEN, ("old",), 2), id="what was so before keeps its modseq"),
    ],
)
async def test_flags_are_changed_as_the_mode_says(store: Store, mode: str, bits: int, keywords: tuple[str, ...], wanted: o.PlacementRow) -> None:
    alice = await house(store)
    await store.write(arrival(alice.account, flags=SEEN, keywords=("old",)))
    answer = await store.write(flags(alice, mode, bits, 1, keywords=keywords))
    assert answer == o.FlagsStored((wanted,), (), wanted.modseq)
    assert await store.read(q.ListPlacements(alice.account, alice.inbox)) == (wanted,)
    row = await box(store, alice)
    assert (row.unseen, row.deleted) == (int(not wanted.flags & SEEN), int(bool(wanted.flags & DELETED)))


async def test_unchangedsince_leaves_younger_rows_alone_and_tells_them(store: Store) -> None:
    alice = await house(store)
    await fill(store, alice, 3)
    await store.write(flags(alice, "add", FLAGGED, 2))
    answer = await store.write(flags(alice, "add", SEEN, 1, 2, 3, unchanged_since=4))
    assert answer.failed == (2,)
    assert [row.uid for row in answer.rows] == [1, 3]
    assert await rows(store, alice) == [(1, SEEN), (2, FLAGGED), (3, SEEN)]


async def test_uids_far_apart_and_unknown_ones_are_taken_for_what_they_are(store: Store) -> None:
    alice = await house(store)
    await fill(store, alice, 30)
    answer = await store.write(flags(alice, "add", SEEN, 30, 1, 15, 99))
    assert [row.uid for row in answer.rows] == [1, 15, 30]
    assert sum(bits for _uid, bits in await rows(store, alice)) == 3 * SEEN
    assert [row.uid for row in await store.read(q.GetMessages(alice.account, alice.inbox, (30, 2, 5, 77)))] == [2, 5, 30]


async def test_copies_share_the_message_and_take_no_room(store: Store) -> None:
    alice = await house(store, quota=350)
    await fill(store, alice, 3, flags=FLAGGED)
    copy = o.Copy(new_id(), alice.account, alice.inbox, alice.boxes["archive"], (1, 3))
    answer = await store.write(copy)
    assert (answer.source_uids, answer.target_uids, answer.target_modseq) == ((1, 3), (1, 2), 3)
    assert await store.write(copy) == answer
    assert await rows(store, alice, "archive") == [(1, FLAGGED), (2, FLAGGED)]
    archive, inbox = await box(store, alice, "archive"), await box(store, alice)
    assert (archive.messages, archive.octets, archive.uidvalidity) == (2, 200, answer.uidvalidity)
    assert inbox.messages == 3
    copies = await store.read(q.GetMessages(alice.account, archive.id, (1, 2)))
    originals = await store.read(q.GetMessages(alice.account, alice.inbox, (1, 2, 3)))
    assert {row.id for row in copies} == {originals[0].id, originals[2].id}
    with pytest.raises(OverQuotaError):
        await store.write(arrival(alice.account, size=51))


async def test_a_move_takes_away_at_the_source_and_tells_both_modseqs(store: Store) -> None:
    alice = await house(store)
    await fill(store, alice, 3, flags=SEEN)
    move = o.Move(new_id(), alice.account, alice.inbox, alice.boxes["trash"], (2, 3))
    answer = await store.write(move)
    assert (answer.source_uids, answer.target_uids) == ((2, 3), (1, 2))
    assert await store.write(move) == answer
    assert await rows(store, alice) == [(1, SEEN)]
    inbox, trash = await box(store, alice), await box(store, alice, "trash")
    assert (inbox.messages, inbox.octets, inbox.highestmodseq, inbox.uidnext) == (1, 100, answer.source_modseq, 4)
    assert (trash.messages, trash.octets, trash.highestmodseq, trash.uidnext) == (2, 200, answer.target_modseq, 3)
    changes = await store.read(q.ListChanges(alice.account, alice.inbox, 4))
    assert changes is not None
    assert (changes.rows, changes.vanished) == ((), (2, 3))


async def test_a_move_within_one_mailbox_gives_new_uids(store: Store) -> None:
    alice = await house(store)
    await fill(store, alice, 2)
    answer = await store.write(o.Move(new_id(), alice.account, alice.inbox, alice.inbox, (1,)))
    assert answer.target_uids == (3,)
    assert await rows(store, alice) == [(2, 0), (3, 0)]
    row = await box(store, alice)
    assert (row.messages, row.octets, row.uidnext, row.highestmodseq) == (2, 200, 4, answer.target_modseq)


async def test_expunge_takes_only_what_is_deleted_and_named(store: Store) -> None:
    alice = await house(store, quota=500)
    await fill(store, alice, 2, flags=DELETED | SEEN)
    await fill(store, alice, 3)
    answer = await store.write(o.Expunge(alice.account, alice.inbox, (1, 4), NOW))
    assert answer == o.Expunged((1,), 7)
    assert (await box(store, alice)).deleted == 1
    answer = await store.write(o.Expunge(alice.account, alice.inbox, None, NOW))
    assert answer == o.Expunged((2,), 8)
    row = await box(store, alice)
    assert (row.messages, row.deleted, row.unseen, row.octets) == (3, 0, 3, 300)
    # What is recoverable takes no room of the quota.
    await store.write(arrival(alice.account, size=200))
    assert await store.write(o.Expunge(alice.account, alice.inbox, None, NOW)) == o.Expunged((), 9)


async def test_an_expunged_message_is_erased_when_its_time_is_over_and_not_before(store: Store) -> None:
    alice = await house(store)
    accept = arrival(alice.account, flags=DELETED)
    await store.write(accept)
    await store.write(o.Expunge(alice.account, alice.inbox, None, NOW))
    assert await store.write(o.EraseDue(NOW + 24.9 * DAY)) == 0
    assert await store.read(q.GetContent(accept.contents[0].id)) is not None
    assert await store.write(o.EraseDue(NOW + 25 * DAY)) == 1
    assert await store.read(q.GetContent(accept.contents[0].id)) is None


async def test_recoverable_days_of_zero_erases_at_once(store: Store) -> None:
    alice = await house(store)
    await store.write(change(o.SetSetting("store.recoverable_days", "0")))
    accept = arrival(alice.account, flags=DELETED)
    await store.write(accept)
    await store.write(o.Expunge(alice.account, alice.inbox, None, NOW))
    assert await store.read(q.GetContent(accept.contents[0].id)) is None


async def test_a_message_with_another_placement_outlives_the_expunge(store: Store) -> None:
    alice = await house(store)
    accept = arrival(alice.account, flags=DELETED)
    await store.write(accept)
    await store.write(o.Copy(new_id(), alice.account, alice.inbox, alice.boxes["archive"], (1,)))
    await store.write(o.Expunge(alice.account, alice.inbox, None, NOW))
    assert await store.write(o.EraseDue(NOW + 99 * DAY)) == 0
    assert len(await store.read(q.GetMessages(alice.account, alice.boxes["archive"], (1,)))) == 1


async def test_shared_content_goes_with_its_last_reference(store: Store) -> None:
    alice, bob = await house(store), await house(store, "bob")
    await store.write(change(o.SetSetting("store.recoverable_days", "0")))
    accept = arrival(alice.account, flags=DELETED)
    other = o.Delivery(o.NewMessage(new_id(), bob.account, accept.contents[0].id, b"\x02c", b"", b"", 2_000, NOW), flags=DELETED)
    await store.write(o.Accept(accept.contents, (*accept.deliveries, other)))
    await store.write(o.Expunge(alice.account, alice.inbox, None, NOW))
    assert await store.read(q.GetContent(accept.contents[0].id)) is not None
    await store.write(o.Expunge(bob.account, bob.inbox, None, NOW))
    assert await store.read(q.GetContent(accept.contents[0].id)) is None


async def test_changes_since_a_modseq_come_in_pages_that_lose_and_repeat_nothing(store: Store) -> None:
    alice = await house(store)
    await fill(store, alice, 20)
    await store.write(flags(alice, "add", DELETED, *range(3, 9)))
    await store.write(o.Expunge(alice.account, alice.inbox, (3, 4), NOW))
    await store.write(o.Expunge(alice.account, alice.inbox, (8,), NOW))
    for limit in (1, 2, 3, 7, 500):
        seen: dict[int, int] = {}
        gone: list[int] = []
        since, more = 1, True
        while more:
            page = await store.read(q.ListChanges(alice.account, alice.inbox, since, limit))
            assert page is not None
            assert page.upto > since
            assert not any(row.uid in seen for row in page.rows)
            seen |= {row.uid: row.flags for row in page.rows}
            gone += page.vanished
            since, more = page.upto, page.more
        assert gone == [3, 4, 8]
        assert sorted(seen.items()) == await rows(store, alice)
        assert since == (await box(store, alice)).highestmodseq
    since = (await box(store, alice)).highestmodseq
    nothing = await store.read(q.ListChanges(alice.account, alice.inbox, since))
    assert nothing == q.ChangesAnswer((), (), since, since, more=False)
    assert await store.read(q.ListChanges(alice.account, 999, 1)) is None


async def test_placements_and_sizes_come_in_pages(store: Store) -> None:
    alice = await house(store)
    await fill(store, alice, 5)
    page = await store.read(q.ListPlacements(alice.account, alice.inbox, after=2, limit=2))
    assert [row.uid for row in page] == [3, 4]
    assert await store.read(q.MessageSizes(alice.account, alice.inbox, after=4)) == ((5, 100, NOW, NOW),)


async def test_placements_come_in_columns_that_say_what_rows_say(store: Store) -> None:
    alice = await house(store)
    await fill(store, alice, 5)
    await store.write(o.StoreFlags(new_id(), alice.account, alice.inbox, (2, 4), "add", 9, ("$Work", "later")))
    rows = await store.read(q.ListPlacements(alice.account, alice.inbox))
    page = await store.read(ListColumns(alice.account, alice.inbox))
    assert list(zip(array("I", page.uids), array("H", page.flags), array("Q", page.modseqs), strict=True)) == [(row.uid, row.flags, row.modseq) for row in rows]
    assert page.keywords == ((2, ("$Work", "later")), (4, ("$Work", "later")))
    assert array("I", (await store.read(ListColumns(alice.account, alice.inbox, after=2, limit=2))).uids).tolist() == [3, 4]
    assert await store.read(ListColumns(alice.account + 1, alice.inbox)) == ColumnsPage(b"", b"", b"")


async def test_a_mailbox_is_made_once_and_its_repetition_is_harmless(store: Store) -> None:
    alice = await house(store)
    create = o.CreateMailbox(alice.account, new_id(), b"sealed", b"t" * 16)
    number = await store.write(create)
    assert await store.write(create) == number
    with pytest.raises(AlreadyExistsError):
        await store.write(o.CreateMailbox(alice.account, new_id(), b"other", b"t" * 16))
    with pytest.raises(ConflictError):  # another refusal than that of a name: RFC 6154 §3 wants USEATTR
        await store.write(o.CreateMailbox(alice.account, new_id(), b"second sent", b"u" * 16, "sent"))
    with pytest.raises(NotFoundError):
        await store.write(o.CreateMailbox(77, new_id(), b"sealed", b"t" * 16))


async def test_a_mailbox_made_anew_has_a_higher_uidvalidity(store: Store) -> None:
    alice = await house(store)
    first = await store.write(o.CreateMailbox(alice.account, new_id(), b"sealed", b"t" * 16))
    before = await store.read(q.GetMailbox(alice.account, first))
    await store.write(o.DeleteMailbox(alice.account, first, NOW))
    second = await store.write(o.CreateMailbox(alice.account, new_id(), b"sealed", b"t" * 16))
    after = await store.read(q.GetMailbox(alice.account, second))
    assert before is not None
    assert after is not None
    assert second > first
    assert after.uidvalidity > before.uidvalidity


async def test_a_tree_is_renamed_whole_names_may_change_places_and_a_clash_changes_nothing(store: Store) -> None:
    alice = await house(store)
    one, two = [await store.write(o.CreateMailbox(alice.account, new_id(), name, name * 16)) for name in (b"1", b"2")]
    swap = (o.RenamedMailbox(one, b"two", b"2" * 16), o.RenamedMailbox(two, b"one", b"1" * 16))
    await store.write(o.RenameMailboxes(alice.account, swap))
    names = {row.id: row.sealed_name for row in (await store.read(q.ListMailboxes(alice.account))).mailboxes}
    assert (names[one], names[two]) == (b"two", b"one")
    clash = (o.RenamedMailbox(one, b"x", b"x" * 16), o.RenamedMailbox(two, b"two", b"x" * 16))
    with pytest.raises(AlreadyExistsError):
        await store.write(o.RenameMailboxes(alice.account, clash))
    with pytest.raises(NotFoundError):
        await store.write(o.RenameMailboxes(alice.account, (o.RenamedMailbox(one, b"y", b"y" * 16), o.RenamedMailbox(999, b"z", b"z" * 16))))
    names = {row.id: row.sealed_name for row in (await store.read(q.ListMailboxes(alice.account))).mailboxes}
    assert (names[one], names[two]) == (b"two", b"one")


async def test_a_deleted_mailbox_takes_its_messages_unless_they_lie_elsewhere_too(store: Store) -> None:
    alice = await house(store, quota=1_000)
    await fill(store, alice, 3)
    archive = alice.boxes["archive"]
    await store.write(o.Copy(new_id(), alice.account, alice.inbox, archive, (1,)))
    await store.write(o.Move(new_id(), alice.account, alice.inbox, archive, (2, 3)))
    await store.write(o.DeleteMailbox(alice.account, archive, NOW))
    assert await store.read(q.GetMailbox(alice.account, archive)) is None
    assert await rows(store, alice) == [(1, 0)]
    (hit,) = (await store.read(q.LookupAddresses("example.test", ("alice",)))).hits
    assert hit.account is not None
    assert hit.account.used_octets == 100
    assert await store.write(o.EraseDue(NOW + 25 * DAY)) == 2
    with pytest.raises(NotFoundError):
        await store.write(o.DeleteMailbox(alice.account, 999, NOW))
    with pytest.raises(NotPermittedError):
        await store.write(o.DeleteMailbox(alice.account, alice.inbox, NOW))


async def test_names_are_subscribed_whether_or_not_they_exist(store: Store) -> None:
    alice = await house(store)
    name = o.Subscribe(alice.account, new_id(), b"gone", b"g" * 16, on=True)
    await store.write(name)
    await store.write(name)
    subscribed = (await store.read(q.ListMailboxes(alice.account))).subscriptions
    assert [row for row in subscribed if row.tag == b"g" * 16] == [q.SubscriptionRow(name.object_id, b"gone", b"g" * 16)]
    await store.write(o.Subscribe(alice.account, b"", b"", b"g" * 16, on=False))
    assert len((await store.read(q.ListMailboxes(alice.account))).subscriptions) == 6


async def test_old_covers_are_found_and_replaced_only_where_they_are_still_there(store: Store) -> None:
    alice = await house(store)
    await fill(store, alice, 3)
    old = await store.read(q.OldCovers(alice.account))
    assert len(old) == 3
    covers = [o.NewCover(row.id, row.cover, b"\x02new") for row in old[:2]]
    stale = o.NewCover(old[2].id, b"\x01 not what lies there", b"\x02new")
    assert await store.write(o.Rewrap(alice.account, (*covers, stale))) == 2
    assert [row.id for row in await store.read(q.OldCovers(alice.account))] == [old[2].id]


async def test_covers_by_a_delivery_key_are_found_to_be_replaced_as_those_of_the_first_kind_are(store: Store) -> None:
    alice = await house(store)
    of = content()
    await store.write(o.Accept((of,), tuple(o.Delivery(message(alice.account, of, cover=kind + b"cover")) for kind in (b"\x01", b"\x02", b"\x03"))))
    old = await store.read(q.OldCovers(alice.account))
    assert sorted(row.cover for row in old) == [b"\x01cover", b"\x03cover"]
    assert await store.write(o.Rewrap(alice.account, tuple(o.NewCover(row.id, row.cover, b"\x02new") for row in old))) == 2
    assert not await store.read(q.OldCovers(alice.account))


async def test_sizes_that_readers_of_utf8_are_told_come_by_uid_in_pages_of_their_mailbox_alone(store: Store) -> None:
    alice, bob = await house(store), await house(store, "bob")
    for number in range(1, 7):
        for where in (alice, bob):
            accept = arrival(where.account, size=100, flags=DELETED)
            real = 200 + number + where.account if number % 2 else 0
            made = msgspec.structs.replace(accept.deliveries[0].message, real_size=real)
            await store.write(msgspec.structs.replace(accept, deliveries=(msgspec.structs.replace(accept.deliveries[0], message=made),)))
    await store.write(o.Copy(new_id(), alice.account, alice.inbox, alice.boxes["archive"], (3,)))
    first = await store.read(RealSizes(alice.account, alice.inbox, limit=2))
    assert first == ((1, 201 + alice.account), (3, 203 + alice.account))
    assert await store.read(RealSizes(alice.account, alice.inbox, after=3)) == ((5, 205 + alice.account),)
    assert await store.read(RealSizes(alice.account, alice.boxes["archive"])) == ((1, 203 + alice.account),)
    assert await store.read(RealSizes(bob.account, alice.inbox)) == ()
    await store.write(o.Expunge(alice.account, alice.inbox, (1, 2), NOW))
    assert [uid for uid, _size in await store.read(RealSizes(alice.account, alice.inbox))] == [3, 5]


def test_sizes_of_readers_of_utf8_are_found_by_the_few_that_have_one(folder: Path) -> None:
    writer = Writer(folder, GlassVault(), StandingClock(), Ear())
    plan = writer.db.all(Statement("EXPLAIN QUERY PLAN " + messages.REAL_SIZES), {"account": 1, "mailbox": 1, "after": 0, "rows": 5})
    steps = [row[-1] for row in plan]
    assert "ix_message_real_size" in steps[0]
    assert "ix_placement_message" in steps[1]
    writer.close()
