# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from array import array

import msgspec
import pytest

from moatmail.core.errors import ConflictError, LocalProtocolError, NotFoundError
from moatmail.store import index_items as i
from moatmail.store import operations as o
from moatmail.store import queries as q
from moatmail.store.interface import Store
from tests.store_contract.given import DAY, NOW, House, arrival, box, change, content, house, message, new_id

DELETED = 4
PARTS = ((0, b"sealed from"), (6, b"sealed body"))


async def fill(store: Store, alice: House, number: int, words: bytes = b"sealed words") -> None:
    for _ in range(number):
        one = content(100)
        made = msgspec.structs.replace(message(alice.account, one), words=words)
        await store.write(o.Accept((one,), (o.Delivery(made),)))


async def tail(store: Store, alice: House) -> list[int]:
    return [row.number for row in await store.read(i.ListUnindexed(alice.account))]


async def merge(store: Store, alice: House, *numbers: int) -> bytes:
    segment = new_id()
    await store.write(i.AddSegment(alice.account, segment, numbers, PARTS))
    return segment


async def segments(store: Store, alice: House) -> tuple[bytes, ...]:
    return await store.read(i.ListSegments(alice.account))


async def expunge(store: Store, alice: House, *uids: int, at: float = NOW) -> None:
    await store.write(o.StoreFlags(new_id(), alice.account, alice.inbox, uids, "add", DELETED))
    await store.write(o.Expunge(alice.account, alice.inbox, uids, at, new_id()))


async def test_a_delivered_message_waits_in_the_tail_with_its_words(store: Store) -> None:
    alice = await house(store)
    await fill(store, alice, 1)
    await fill(store, alice, 1, words=b"")
    rows = await store.read(i.ListUnindexed(alice.account))
    assert [row.words for row in rows] == [b"sealed words", b""]
    assert await store.read(i.CountUnindexed(alice.account)) == i.UnindexedCount(2, 1)


async def test_words_made_later_replace_and_reach_only_the_accounts_own_messages(store: Store) -> None:
    alice, bob = await house(store), await house(store, "bob")
    await fill(store, alice, 2, words=b"")
    first, second = await tail(store, alice)
    assert await store.write(i.AddWords(bob.account, ((first, b"stolen"),))) == 0
    assert await store.write(i.AddWords(alice.account, ((first, b"made"), (999, b"of nobody")))) == 1
    assert await store.write(i.AddWords(alice.account, ((first, b"made again"),))) == 1
    assert [(row.number, row.words) for row in await store.read(i.ListUnindexed(alice.account))] == [(first, b"made again"), (second, b"")]


async def test_a_merged_message_leaves_the_tail_and_its_parts_come_by_kind(store: Store) -> None:
    alice, bob = await house(store), await house(store, "bob")
    await fill(store, alice, 3)
    numbers = await tail(store, alice)
    segment = await merge(store, alice, *numbers[:2])
    assert await tail(store, alice) == numbers[2:]
    assert await segments(store, alice) == (segment,)
    assert await store.read(i.GetSegmentPart(alice.account, segment, 6)) == b"sealed body"
    assert await store.read(i.GetSegmentPart(alice.account, segment, 3)) is None
    answer = await store.read(i.GetSegmentNumbers(alice.account, segment))
    assert list(array("Q", answer or b"")) == numbers[:2]
    assert await store.read(i.GetSegmentNumbers(bob.account, segment)) is None


async def test_a_message_is_merged_once_however_many_try(store: Store) -> None:
    alice, bob = await house(store), await house(store, "bob")
    await fill(store, alice, 3)
    first, second, third = await tail(store, alice)
    segment = await merge(store, alice, first, second)
    await store.write(i.AddSegment(alice.account, segment, (first, second), PARTS))  # sent again: as if just done
    for account, numbers in ((alice.account, (second, third)), (alice.account, (third, 999)), (bob.account, (third,))):
        with pytest.raises(ConflictError):
            await store.write(i.AddSegment(account, new_id(), numbers, PARTS))
    with pytest.raises(LocalProtocolError):
        await store.write(i.AddSegment(alice.account, new_id(), (third, third), PARTS))
    assert (await tail(store, alice), await segments(store, alice)) == ([third], (segment,))


