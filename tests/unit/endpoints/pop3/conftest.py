# SPDX-License-Identifier: Apache-2.0
"""A POP3 door beside the IMAP door of the lab: one store, one set of opened accounts, as in an access process."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from moatmail.core.settings.mail import IMAP, POP3, Mail
from moatmail.endpoints.pop3 import Door, POP3Session
from moatmail.net.listener import Listener, Terms
from moatmail.store.maildrop_lock import MaildropLock
from tests.unit.endpoints.imap.lab import PASSWORD, Lab, furnish, imap_lab
from tests.unit.net.lab import OpenDoor, trusting

ALICE = "alice@example.test"


class Client:
    """Sends lines and gathers answers."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def line(self) -> bytes:
        return (await asyncio.wait_for(self.reader.readuntil(b"\r\n"), 10))[:-2]

    def send(self, octets: bytes) -> None:
        self.writer.write(octets)

    async def say(self, text: str) -> bytes:
        self.send(text.encode() + b"\r\n")
        return await self.line()

    async def ok(self, text: str) -> bytes:
        answer = await self.say(text)
        assert answer.startswith(b"+OK"), (text, answer)
        return answer

    async def rest(self) -> bytes:
        """Give the lines up to the dot, unstuffed."""
        lines = []
        while (line := await self.line()) != b".":
            lines.append(line.removeprefix(b".") + b"\r\n")
        return b"".join(lines)

    async def lines(self, text: str) -> bytes:
        await self.ok(text)
        return await self.rest()

    async def end(self) -> bytes:
        """Give what comes before the connection ends."""
        return await asyncio.wait_for(self.reader.read(), 10)

    async def login(self, name: str = ALICE) -> Client:
        await self.ok(f"USER {name}")
        await self.ok(f"PASS {PASSWORD}")
        return self

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


@dataclass
class House:
    """The doors, and what the tests look at."""

    lab: Lab
    door: Door
    plain_port: int
    tls_port: int
    listeners: tuple[Listener, Listener]
    change: Callable[..., None]

    async def plain(self) -> Client:
        client = Client(*await asyncio.open_connection("127.0.0.1", self.plain_port))
        assert (await client.line()).startswith(b"+OK ")
        return client

    async def client(self, *, login: bool = True) -> Client:
        client = Client(*await asyncio.open_connection("127.0.0.1", self.tls_port, ssl=trusting(), server_hostname="mx.example.test"))
        assert (await client.line()).startswith(b"+OK ")
        return await client.login() if login else client

    async def idle(self) -> None:
        """Wait until no session is left."""
        for _ in range(500):
            if not sum(listener.open_connections for listener in self.listeners) and not self.door.lock._held:
                return
            await asyncio.sleep(0.01)
        raise AssertionError("a session is left")


@pytest.fixture(scope="session")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with two accounts and no mail, to be copied."""
    folder = tmp_path_factory.mktemp("furnished")
    asyncio.run(furnish(folder))
    return folder


@pytest.fixture
async def house(furnished: Path, tmp_path: Path) -> AsyncIterator[House]:
    """Both doors over a fresh store."""
    async with imap_lab(furnished, tmp_path / "data") as lab, _doors(lab, tmp_path) as one:
        yield one


@contextlib.asynccontextmanager
async def _doors(lab: Lab, folder: Path) -> AsyncIterator[House]:
    there = lab.door
    mail = [Mail()]
    lock = MaildropLock(folder)
    door = Door(
        name="pop3",
        hostname="mx.example.test",
        clock=there.clock,
        events=there.events,
        settings=lambda: mail[0],
        login=there.login,
        accounts=there.accounts,
        lock=lock,
        tls=there.tls,
        mechanisms=there.mechanisms,
        decoy_key=b"k" * 32,
    )

    async def run(connection: Any) -> None:  # noqa: ANN401 - as the listener makes it
        await POP3Session(door, connection).run()

    def change(sessions: int = 40, **values: Any) -> None:  # noqa: ANN401 - the settings' own types
        mail[0] = replace(mail[0], pop3=POP3(**values), imap=IMAP(max_sessions_per_account=sessions))

    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    listeners = (
        Listener([sockets[0]], run, OpenDoor(), lab.events, Terms("pop3")),
        Listener([sockets[1]], run, OpenDoor(), lab.events, Terms("pop3s", tls=there.tls)),
    )
    for listener in listeners:
        await listener.start()
    try:
        yield House(lab, door, sockets[0].getsockname()[1], sockets[1].getsockname()[1], listeners, change)
    finally:
        for listener in listeners:
            await listener.drain(0)
        lock.close()
