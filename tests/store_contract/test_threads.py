# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools

import msgspec
import pytest

from moatmail.core.errors import LocalProtocolError, OverQuotaError
from moatmail.core.limits.store import THREAD_HEIRS, THREAD_LINKS
from moatmail.store import operations as o
from moatmail.store import queries as q
from moatmail.store import thread_items as t
from moatmail.store.interface import Store
from tests.store_contract.given import DAY, NOW, House, change, content, house, message, new_id

DELETED = 4
LATER = NOW + 26 * DAY


def links(*names: str) -> bytes:
    return b"".join(name.encode().ljust(16, b".") for name in names)


async def put(store: Store, where: House, *names: str | None) -> int:
    """Deliver a message that mentions these; gives its UID. None alone: its thread is given later."""
    one = content(100)
    made = msgspec.structs.replace(message(where.account, one), links=None if names == (None,) else links(*map(str, names)))
    return (await store.write(o.Accept((one,), (o.Delivery(made),))))[0].uid


async def threads(store: Store, where: House, *uids: int) -> list[int]:
    """Give the threads of messages, numbered in the order in which they are first seen; 0 is none."""
    found = dict(await store.read(t.GetThreads(where.account, where.inbox, uids)))
    seen: dict[bytes, int] = {}
    return [seen.setdefault(found[uid], len(seen) + 1) if uid in found else 0 for uid in uids]


async def erase(store: Store, where: House, *uids: int) -> None:
    await store.write(o.StoreFlags(new_id(), where.account, where.inbox, uids, "add", DELETED))
    await store.write(o.Expunge(where.account, where.inbox, uids, NOW, new_id()))
    await store.write(o.EraseDue(LATER))


@pytest.mark.parametrize(
    ("mentioned", "expected"),
    [
        pytest.param([("a",), ("b",)], [1, 2], id="messages that share nothing are threads of their own"),
        pytest.param([("a",), ("a", "b")], [1, 1], id="an answer joins what it answers"),
        pytest.param([("a",), ("a", "b"), ("b", "a", "c"), ("c", "d")], [1, 1, 1, 1], id="a chain is one thread"),
        pytest.param([("a", "b"), ("a",)], [1, 1], id="the message that an answer mentions joins when it comes late"),
        pytest.param([("a", "b"), ("a", "c")], [1, 1], id="two answers to a message that never came are one thread"),
        pytest.param([("a",), ("b",), ("b", "a", "c")], [1, 2, 2], id="what joins two threads joins the nearer, and they stay two"),
        pytest.param(
            [("a",), ("b",), ("b", "a", "c"), ("a", "d"), ("c", "e")], [1, 2, 2, 1, 2], id="and who comes later joins the thread of what it mentions first"
        ),
        pytest.param([("a",), ("a",)], [1, 1], id="the same message again is in the same thread"),
        pytest.param([(), ()], [1, 2], id="a message that mentions nothing is a thread of its own"),
        pytest.param([("a", "a", "b"), ("b",)], [1, 1], id="what is mentioned twice is kept once"),
    ],
)
async def test_threads_at_delivery(store: Store, mentioned: list[tuple[str, ...]], expected: list[int]) -> None:
    alice = await house(store)
    uids = [await put(store, alice, *names) for names in mentioned]
    assert await threads(store, alice, *uids) == expected


@pytest.mark.parametrize("batch", [1, 3, 500])
async def test_threads_given_later_are_those_of_delivery(store: Store, batch: int) -> None:
    alice, bob = await house(store), await house(store, "bob")
    mentioned = [("a",), ("b",), ("a", "c"), ("c", "b", "d"), ("x", "e"), ("x",), ("d", "f"), (), ("b", "g")]
    at_once = await threads(store, alice, *[await put(store, alice, *names) for names in mentioned])
    uids = [await put(store, bob, None) for _ in mentioned]
    assert await threads(store, bob, *uids) == [0] * len(mentioned)
    rows = await store.read(t.ListUnthreaded(bob.account))
    assert [(row.cover, row.summary) for row in rows] == [(b"\x01cover", b"summary")] * len(mentioned)
    asked = [(row.number, links(*names)) for row, names in zip(rows, mentioned, strict=True)]
    for start in range(0, len(asked), batch):
        some = tuple(asked[start : start + batch])
        assert await store.write(t.AddThreads(bob.account, some)) == len(some)
    assert await threads(store, bob, *uids) == at_once
    assert await store.read(t.ListUnthreaded(bob.account)) == ()


