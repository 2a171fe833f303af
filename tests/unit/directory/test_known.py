# SPDX-License-Identifier: Apache-2.0
"""Addresses looked up a moment ago: what serves again, and that nobody meets what was so before a change."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from moatmail.admin import accounts, aliases, domains
from moatmail.core.address import parse_mailbox
from moatmail.core.envelope import Envelope, Recipient
from moatmail.core.limits import directory as limits
from moatmail.core.transaction import Session
from moatmail.directory import known as module
from moatmail.directory.known import KnownAddresses
from moatmail.directory.recipients import resolve
from moatmail.intake.receive import Receiver
from moatmail.store.generation import Generation
from moatmail.store.interface import Store
from moatmail.store.operations import Operation
from moatmail.store.queries import Query
from tests.house.indoors import Indoors, indoors
from tests.store_contract.given import StandingClock

R = TypeVar("R")


class Counting:
    """A store that counts what is asked, and can do something while a question is under way."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.asked: Counter[str] = Counter()
        self.meanwhile: Any = None

    async def read(self, query: Query[R]) -> R:
        self.asked[type(query).__name__] += 1
        answer = await self.store.read(query)
        if self.meanwhile is not None:
            meanwhile, self.meanwhile = self.meanwhile, None
            await meanwhile()
        return answer

    async def write(self, operation: Operation[R]) -> R:
        return await self.store.write(operation)


class Place:
    """A house, and a process of strangers beside it."""

    def __init__(self, house: Indoors) -> None:
        self.house = house
        self.store = Counting(house.store)
        self.generation = Generation()
        self.clock = StandingClock()
        self.known = KnownAddresses(self.store, self.generation, self.clock)

    async def accounts(self, address: str) -> list[str]:
        found = await resolve(self.known, parse_mailbox(address.encode(), utf8=True))
        return sorted(one.localpart for one in found.accounts)

    async def change(self, awaitable: Awaitable[Any]) -> None:
        """Change the directory as the role of the store does: counted before its answer leaves."""
        await awaitable
        self.generation.count()


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with indoors(tmp_path) as house:
        yield Place(house)


async def test_an_address_is_asked_for_once_in_a_few_seconds(place: Place) -> None:
    for _ in range(3):
        assert await place.accounts("ann@example.test") == ["ann"]
        assert await place.accounts("team@example.test") == ["ann", "bob"]
    assert place.store.asked["LookupAddresses"] == 3  # ann, team, bob
    place.clock.time += limits.KNOWN_SECONDS
    await place.accounts("ann@example.test")
    assert place.store.asked["LookupAddresses"] == 4


async def test_what_is_not_there_is_asked_for_each_time(place: Place) -> None:
    for _ in range(2):
        assert await place.accounts("nobody@example.test") == []
        assert await place.accounts("zoe@faraway.test") == []
    assert place.store.asked["LookupAddresses"] == 4
    assert not len(place.known)
    await place.change(aliases.add(place.house.desk, "nobody@example.test", ["ann@example.test"]))
    assert await place.accounts("nobody@example.test") == ["ann"]


async def test_after_a_change_nothing_of_before_serves(place: Place) -> None:
    assert await place.accounts("team@example.test") == ["ann", "bob"]
    await place.change(aliases.remove(place.house.desk, "team@example.test"))
    await place.change(aliases.add(place.house.desk, "team@example.test", ["bob@example.test"]))
    assert await place.accounts("team@example.test") == ["bob"]
    await place.change(accounts.remove(place.house.desk, "bob@example.test"))
    assert await place.accounts("team@example.test") == []


async def test_a_change_while_a_question_is_under_way_makes_its_answer_one_of_before(place: Place) -> None:
    async def remove() -> None:
        await place.change(accounts.remove(place.house.desk, "bob@example.test"))

    place.store.meanwhile = remove
    assert await place.accounts("bob@example.test") == ["bob"]
    assert await place.accounts("bob@example.test") == []


async def test_the_memory_is_bounded_and_keeps_what_was_used_last(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KNOWN_ADDRESSES", 2)
    for name in ("ann", "bob", "ann", "team"):
        await place.accounts(f"{name}@example.test")
        assert len(place.known) <= 2


async def test_nobody_is_refused_for_what_was_so_a_moment_ago(place: Place) -> None:
    house = place.house
    receiver = Receiver(replace(house.ports, known=place.known))
    assert not len(place.known)  # empty, and asked all the same
    session, envelope = Session("1", "mx", "192.0.2.1", 25), Envelope(None)

    async def answer() -> int:
        return (await receiver.rcpt(session, envelope, Recipient(parse_mailbox(b"ann@example.test", utf8=True)))).reply.code

    assert [await answer(), await answer()] == [250, 250]
    assert place.store.asked["LookupAddresses"] == 1
    await place.change(accounts.set_state(house.desk, "ann@example.test", status="frozen"))
    assert await answer() == 550
    # Not told to the generation: still the answer is a fresh one, as the one in memory would refuse.
    await accounts.set_state(house.desk, "ann@example.test", status="active")
    assert [await answer(), await answer()] == [250, 250]
    await place.change(accounts.set_state(house.desk, "ann@example.test", status="frozen"))
    assert await answer() == 550


async def test_a_domain_that_went_takes_its_addresses_with_it(place: Place) -> None:
    await place.change(domains.add(place.house.desk, "second.test"))
    await place.change(aliases.add(place.house.desk, "ann@second.test", ["ann@example.test"]))
    assert await place.accounts("ann@second.test") == ["ann"]
    await place.change(aliases.remove(place.house.desk, "ann@second.test"))
    await place.change(domains.remove(place.house.desk, "second.test"))
    assert await place.accounts("ann@second.test") == []


def test_another_process_sees_the_number_that_the_store_counts() -> None:
    generation = Generation()
    before = generation.number
    pid = os.fork()
    if pid == 0:
        generation.count()
        os._exit(0)
    os.waitpid(pid, 0)
    assert generation.number == before + 1