async def test_erasing_a_message_drops_its_segment_and_what_else_was_in_it_waits_again(store: Store) -> None:
    alice = await house(store)
    await fill(store, alice, 5)
    numbers = await tail(store, alice)
    dropped = await merge(store, alice, *numbers[:3])
    other = await merge(store, alice, numbers[3])
    await expunge(store, alice, 1, 2)
    # Recoverable: nothing of it is gone yet, and nothing of it is merged anew.
    assert len(await segments(store, alice)) == 2
    assert await store.write(o.EraseDue(NOW + 26 * DAY)) == 2
    assert await segments(store, alice) == (other,)
    assert await store.read(i.GetSegmentPart(alice.account, dropped, 0)) is None
    assert await store.read(i.GetSegmentPart(alice.account, other, 0)) == b"sealed from"
    # Words are kept until they are merged: those of the third message are made anew from its content.
    rows = await store.read(i.ListUnindexed(alice.account))
    assert [(row.number, row.words) for row in rows] == [(numbers[2], b""), (numbers[4], b"sealed words")]
    assert await store.read(i.CountUnindexed(alice.account)) == i.UnindexedCount(2, 1)


async def test_what_is_expunged_before_it_was_merged_leaves_the_tail(store: Store) -> None:
    alice = await house(store)
    await fill(store, alice, 2)
    _first, second = await tail(store, alice)
    await expunge(store, alice, 1)
    assert await tail(store, alice) == [second]
    await store.write(o.EraseDue(NOW + 26 * DAY))
    assert await store.write(i.AddWords(alice.account, ((_first, b"too late"),))) == 0


async def test_a_copied_or_moved_message_stays_where_it_is_in_the_index(store: Store) -> None:
    alice = await house(store)
    await fill(store, alice, 1)
    numbers = await tail(store, alice)
    await merge(store, alice, *numbers)
    await store.write(o.Copy(new_id(), alice.account, alice.inbox, alice.boxes["archive"], (1,)))
    await store.write(o.Move(new_id(), alice.account, alice.inbox, alice.boxes["trash"], (1,)))
    assert (await tail(store, alice), len(await segments(store, alice))) == ([], 1)
    for use in ("archive", "trash"):
        page = await store.read(i.ListNumbers(alice.account, alice.boxes[use]))
        assert (list(array("I", page.uids)), list(array("Q", page.numbers))) == ([1], numbers)


async def test_numbers_come_in_pages_and_to_their_owner_only(store: Store) -> None:
    alice, bob = await house(store), await house(store, "bob")
    await fill(store, alice, 5)
    page = await store.read(i.ListNumbers(alice.account, alice.inbox, after=2, limit=2))
    assert list(array("I", page.uids)) == [3, 4]
    assert (await store.read(i.ListNumbers(bob.account, alice.inbox))).uids == b""


async def test_deleting_a_mailbox_takes_its_messages_out_of_the_tail(store: Store) -> None:
    alice = await house(store)
    await fill(store, alice, 1)
    one = content(100)
    await store.write(o.Accept((one,), (o.Delivery(message(alice.account, one), special_use="archive"),)))
    kept = (await tail(store, alice))[0]
    await store.write(o.DeleteMailbox(alice.account, alice.boxes["archive"], NOW, new_id()))
    assert await tail(store, alice) == [kept]


async def test_with_an_account_all_of_its_index_goes(store: Store) -> None:
    alice = await house(store)
    await fill(store, alice, 3)
    segment = await merge(store, alice, *(await tail(store, alice))[:2])
    await store.write(change(o.RemoveAccount("alice@example.test")))
    assert (await tail(store, alice), await segments(store, alice)) == ([], ())
    assert await store.read(i.GetSegmentPart(alice.account, segment, 0)) is None


async def test_dropped_segments_and_lost_messages_come_back_into_the_tail(store: Store) -> None:
    alice = await house(store)
    await fill(store, alice, 2)
    numbers = tuple(await tail(store, alice))
    segment = await merge(store, alice, *numbers)
    assert await store.write(i.Retail(alice.account, numbers)) == 0
    assert await store.write(i.DropSegments(alice.account, (segment, new_id()))) == 1
    assert await tail(store, alice) == list(numbers)


