# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from moatmail.core.errors import NotPermittedError, StoreUnavailableError
from moatmail.store import operations as o
from moatmail.store import queries as q
from moatmail.store.channel import SOCKET, ChannelServer, ChannelStore, bind_in
from moatmail.store.frames import ASKED
from moatmail.store.local import LocalStore
from moatmail.store.permissions import TABLE, may
from moatmail.store.writer import Writer
from tests.store_contract.given import NOW, Ear, GlassVault, StandingClock, change, house

NAMES = {kind.__name__ for kind in ASKED} | {"GetQueuePrivateKey"}

# Written a second time, by hand: a slip in the table must not pass for an intention.
MAY_READ_KEYS_OF_ACCOUNTS = {"access", "web"}
MAY_HAVE_THE_DATABASE_KEY = {"access", "web", "back"}
MAY_CHANGE_THE_DIRECTORY = {"web", "cli"}
MAY_HAVE_THE_QUEUE_PRIVATE_KEY = {"back"}
MAY_ACCEPT = {"mx", "access", "web", "back"}
MAY_TOUCH_MAILBOXES = {"access", "web"}
MAY_SIGN = {"back"}
MAY_READ_EVIDENCE = {"web", "cli"}


def test_the_table_names_only_operations_that_exist_and_every_role() -> None:
    assert set(TABLE) == {"mx", "access", "web", "back", "store", "cli", "scan"}
    assert {name for row in TABLE.values() for name in row} <= NAMES


def test_every_operation_is_permitted_to_somebody() -> None:
    assert NAMES - {name for row in TABLE.values() for name in row} == set()


@pytest.mark.parametrize(
    ("name", "roles"),
    [
        ("OpenAccount", MAY_READ_KEYS_OF_ACCOUNTS),
        ("FetchLogin", MAY_READ_KEYS_OF_ACCOUNTS),
        ("GetDatabaseKey", MAY_HAVE_THE_DATABASE_KEY),
        ("Change", MAY_CHANGE_THE_DIRECTORY),
        ("GetQueuePrivateKey", MAY_HAVE_THE_QUEUE_PRIVATE_KEY),
        ("ClaimSpool", MAY_HAVE_THE_QUEUE_PRIVATE_KEY),
        ("SettleSpool", MAY_HAVE_THE_QUEUE_PRIVATE_KEY),
        ("Accept", MAY_ACCEPT),
        ("Expunge", MAY_TOUCH_MAILBOXES),
        ("StoreFlags", MAY_TOUCH_MAILBOXES),
        ("GetMessages", MAY_TOUCH_MAILBOXES),
        ("DeleteMailbox", MAY_TOUCH_MAILBOXES),
        ("GetSigningKeys", MAY_SIGN),
        ("ListObserved", MAY_SIGN),
        ("ForgetObserved", MAY_SIGN),
        ("EraseDecisions", MAY_SIGN),
        ("GetDecision", MAY_READ_EVIDENCE),
        ("ListDecisions", MAY_READ_EVIDENCE),
        ("ListReports", MAY_READ_EVIDENCE),
        ("GetReport", MAY_READ_EVIDENCE),
        ("ListSigningKeys", {"access", "web", "back", "cli"}),
        ("RecordDecision", {"mx", "access", "web"}),
    ],
)
def test_what_could_do_harm_is_for_these_roles_alone(name: str, roles: set[str]) -> None:
    assert {role for role, row in TABLE.items() if name in row} == roles


def test_a_folded_role_holds_both_rows_and_nobody_holds_none() -> None:
    opening, accepting = o.OpenAccount(1, "", NOW), o.Accept(())
    assert may("mx+access", opening)
    assert may("mx+access", accepting)
    assert not may("mx", opening)
    assert not may("", accepting)
    assert not may("supervisor", accepting)
    assert not may("access", q.GetQueueKeys(private=True))
    assert may("access", q.GetQueueKeys())


@pytest.mark.parametrize("role", sorted(TABLE))
async def test_every_cell_of_the_table_is_kept_by_the_channel(role: str, folder: Path) -> None:
    ear = Ear()
    store = LocalStore(Writer(folder, GlassVault(), StandingClock(), ear))
    server = ChannelServer(store, lambda _pid: role, StandingClock(), ear)
    refused = set()
    for kind in ASKED:
        asked = kind(*[None] * len(kind.__struct_fields__))  # type: ignore[attr-defined]
        try:
            server.judge(role, asked)
        except NotPermittedError:
            refused.add(kind.__name__)
    assert refused == NAMES - {"GetQueuePrivateKey"} - TABLE[role]
    await store.write(o.Journal(NOW, "test", "after all entries before"))
    journal = await store.read(q.ListJournal(500))
    assert sum(f"asked for {name}," in row.what and row.who == role for row in journal for name in refused) == len(refused)
    assert {event.facts["operation"] for event in ear.events} == refused
    assert all(event.alert for event in ear.events)
    await store.close()


async def test_a_refused_request_is_an_error_and_the_channel_goes_on(start_server: Callable[[str], int], folder: Path) -> None:
    start_server("mx")
    store = ChannelStore(folder / "run")
    with pytest.raises(NotPermittedError):
        await store.write(o.OpenAccount(1, "curious", NOW))
    with pytest.raises(NotPermittedError):
        await store.read(q.GetQueueKeys(private=True))
    with pytest.raises(NotPermittedError):
        await store.open_reader(folder)
    assert not (await store.read(q.LookupAddresses("example.test", ()))).ours
    assert (await store.read(q.GetPostmaster())).account is None
    await store.close()


async def test_a_process_without_a_role_gets_no_answer(start_server: Callable[[str], int], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moatmail.core.limits.store.REPEAT_FOR", 0.1)
    start_server("")
    store = ChannelStore(folder / "run")
    with pytest.raises(StoreUnavailableError):
        await store.read(q.GetSettings())
    await store.close()


async def test_the_journal_says_who_asked_and_when_whatever_the_asker_says(start_server: Callable[[str], int], folder: Path) -> None:
    start_server("access+cli")
    store = ChannelStore(folder / "run")
    alice = await house(store)
    await store.write(o.OpenAccount(alice.account, "imap", at=0.0))
    await store.write(o.Journal(0.0, "supervisor", "all is well"))
    journal = await store.read(q.ListJournal())
    assert [(row.at, row.who, row.what) for row in journal] == [
        (NOW, "access+cli", "all is well"),
        (NOW, "access+cli", f"opened account {alice.account}: imap"),
    ]
    await store.close()


@pytest.mark.parametrize(("role", "wanted"), [("mx", ""), ("back", '"secret"'), ("cli", '"secret"')])
async def test_a_secret_setting_is_told_to_those_who_need_it(role: str, wanted: str, folder: Path) -> None:
    ear, clock = Ear(), StandingClock()
    store = LocalStore(Writer(folder, GlassVault(), clock, ear))
    await store.write(change(o.SetSetting("delivery.smart_host_password", '"secret"'), o.SetSetting("smtp.max_errors", "7")))
    server = ChannelServer(store, lambda _pid: role, clock, ear)
    await server.start(bind_in(folder / "run", SOCKET, socket.SOCK_STREAM))
    other = ChannelStore(folder / "run")
    answer = await other.read(q.GetSettings())
    assert answer.values.get("delivery.smart_host_password", "") == wanted
    assert answer.values["smtp.max_errors"] == "7"
    assert answer.version == (await store.read(q.GetSettings())).version
    await other.close()
    await server.close()
    await store.close()
