# SPDX-License-Identifier: Apache-2.0
"""Who comes in, by which mechanism, and what a session costs those beside it."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path

import pytest

from moatmail.store import operations as o
from moatmail.store import queries as q
from moatmail.wire.sasl import LoginClient, PlainClient, ScramClient
from tests.unit.endpoints.imap.lab import HELLO, NOW, PASSWORD, Client, Lab, imap_lab, quick
from tests.unit.net.lab import certificate, trusting

ALICE = "alice@example.test"


def end_point_of_the_door() -> bytes:
    return certificate("mx.example.test").end_point


async def authenticate(client: Client, exchange: PlainClient | LoginClient | ScramClient, *, initial: bool) -> bytes:
    first = exchange.initial() if initial else None
    client.send(b"a AUTHENTICATE " + exchange.name + (b" " + base64.b64encode(first) if first is not None else b"") + b"\r\n")
    answered = first is not None
    while True:
        line = await client.line()
        if line.startswith(b"a "):
            return line[2:]
        assert line.startswith(b"+ ")
        challenge = base64.b64decode(line[2:])
        begins = not answered and exchange.name != b"LOGIN"
        response = exchange.initial() if begins else exchange.respond(challenge)
        answered = True
        client.send(base64.b64encode(response or b"") + b"\r\n")


def _exchange(name: str, password: str) -> PlainClient | LoginClient | ScramClient:
    if name == "PLAIN":
        return PlainClient(ALICE, password)
    if name == "LOGIN":
        return LoginClient(ALICE, password)
    return ScramClient(ALICE, password, end_point=end_point_of_the_door() if name.endswith("-PLUS") else None)


@pytest.mark.parametrize("initial", [True, False], ids=["with an initial response", "asked for it"])
@pytest.mark.parametrize("name", ["PLAIN", "LOGIN", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"])
@pytest.mark.parametrize("password", [PASSWORD, "wrong"], ids=["right", "wrong"])
async def test_mechanisms(lab: Lab, name: str, password: str, *, initial: bool) -> None:
    client = await lab.client(login=False)
    exchange = _exchange(name, password)
    if password == PASSWORD:
        assert (await authenticate(client, exchange, initial=initial)).startswith(b"OK [CAPABILITY IMAP4rev1")
        exchange.finish()
        assert b"0 EXISTS" in await client.ok("SELECT INBOX")
    else:
        assert (await authenticate(client, exchange, initial=initial)).startswith(b"NO [AUTHENTICATIONFAILED]")
        assert (await client.no("SELECT INBOX")).startswith(b"BAD")


@pytest.mark.parametrize("name", [ALICE, "nobody@example.test", "not an address", ""])
async def test_every_wrong_credential_looks_the_same(lab: Lab, name: str) -> None:
    client = await lab.client(login=False)
    assert await client.no(f'LOGIN "{name}" wrong') == b"NO [AUTHENTICATIONFAILED] authentication failed"


async def test_guessing_ends_the_session(lab: Lab) -> None:
    client = await lab.client(login=False)
    for _ in range(3):
        await client.no(f"LOGIN {ALICE} wrong")
    assert await client.line() == b"* BYE too many failed logins"


async def test_no_login_in_clear(lab: Lab) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", lab.port)
    client = Client(reader, writer)
    greeting = await client.line()
    assert b"LOGINDISABLED" in greeting
    assert b"AUTH=" not in greeting
    assert not (await client.no(f'LOGIN {ALICE} "{PASSWORD}"')).startswith(b"OK")


async def test_starttls_then_login(lab: Lab) -> None:
    def talk() -> list[bytes]:
        import socket  # noqa: PLC0415 - a blocking client, in its own thread

        lines = []
        with socket.create_connection(("127.0.0.1", lab.port), timeout=10) as plain:
            plain.recv(1000)
            # What is sent in clear behind STARTTLS must never count as said inside TLS.
            plain.sendall(b"a STARTTLS\r\nb LOGOUT\r\n")
            lines.append(plain.recv(1000))
            with trusting().wrap_socket(plain, server_hostname="mx.example.test") as secure:
                secure.sendall(f'c LOGIN {ALICE} "{PASSWORD}"\r\n'.encode())
                lines.append(secure.recv(4000))
        return lines

    first, second = await asyncio.to_thread(talk)
    assert first == b"a OK begin TLS\r\n"
    assert second.startswith(b"c OK [CAPABILITY")


async def test_a_frozen_account_is_told_so(lab: Lab) -> None:
    await lab.store.write(o.Change("admin", "cli", NOW, (o.SetAccount(ALICE, "frozen", 0),)))
    client = await lab.client(login=False)
    assert (await client.no(f'LOGIN {ALICE} "{PASSWORD}"')).startswith(b"NO [CONTACTADMIN]")


async def test_keys_are_asked_for_once_and_go_with_the_last_session(lab: Lab) -> None:
    clients = [await lab.client() for _ in range(3)]
    assert len(lab.door.accounts) == 1
    journal = await lab.store.read(q.ListJournal())
    assert len([row for row in journal if row.what.startswith("opened account")]) == 1
    for client in clients:
        await client.ok("LOGOUT")
        await client.close()
    for _ in range(200):
        if not len(lab.door.accounts):
            break
        await asyncio.sleep(0.01)
    assert len(lab.door.accounts) == 0


async def test_too_many_sessions_of_an_account(furnished: Path, tmp_path: Path) -> None:
    async with imap_lab(furnished, tmp_path / "data", settings=quick(max_sessions_per_account=2)) as lab:
        first, second = await lab.client(), await lab.client()
        third = await lab.client(login=False)
        assert (await third.no(f'LOGIN {ALICE} "{PASSWORD}"')).startswith(b"NO [LIMIT]")
        await second.ok("LOGOUT")
        await first.ok("NOOP")
        await third.ok(f'LOGIN {ALICE} "{PASSWORD}"')


async def test_who_does_not_log_in_is_sent_away(furnished: Path, tmp_path: Path) -> None:
    async with imap_lab(furnished, tmp_path / "data", settings=quick(login_seconds=0.3)) as lab:
        client = await lab.client(login=False)
        await client.ok("NOOP")  # talking is no login
        assert await client.line() == b"* BYE idle for too long"


async def test_who_is_silent_is_sent_away(furnished: Path, tmp_path: Path) -> None:
    async with imap_lab(furnished, tmp_path / "data", settings=quick(idle_seconds=0.3)) as lab:
        client = await lab.client()
        assert await client.line() == b"* BYE idle for too long"


async def test_who_idles_is_told_a_word_now_and_then_and_may_stay(furnished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moatmail.endpoints.imap.session.IDLE_WORD_SECONDS", 0.15)
    async with imap_lab(furnished, tmp_path / "data", settings=quick(idle_seconds=0.3)) as lab:
        client = await lab.client()
        client.send(b"i IDLE\r\n")
        assert (await client.line()).startswith(b"+")
        assert [await client.line() for _ in range(4)] == [b"* OK still here"] * 4
        client.send(b"DONE\r\n")
        await client.rest(b"i")
        assert await client.line() == b"* BYE idle for too long"


async def test_a_server_that_goes_down_says_bye(lab: Lab) -> None:
    client = await lab.client(select="INBOX")
    client.send(b"i IDLE\r\n")
    await client.line()
    draining = asyncio.create_task(lab.listener.drain(5))
    assert (await client.line()).startswith(b"* BYE [UNAVAILABLE]")
    assert await draining == 0


async def test_covers_are_rewrapped_beside_the_reading(lab: Lab) -> None:
    await lab.deliver(*[HELLO] * 5)
    assert len(await lab.store.read(q.OldCovers(lab.alice.id))) == 5
    client = await lab.client(select="INBOX")
    for _ in range(300):
        if not await lab.store.read(q.OldCovers(lab.alice.id)):
            break
        await asyncio.sleep(0.01)
    assert not await lab.store.read(q.OldCovers(lab.alice.id))
    assert len(await client.ok("FETCH 1:5 (ENVELOPE)")) == 5


@pytest.mark.parametrize("item", ["ENVELOPE", "BODY.PEEK[]", "BODY.PEEK[HEADER]"])
async def test_a_message_that_was_changed_on_disk_is_never_served(lab: Lab, item: str) -> None:
    await lab.deliver(HELLO, HELLO)
    column, table = ("summary", "message") if item == "ENVELOPE" else ("blob", "content")
    lab.writer.db.connection.execute(f"UPDATE {table} SET {column} = zeroblob(length({column})) WHERE rowid = 1")  # noqa: S608 - names of ours
    client = await lab.client(select="INBOX")
    told = await client.command(f"FETCH 1:2 ({item})")
    assert client.tagged.startswith(b"NO [CORRUPTION]")
    assert [line[:8] for line in told] == [b"2 FETCH "]
    assert any(event.name == "seal.broken" for event in lab.events.alerts())


async def test_a_message_under_anothers_cover_is_never_served(lab: Lab) -> None:
    await lab.deliver(HELLO, HELLO)
    row, other = lab.writer.db.connection.execute("SELECT cover FROM message ORDER BY number").fetchall()
    lab.writer.db.connection.execute("UPDATE message SET cover = ? WHERE cover = ?", (other[0], row[0]))
    client = await lab.client(select="INBOX")
    told = await client.command("FETCH 1:2 (ENVELOPE)")
    assert client.tagged.startswith(b"NO [CORRUPTION]")
    assert len(told) == 1