async def test_a_summary_is_replaced_only_where_the_old_one_still_is(store: Store) -> None:
    alice = await house(store)
    await fill(store, alice, 1)
    (number,) = await tail(store, alice)
    assert await store.write(i.SetSummary(alice.account, ((number, b"another", b"new"),))) == 0
    assert await store.write(i.SetSummary(alice.account, ((number, b"summary", b"new"),))) == 1
    assert (await store.read(q.GetMessages(alice.account, alice.inbox, (1,), summary=True)))[0].summary == b"new"


async def test_octets_marked_for_removal_are_counted_by_every_way_they_change(store: Store) -> None:
    alice = await house(store)
    await store.write(arrival(alice.account, size=100, flags=DELETED))
    await store.write(arrival(alice.account, size=30))
    deleted = q.DeletedOctets(alice.account, alice.inbox)
    assert await store.read(deleted) == 100
    await store.write(o.StoreFlags(new_id(), alice.account, alice.inbox, (1, 2), "add", DELETED))
    assert await store.read(deleted) == (await box(store, alice)).deleted_octets == 130
    await store.write(o.StoreFlags(new_id(), alice.account, alice.inbox, (2,), "replace", 0))
    assert await store.read(deleted) == 100
    await store.write(o.Copy(new_id(), alice.account, alice.inbox, alice.boxes["trash"], (1, 2)))
    await store.write(o.Move(new_id(), alice.account, alice.inbox, alice.boxes["archive"], (1,)))
    assert [await store.read(q.DeletedOctets(alice.account, alice.boxes[use])) for use in ("inbox", "trash", "archive")] == [0, 100, 100]
    await store.write(o.Expunge(alice.account, alice.boxes["trash"], None, NOW, new_id()))
    assert await store.read(q.DeletedOctets(alice.account, alice.boxes["trash"])) == 0


async def test_vanished_uids_of_a_range_come_in_pages_from_a_modseq(store: Store) -> None:
    alice = await house(store)
    await fill(store, alice, 6)
    before = (await box(store, alice)).highestmodseq
    await expunge(store, alice, 2, 3, 5)
    await expunge(store, alice, 6)
    ask = q.ListVanished(alice.account, alice.inbox, before, limit=2)
    page = await store.read(ask)
    assert page is not None
    assert (page.uids, page.more) == ((2, 3), True)
    rest = await store.read(q.ListVanished(alice.account, alice.inbox, page.modseq, page.uid))
    assert rest is not None
    assert (rest.uids, rest.more) == ((5, 6), False)
    cut = await store.read(q.ListVanished(alice.account, alice.inbox, before, first=3, last=5))
    assert cut is not None
    assert cut.uids == (3, 5)
    assert await store.read(q.ListVanished(alice.account, alice.inbox, rest.modseq, rest.uid)) == q.VanishedPage((), rest.modseq, rest.uid, False)
    assert await store.read(q.ListVanished(alice.account, 999, 0)) is None


async def test_a_replaced_message_goes_and_the_new_one_comes_or_neither(store: Store) -> None:
    alice = await house(store, quota=250)
    await fill(store, alice, 2)
    one = content(120)
    new = o.Replace(new_id(), alice.account, alice.inbox, 1, (one,), o.Delivery(message(alice.account, one), alice.boxes["drafts"], ""))
    answer = await store.write(new)
    assert (answer.placed.mailbox, answer.placed.uid) == (alice.boxes["drafts"], 1)
    assert answer.source_modseq == (await box(store, alice)).highestmodseq
    assert await store.write(new) == answer  # sent again: answers, and does nothing
    assert [row.uid for row in await store.read(q.ListPlacements(alice.account, alice.inbox))] == [2]
    two = content(10)
    gone = o.Replace(new_id(), alice.account, alice.inbox, 1, (two,), o.Delivery(message(alice.account, two), alice.inbox, ""))
    with pytest.raises(NotFoundError):
        await store.write(gone)
    assert [row.uid for row in await store.read(q.ListPlacements(alice.account, alice.inbox))] == [2]