async def test_what_waits_for_its_thread_comes_in_pages(store: Store) -> None:
    alice = await house(store)
    await put(store, alice, "a")
    for _ in range(5):
        await put(store, alice, None)
    seen: list[int] = []
    while rows := await store.read(t.ListUnthreaded(alice.account, seen[-1] if seen else 0, 2)):
        assert len(rows) <= 2
        seen += [row.number for row in rows]
    assert seen == sorted(set(seen))
    assert len(seen) == 5


async def test_a_thread_once_given_is_kept_whatever_is_said_later(store: Store) -> None:
    # RFC 8474 §5.2.
    alice = await house(store)
    uids = [await put(store, alice, *names) for names in (("a",), ("b",))]
    before = await store.read(t.GetThreads(alice.account, alice.inbox, tuple(uids)))
    # It says now that it mentions the other: later ones learn that, and both keep their threads.
    first, second = 1, 2
    assert await store.write(t.AddThreads(alice.account, ((second, links("a", "c")),))) == 1
    assert await store.write(t.AddThreads(alice.account, ((second, links("a", "c")),))) == 0
    assert await store.write(t.AddThreads(alice.account, ((first, links("a")),))) == 0
    assert await store.read(t.GetThreads(alice.account, alice.inbox, tuple(uids))) == before
    later = [await put(store, alice, *names) for names in (("c", "d"), ("b", "e"))]
    assert await threads(store, alice, *uids, *later) == [1, 2, 2, 3]


async def test_nobody_gives_threads_to_mail_of_others(store: Store) -> None:
    alice, bob = await house(store), await house(store, "bob")
    uid = await put(store, alice, None)
    (row,) = await store.read(t.ListUnthreaded(alice.account))
    assert await store.write(t.AddThreads(bob.account, ((row.number, links("a")), (999, links("a"))))) == 0
    assert await threads(store, alice, uid) == [0]
    assert await store.read(t.ListUnthreaded(bob.account)) == ()
    assert await store.read(t.GetThreads(bob.account, alice.inbox, (uid,))) == ()


async def test_accounts_have_threads_of_their_own(store: Store) -> None:
    alice, bob = await house(store), await house(store, "bob")
    one = await put(store, alice, "a")
    other = await put(store, bob, "a")
    (thread,) = await store.read(t.GetThreads(alice.account, alice.inbox, (one,)))
    (others,) = await store.read(t.GetThreads(bob.account, bob.inbox, (other,)))
    assert thread[1] != others[1]
    assert await store.read(t.FindThread(bob.account, bob.inbox, thread[1])) == ()
    assert await store.read(t.FindThread(bob.account, alice.inbox, thread[1])) == ()


@pytest.mark.parametrize("wrong", [b"short", bytes(17), bytes(16 * (THREAD_LINKS + 1))], ids=["too few octets", "no whole digests", "too many"])
async def test_links_that_are_none_are_refused(store: Store, wrong: bytes) -> None:
    alice = await house(store)
    one = content(100)
    with pytest.raises(LocalProtocolError):
        await store.write(o.Accept((one,), (o.Delivery(msgspec.structs.replace(message(alice.account, one), links=wrong)),)))
    await put(store, alice, None)
    with pytest.raises(LocalProtocolError):
        await store.write(t.AddThreads(alice.account, ((1, wrong),)))
    with pytest.raises(LocalProtocolError):
        await store.write(t.AddThreads(alice.account, ((1, b""),) * 501))


