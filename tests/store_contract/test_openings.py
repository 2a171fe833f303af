# SPDX-License-Identifier: Apache-2.0
"""Openings of accounts that look like theft ring an alarm; people who come back, however many at once, do not."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from pathlib import Path

import pytest

from moatmail.core.limits import store as limits
from moatmail.store import operations as o
from moatmail.store import queries as q
from moatmail.store.channel import SOCKET, ChannelServer, ChannelStore, bind_in
from moatmail.store.local import LocalStore
from moatmail.store.openings import Openings
from moatmail.store.writer import Writer
from tests.store_contract.given import DAY, NOW, Ear, GlassVault, StandingClock, house

THEFT, MANY = "store.openings-without-login", "store.many-openings"


class Site:
    """Accounts, and who opens them."""

    def __init__(self) -> None:
        self.ear, self.clock = Ear(), StandingClock()
        self.openings = Openings(self.clock, self.ear)
        self.clock.time += limits.OPENINGS_SILENT

    def log_in(self, accounts: Iterable[int], *, role: str = "access", seconds: float = 0.0) -> None:
        for account in accounts:
            self.openings.login(role, account)
            self.clock.time += seconds
            self.openings.opened(role, account)

    def steal(self, accounts: Iterable[int]) -> None:
        for account in accounts:
            self.openings.opened("access", account)

    @property
    def told(self) -> list[str]:
        assert all(event.alert for event in self.ear.events)
        return [event.name for event in self.ear.events]


def test_a_storm_of_people_who_come_back_is_no_alarm() -> None:
    """Fault: five thousand who were cut off and came back within a minute were told of as a theft."""
    site = Site()
    for first in range(0, 5_000, 500):  # the morning
        site.log_in(range(first, first + 500))
        site.clock.time += 60
    for _ in range(3):
        site.log_in(range(5_000), seconds=0.01)
        site.clock.time += 3 * 3600
    assert site.told == []


def test_a_few_who_come_back_again_and_again_are_no_alarm() -> None:
    site = Site()
    for _ in range(5_000):
        site.log_in(range(20), seconds=0.001)
    assert site.told == []


def test_who_takes_keys_without_a_login_is_told_of_after_a_few() -> None:
    site = Site()
    site.log_in(range(1_000), seconds=0.1)
    site.clock.time += limits.OPENING_LOGIN
    site.steal(range(limits.OPENED_WITHOUT_LOGIN))
    assert site.told == []
    site.steal(range(100, 500))
    assert site.told == [THEFT]
    site.clock.time += 61
    site.steal(range(500, 600))
    assert site.told == [THEFT, THEFT]


def test_a_login_at_another_role_is_none_of_this_one() -> None:
    site = Site()
    for account in range(50):
        site.openings.login("web", account)
        site.openings.opened("access", account)
    assert site.told == [THEFT]


def test_who_asks_for_logins_first_is_told_of_by_the_accounts_that_nobody_uses() -> None:
    site = Site()
    site.log_in(range(limits.OPENED_ACCOUNTS), seconds=0.01)
    assert site.told == []
    site.log_in(range(5_000, 5_100), seconds=0.01)
    assert site.told == [MANY]
    # And an account is one that nobody uses again when it was not opened for a day.
    site.clock.time += DAY + 60
    site.log_in(range(2_000), seconds=0.01)
    assert site.told == [MANY, MANY]


def test_a_few_in_a_minute_go_on_for_ever() -> None:
    site = Site()
    for account in range(200):
        site.clock.time += 60 / limits.OPENED_WITHOUT_LOGIN
        site.steal([1_000 + account])
    assert site.told == []


def test_after_a_start_of_the_store_nothing_is_told_until_it_knows_its_people() -> None:
    ear, clock = Ear(), StandingClock()
    openings = Openings(clock, ear)
    for account in range(5_000):
        openings.opened("access", account)
    clock.time += limits.OPENINGS_SILENT
    for account in range(5_000):
        openings.login("access", account)
        openings.opened("access", account)
    assert ear.events == []


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "OPENINGS_KNOWN", 100)
    site = Site()
    site.log_in(range(10_000), seconds=1.0)
    assert (len(site.openings._logins), len(site.openings._used)) == (100, 100)


async def test_at_the_stores_door_a_login_is_what_was_asked_for_by_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "OPENED_WITHOUT_LOGIN", 2)
    monkeypatch.setattr(limits, "OPENINGS_SILENT", 0.0)
    ear, clock = Ear(), StandingClock()
    store = LocalStore(Writer(folder, GlassVault(), clock, ear))
    alice, bob = await house(store), await house(store, "bob")
    server = ChannelServer(store, lambda _pid: "access", clock, ear)
    await server.start(bind_in(folder / "run", SOCKET, socket.SOCK_STREAM))
    peer = ChannelStore(folder / "run")
    for _ in range(5):
        assert await peer.read(q.FetchLogin("alice", "example.test")) is not None
        assert await peer.read(q.FetchLogin("nobody", "example.test")) is None
        await peer.write(o.OpenAccount(alice.account, "imap", NOW))
    assert ear.events == []
    for _ in range(3):
        await peer.write(o.OpenAccount(bob.account, "imap", NOW))
    assert [event.name for event in ear.events] == [THEFT]
    await peer.close()
    await server.close()
    await asyncio.sleep(0)
    await store.close()