async def test_what_a_list_of_messages_needs_is_found_by_uid_and_segments_by_number(store: Store) -> None:
    alice, bob = await house(store), await house(store, "bob")
    await fill(store, alice, 3)
    rows = await store.read(i.ListPlaced(alice.account, alice.inbox, 2, 9))
    assert [(row.uid, row.number) for row in rows] == list(zip((2, 3), (await tail(store, alice))[1:], strict=True))
    assert [(row.size, row.saved_at > 0) for row in rows] == [
        (row.size, row.saved_at > 0) for row in await store.read(q.GetMessages(alice.account, alice.inbox, (2, 3)))
    ]
    assert [row.id for row in rows] == [row.id for row in await store.read(q.GetMessages(alice.account, alice.inbox, (2, 3)))]
    assert await store.read(i.ListPlaced(bob.account, alice.inbox, 1, 9)) == ()
    assert len(await store.read(i.ListPlaced(alice.account, alice.inbox, 1, 9, limit=1))) == 1
    first, second, third = await tail(store, alice)
    one, two = await merge(store, alice, first, second), await merge(store, alice, third)
    assert await store.read(i.FindSegments(alice.account, second, third)) == (one, two)
    assert await store.read(i.FindSegments(alice.account, first, first)) == (one,)
    assert await store.read(i.FindSegments(alice.account, first, third, limit=1)) == (one,)
    assert await store.read(i.FindSegments(bob.account, first, third)) == ()
    assert await store.read(i.GetSegmentPart(alice.account, one, 6)) == b"sealed body"
    assert await store.read(i.GetSegmentPart(alice.account, one, 5)) is None
    assert await store.read(i.GetSegmentPart(bob.account, one, 6)) is None


async def test_a_segment_takes_the_place_of_another_or_nothing_changes(store: Store) -> None:
    alice = await house(store)
    await fill(store, alice, 5)
    numbers = tuple(await tail(store, alice))
    old = await merge(store, alice, *numbers[:4])
    new = new_id()
    take_over = i.AddSegment(alice.account, new, (numbers[0], numbers[2]), PARTS, (old,))
    for replaces in ((old, new_id()), (old, old)):
        with pytest.raises(ConflictError):
            await store.write(msgspec.structs.replace(take_over, replaces=replaces))
    with pytest.raises(LocalProtocolError):
        await store.write(msgspec.structs.replace(take_over, replaces=(old,) * 9))
    assert (await tail(store, alice), await segments(store, alice)) == ([numbers[4]], (old,))
    for _ in range(2):  # sent again: as if just done
        await store.write(take_over)
    assert (await tail(store, alice), await segments(store, alice)) == ([numbers[1], numbers[3], numbers[4]], (new,))


async def test_segments_that_will_go_are_found_in_the_order_in_which_they_do(store: Store) -> None:
    alice, bob = await house(store), await house(store, "bob")
    await fill(store, alice, 20)
    numbers = await tail(store, alice)
    made = [await merge(store, alice, *numbers[start : start + 2]) for start in range(0, 20, 2)]
    await expunge(store, alice, *range(1, 20, 2))
    due = NOW + 25 * DAY
    assert await store.read(i.FindDoomed(alice.account, due)) == i.DoomedPage((), 0.0, 0)
    page = await store.read(i.FindDoomed(alice.account, due + 1))
    assert len(page.segments) == 8
    assert (page.at, page.number) == (0.0, 0), "those first, then ask again"
    for segment in page.segments:
        kept = await store.read(i.ListSegmentRows(alice.account, segment))
        assert [row.number for row in kept] == [numbers[2 * made.index(segment) + 1]]
        assert (kept[0].words, kept[0].size) == (b"", 100)
        await store.write(i.AddSegment(alice.account, new_id(), (kept[0].number,), PARTS, (segment,)))
    rest = await store.read(i.FindDoomed(alice.account, due + 1))
    assert sorted((*page.segments, *rest.segments)) == sorted(made)
    assert await store.read(i.FindDoomed(alice.account, due + 1, 1, rest.at, rest.number)) == i.DoomedPage((), 0.0, 0)
    assert (await store.read(i.FindDoomed(alice.account, due + 1, least=2))).segments == ()
    assert (await store.read(i.FindDoomed(bob.account, due + 1))).segments == ()
    assert await store.read(i.ListSegmentRows(bob.account, rest.segments[0])) == ()
    assert await store.read(i.ListSegmentRows(alice.account, rest.segments[0], after=numbers[-1])) == ()