async def test_a_message_may_mention_as_many_as_there_is_room_for(store: Store) -> None:
    alice = await house(store)
    names = [f"n{place}" for place in range(THREAD_LINKS)]
    uids = [await put(store, alice, *names), *[await put(store, alice, name) for name in names]]
    assert await threads(store, alice, *uids) == [1] * len(uids)


async def test_a_repeated_delivery_keeps_its_thread(store: Store) -> None:
    alice = await house(store)
    one = content(100)
    accept = o.Accept((one,), (o.Delivery(msgspec.structs.replace(message(alice.account, one), links=links("a", "b"))),))
    (placed,) = await store.write(accept)
    before = await store.read(t.GetThreads(alice.account, alice.inbox, (placed.uid,)))
    assert await store.write(accept) == (placed,)
    assert await store.read(t.GetThreads(alice.account, alice.inbox, (placed.uid,))) == before
    assert await threads(store, alice, placed.uid, await put(store, alice, "b")) == [1, 1]


async def test_copies_and_what_is_moved_keep_their_thread(store: Store) -> None:
    # RFC 8474 §5.2: the same EMAILID, the same THREADID.
    alice = await house(store)
    uids = (await put(store, alice, "a"), await put(store, alice, "b"))
    before = await store.read(t.GetThreads(alice.account, alice.inbox, uids))
    archive = alice.boxes["archive"]
    await store.write(o.Copy(new_id(), alice.account, alice.inbox, archive, uids[:1]))
    await store.write(o.Move(new_id(), alice.account, alice.inbox, archive, uids[1:]))
    assert await store.read(t.GetThreads(alice.account, archive, (1, 2))) == before
    assert await store.read(t.GetThreads(alice.account, alice.inbox, uids)) == before[:1]


async def test_appending_and_replacing_give_threads_too(store: Store) -> None:
    alice = await house(store)
    uids = [await put(store, alice, "a")]
    contents = [content(100) for _ in range(3)]
    made = [
        o.Delivery(msgspec.structs.replace(message(alice.account, one), links=links(*names)), alice.inbox, "")
        for one, names in zip(contents, (("a", "b"), ("c",), ("b", "d")), strict=True)
    ]
    uids += [placed.uid for placed in await store.write(o.Append(new_id(), tuple(contents[:2]), tuple(made[:2])))]
    replaced = await store.write(o.Replace(new_id(), alice.account, alice.inbox, uids[-1], (contents[2],), made[2]))
    assert await threads(store, alice, *uids[:2], replaced.placed.uid) == [1, 1, 1]


async def test_who_belongs_to_a_thread_is_found_page_by_page(store: Store) -> None:
    alice = await house(store)
    uids = [await put(store, alice, "a") for _ in range(5)]
    await put(store, alice, "other")
    await store.write(o.Copy(new_id(), alice.account, alice.inbox, alice.inbox, (uids[1], uids[3])))
    thread = (await store.read(t.GetThreads(alice.account, alice.inbox, (uids[0],))))[0][1]
    for limit in (1, 2, 3, 100):
        found: list[tuple[int, int]] = []
        while page := await store.read(t.FindThread(alice.account, alice.inbox, thread, *(found[-1] if found else (0, 0)), limit)):
            assert len(page) <= limit
            found += page
        assert found == sorted(set(found))
        assert sorted(uid for _number, uid in found) == [*uids, 7, 8]
    assert await store.read(t.FindThread(alice.account, alice.boxes["archive"], thread)) == ()


# ---------------------------------------------------------------- erasing


async def test_a_thread_whose_messages_are_erased_is_forgotten(store: Store) -> None:
    alice = await house(store)
    uids = [await put(store, alice, *names) for names in (("a",), ("a", "b"))]
    before = dict(await store.read(t.GetThreads(alice.account, alice.inbox, tuple(uids))))
    await erase(store, alice, *uids)
    again = [await put(store, alice, name) for name in ("a", "b")]
    assert await threads(store, alice, *again) == [1, 2]
    assert not set(dict(await store.read(t.GetThreads(alice.account, alice.inbox, tuple(again)))).values()) & set(before.values())


