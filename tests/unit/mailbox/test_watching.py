# SPDX-License-Identifier: Apache-2.0
"""What is told of an account's mailboxes: each change once, whatever hints came or were lost, and nothing of an account nobody watches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from moatmail.core.errors import StoreUnavailableError
from moatmail.core.limits.mailbox import HEAL_SECONDS
from moatmail.mailbox import mailboxes
from moatmail.mailbox.changes import Listeners
from moatmail.mailbox.watching import Box as Seen
from moatmail.mailbox.watching import TooMuchWatchedError, Watching, watch
from moatmail.store.operations import RenamedMailbox, RenameMailboxes
from tests.unit.mailbox.box import Box, box_of

HELLO = b"From: a@b.test\r\nSubject: x\r\n\r\nwords\r\n"


class Hand:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


class Ear:
    """Writes down what it hears."""

    def __init__(self) -> None:
        self.heard: list[tuple[object, ...]] = []
        self.event = asyncio.Event()

    def counted(self, before: Seen, now: Seen) -> None:
        self.heard.append(("counted", now.name, now.messages - before.messages))
        self.event.set()

    def named(self, box: Seen, old: str | None) -> None:
        self.heard.append(("named", box.name, old))

    def subscribed(self, name: str) -> None:
        self.heard.append(("subscribed", name))

    def lost(self) -> None:
        self.heard.append(("lost",))

    def take(self) -> set[tuple[object, ...]]:
        heard, self.heard = self.heard, []
        assert len(set(heard)) == len(heard), "told twice"
        return set(heard)


class Watch:
    """Ann's account under an ear's watch."""

    def __init__(self, box: Box) -> None:
        self.box = box
        self.ear = Ear()
        self.clock = Hand()
        self.listeners = Listeners()
        self.watching: Watching

    async def begin(self) -> None:
        self.watching = await watch(self.box.opened, self.listeners, self.clock, self.ear)

    async def settle(self) -> set[tuple[object, ...]]:
        await self.watching.refresh()
        return self.ear.take()


@pytest.fixture
async def watched(tmp_path: Path) -> AsyncIterator[Watch]:
    async with box_of(tmp_path) as box:
        one = Watch(box)
        await one.begin()
        yield one
        one.watching.remove(one.ear)


async def test_a_hint_tells_what_changed_and_only_that(watched: Watch) -> None:
    await watched.box.put(HELLO, HELLO)
    assert await watched.settle() == set()  # nobody said anything yet
    watched.listeners.tell([watched.box.mailbox, 999_999])
    assert await watched.settle() == {("counted", "INBOX", 2)}
    watched.listeners.tell([watched.box.mailbox])
    assert await watched.settle() == set()


async def test_a_hint_is_looked_into_by_itself(watched: Watch) -> None:
    await watched.box.put(HELLO)
    watched.listeners.tell([watched.box.mailbox])
    await asyncio.wait_for(watched.ear.event.wait(), 20)
    assert watched.ear.take() == {("counted", "INBOX", 1)}


async def test_names_are_compared_by_mailbox_so_that_they_may_change_places(watched: Watch) -> None:
    opened = watched.box.opened
    await mailboxes.create(opened, "a")
    await mailboxes.create(opened, "b")
    watched.listeners.tell_names([opened.id])
    assert await watched.settle() == {("named", "a", None), ("named", "b", None)}
    by_name = (await mailboxes.list_mailboxes(opened)).by_name
    swapped = [mailboxes._renamed(opened, by_name[old], new) for old, new in (("a", "b"), ("b", "a"))]
    assert all(isinstance(one, RenamedMailbox) for one in swapped)
    await opened.store.write(RenameMailboxes(opened.id, tuple(swapped)))
    watched.listeners.tell_names([opened.id])
    assert await watched.settle() == {("named", "b", "a"), ("named", "a", "b")}
    await mailboxes.delete(opened, "a", 0.0)
    watched.listeners.tell_names([opened.id + 1])
    assert await watched.settle() == set()
    watched.listeners.tell_names([opened.id])
    assert await watched.settle() == {("named", "a", None)}


async def test_a_hint_of_a_mailbox_that_is_gone_leads_to_the_list(watched: Watch) -> None:
    opened = watched.box.opened
    await mailboxes.create(opened, "gone")
    watched.listeners.tell_names([opened.id])
    await watched.settle()
    number = await mailboxes.delete(opened, "gone", 0.0)
    watched.listeners.tell([number])
    assert await watched.settle() == {("named", "gone", None)}


async def test_lost_hints_heal_after_a_while_and_not_all_the_time(watched: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    listings: list[object] = []
    read = watched.box.opened.store.read

    async def counting(query: Any) -> Any:  # noqa: ANN401 - as the store has it
        listings.append(query)
        return await read(query)

    monkeypatch.setattr(watched.box.opened.store, "read", counting)
    await watched.box.put(HELLO)
    await mailboxes.subscribe(watched.box.opened, "nowhere")
    listings.clear()
    watched.clock.time += HEAL_SECONDS - 1
    watched.watching.heal()
    assert await watched.settle() == set()
    assert listings == []
    watched.clock.time += 1
    watched.watching.heal()
    assert await watched.settle() == {("counted", "INBOX", 1), ("subscribed", "nowhere")}
    assert len(listings) == 1


async def test_a_store_that_is_away_is_asked_again(watched: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(query: Any) -> Any:  # noqa: ANN401 - as the store has it
        raise StoreUnavailableError(repr(query))

    await watched.box.put(HELLO)
    with monkeypatch.context() as patch:
        patch.setattr(watched.box.opened.store, "read", away)
        watched.listeners.tell([watched.box.mailbox])
        assert await watched.settle() == set()
    assert await watched.settle() == {("counted", "INBOX", 1)}


async def test_too_much_is_refused_and_leaves_nothing_behind(watched: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    count = watched.listeners.watched
    monkeypatch.setattr("moatmail.mailbox.watching.WATCHED_MAILBOXES", count)
    await mailboxes.create(watched.box.opened, "one more")
    watched.listeners.tell_names([watched.box.opened.id])
    assert await watched.settle() == {("lost",)}
    watched.watching.remove(watched.ear)
    assert (watched.listeners.watched, watched.box.opened.watching) == (0, None)
    with pytest.raises(TooMuchWatchedError):
        await watched.begin()
    assert (watched.listeners.watched, watched.box.opened.watching) == (0, None)


async def test_who_left_hears_nothing_and_the_last_one_ends_it(watched: Watch) -> None:
    other = Ear()
    assert await watch(watched.box.opened, watched.listeners, watched.clock, other) is watched.watching
    watched.watching.remove(watched.ear)
    await watched.box.put(HELLO)
    watched.listeners.tell([watched.box.mailbox])
    assert await watched.settle() == set()
    assert other.take() == {("counted", "INBOX", 1)}
    watched.watching.remove(other)
    assert (watched.listeners.watched, watched.box.opened.watching) == (0, None)


async def test_levels_above_mailboxes_have_children(watched: Watch) -> None:
    await mailboxes.create(watched.box.opened, "x/y/z")
    watched.listeners.tell_names([watched.box.opened.id])
    await watched.settle()
    assert [watched.watching.has_children(name) for name in ("x", "x/y", "x/y/z", "INBOX", "")] == [True, True, False, False, False]
    found = watched.watching.find("x/y")
    assert found is not None
    assert found.name == "x/y"
    assert watched.watching.find("x/q") is None