async def test_what_was_expunged_and_not_yet_erased_still_ties(store: Store) -> None:
    alice = await house(store)
    uid = await put(store, alice, "a")
    (before,) = await store.read(t.GetThreads(alice.account, alice.inbox, (uid,)))
    await store.write(o.StoreFlags(new_id(), alice.account, alice.inbox, (uid,), "add", DELETED))
    await store.write(o.Expunge(alice.account, alice.inbox, (uid,), NOW, new_id()))
    answer = await put(store, alice, "a", "b")
    assert (await store.read(t.GetThreads(alice.account, alice.inbox, (answer,))))[0][1] == before[1]


@pytest.mark.parametrize("gone", [(0,), (1,), (2,), (0, 1), (1, 2), (0, 2)], ids=str)
async def test_an_erased_message_takes_what_only_it_mentions_and_leaves_what_others_do(store: Store, gone: tuple[int, ...]) -> None:
    alice = await house(store)
    mentioned = (("a",), ("a", "b"), ("b", "a", "c"))
    uids = [await put(store, alice, *names) for names in mentioned]
    await erase(store, alice, *[uids[place] for place in gone])
    left = [place for place in range(3) if place not in gone]
    # Each letter is asked for once: what it begins must not answer for it.
    for name in "abc":
        still = any(name in mentioned[place] for place in left)
        asker = await put(store, alice, name, f"asker of {name}")
        assert await threads(store, alice, uids[left[0]], asker) == ([1, 1] if still else [1, 2]), name
        await erase(store, alice, asker)


async def test_what_another_thread_mentions_is_left_to_it(store: Store) -> None:
    alice = await house(store)
    one, two, both = [await put(store, alice, *names) for names in (("a",), ("b",), ("b", "a", "c"))]
    await erase(store, alice, both)
    assert await threads(store, alice, one, two, await put(store, alice, "a", "x"), await put(store, alice, "b", "y")) == [1, 2, 1, 2]


async def test_of_a_long_thread_the_newest_are_asked(store: Store) -> None:
    alice = await house(store)
    root = await put(store, alice, "root")
    old = await put(store, alice, "root", "old")
    answers = [await put(store, alice, "old" if place else "root", f"answer {place}") for place in range(THREAD_HEIRS + 1)]
    await erase(store, alice, root)
    # The one answer that mentions the root is too old to be asked: rather forgotten than kept for ever.
    assert await threads(store, alice, answers[-1], await put(store, alice, "root", "x")) == [1, 2]
    await erase(store, alice, old)
    assert await threads(store, alice, answers[-1], await put(store, alice, "old", "y")) == [1, 1]


async def test_a_removed_account_takes_its_threads(store: Store) -> None:
    alice = await house(store)
    await put(store, alice, "a", "b")
    await store.write(change(o.RemoveAccount("alice@example.test")))
    again = await house(store)
    uid = await put(store, again, "a")
    assert await threads(store, again, uid, await put(store, again, "b")) == [1, 2]


async def test_a_refused_delivery_ties_nothing(store: Store) -> None:
    alice = await house(store, quota=150)
    first = await put(store, alice, "a")
    with pytest.raises(OverQuotaError):
        await put(store, alice, "x", "y")
    await store.write(change(o.SetAccount("alice@example.test", "active", 0)))
    assert await threads(store, alice, first, await put(store, alice, "x"), await put(store, alice, "y")) == [1, 2, 3]


async def test_threads_lie_in_order_of_time(store: Store) -> None:
    alice = await house(store)
    uids = [await put(store, alice, name) for name in "abc"]
    found = [thread for _uid, thread in await store.read(t.GetThreads(alice.account, alice.inbox, tuple(uids)))]
    assert [len(thread) for thread in found] == [16] * 3
    assert {int.from_bytes(thread[:5], "big") for thread in found} == {int(NOW)}
    assert all(one != other for one, other in itertools.combinations(found, 2))
    assert await store.read(q.GetMessages(alice.account, alice.inbox, tuple(uids)))
