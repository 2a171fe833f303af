# SPDX-License-Identifier: Apache-2.0
"""A whole IMAP door on loopback, over a store and a vault that are real, and a client of a few lines.

Obeys RFC 3501 §2.2 (lines and literals).
Must never know what a handler does.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from moatmail.core.address import Address
from moatmail.core.events import Event
from moatmail.core.settings.mail import IMAP, Mail
from moatmail.crypto import password, scram
from moatmail.crypto.content_seal import seal_content
from moatmail.crypto.keyring import Keyring
from moatmail.crypto.seal import new_id, new_key
from moatmail.crypto.vault import Vault
from moatmail.directory.login import ARGON2ID, SCRAM_SHA_256, Login
from moatmail.endpoints.imap.session import Door, IMAPSession
from moatmail.mailbox import messages
from moatmail.mailbox.changes import Listeners
from moatmail.mailbox.covers import DeliveryCovers
from moatmail.mailbox.incoming import Incoming
from moatmail.mailbox.opened import OpenAccounts
from moatmail.message.structure import StructureParser
from moatmail.net.listener import Listener, Terms
from moatmail.net.tls import CertificateSet
from moatmail.store import operations as o
from moatmail.store import queries as q
from moatmail.store.apply.work import Hints
from moatmail.store.local import LocalStore
from moatmail.store.writer import Writer
from moatmail.wire.sasl import LOGIN, PLAIN, SCRAM, SCRAM_PLUS
from tests.unit.net.lab import OpenDoor, certificate, trusting

PASSWORD = "correct horse battery"
NOW = 1_800_000_000.0
HELLO = (
    b"From: Bob <bob@sender.test>\r\nTo: alice@example.test\r\nSubject: hello\r\nDate: Tue, 24 Nov 2026 10:00:00 +0000\r\n"
    b"Message-ID: <1@sender.test>\r\n\r\nthe eagle lands at dawn\r\n"
)
_LITERAL = re.compile(rb"\{([0-9]+)\}\r\n$")
_HASH: list[bytes] = []


class RunningClock:
    """A wall clock from a fixed day on, and the true monotonic one."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def now(self) -> float:
        return NOW + time.monotonic() - self._start

    def monotonic(self) -> float:
        return time.monotonic()


@dataclass
class Ear:
    """Keeps the events."""

    seen: list[Event] = field(default_factory=list)

    def emit(self, event: Event) -> None:
        self.seen.append(event)

    def alerts(self) -> list[Event]:
        return [event for event in self.seen if event.alert]


@dataclass
class Lab:
    """A store with two accounts, a door, and what was injected into it."""

    store: LocalStore
    writer: Writer
    door: Door
    events: Ear
    port: int
    tls_port: int
    listener: Listener
    accounts: dict[str, q.AccountRow]
    covers: DeliveryCovers = field(default_factory=DeliveryCovers)

    @property
    def alice(self) -> q.AccountRow:
        return self.accounts["alice"]

    async def deliver(self, *contents: bytes, to: str = "alice", special_use: str = "inbox", smtputf8: bool = False) -> None:
        """Deliver messages as a stranger's door does: sealed to the public half, in one transaction each."""
        for content in contents:
            await self.store.write(self.accept(content, to=to, special_use=special_use, smtputf8=smtputf8))

    async def damage(self, statement: str) -> None:
        """Change rows behind the server's back, when it is not writing itself."""
        await self.store.group._idle.wait()
        self.writer.db.connection.execute(statement)

    def accept(self, content: bytes, *, to: str = "alice", special_use: str = "inbox", smtputf8: bool = False) -> o.Accept:
        account = self.accounts[to]
        head, _, body = content.partition(b"\r\n\r\n")
        parser = StructureParser()
        parser.feed(content)
        content_id = new_id(int(NOW * 1000))
        key, blob = seal_content(content_id, head + b"\r\n\r\n", (body,))
        prepared = messages.Prepared(o.NewContent(content_id, len(content), blob), key, parser.finish(), 0, NOW, head + b"\r\n\r\n" if smtputf8 else b"")
        copy = messages.Copy(account.id, account.public, Address(account.localpart, account.domain), "Junk" if special_use == "junk" else "INBOX")
        return o.Accept((prepared.content,), (messages.deliver(prepared, copy, Address("bob", "sender.test"), self.covers.cover),))

    async def client(self, account: str = "alice", *, login: bool = True, select: str = "") -> Client:
        """Connect, inside TLS, and log in."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.tls_port, ssl=trusting(), server_hostname="mx.example.test")
        client = Client(reader, writer)
        client.greeting = await client.line()
        if login:
            assert (await client.ok(f'LOGIN {account}@example.test "{PASSWORD}"')) is not None
        if select:
            await client.ok(f"SELECT {select}")
        return client


class WrongAnswerError(AssertionError):
    """The tagged line was not OK."""


class Client:
    """Sends commands and gathers responses; a response is one octet string, its literals included."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._number = 0
        self.greeting = b""
        self.tagged = b""

    async def line(self) -> bytes:
        """Give one response without its last CRLF."""
        whole = b""
        while True:
            piece = await asyncio.wait_for(self._reader.readuntil(b"\r\n"), 10)
            whole += piece
            found = _LITERAL.search(piece)
            if found is None:
                return whole[:-2]
            whole += await asyncio.wait_for(self._reader.readexactly(int(found[1])), 10)

    def send(self, octets: bytes) -> None:
        self._writer.write(octets)

    async def command(self, text: str | bytes) -> list[bytes]:
        """Send a command and give the untagged responses without their asterisk; `tagged` has the last line without tag."""
        self._number += 1
        tag = b"t%d" % self._number
        self.send(tag + b" " + (text.encode() if isinstance(text, str) else text) + b"\r\n")
        return await self.rest(tag)

    async def rest(self, tag: bytes) -> list[bytes]:
        """Read to the tagged line."""
        untagged: list[bytes] = []
        while True:
            line = await self.line()
            if line.startswith(tag + b" "):
                self.tagged = line[len(tag) + 1 :]
                return untagged
            untagged.append(line[2:] if line.startswith(b"* ") else line)

    async def ok(self, text: str | bytes) -> list[bytes]:
        """Send a command that has to succeed."""
        untagged = await self.command(text)
        if not self.tagged.startswith(b"OK"):
            raise WrongAnswerError((text, untagged, self.tagged))
        return untagged

    async def no(self, text: str | bytes) -> bytes:
        """Send a command that has to fail, and give its tagged line."""
        untagged = await self.command(text)
        assert not self.tagged.startswith(b"OK"), (text, untagged, self.tagged)
        return self.tagged

    async def append(self, mailbox: str, content: bytes, arguments: str = "") -> bytes:
        """APPEND a message and give the tagged line."""
        await self.command(f"APPEND {mailbox} {arguments}{{{len(content)}+}}\r\n".encode() + content)
        return self.tagged

    async def until(self, *beginnings: bytes) -> bytes:
        """Drop what comes up to a line that begins so, and tell how it began; the answers may be of any size."""
        tail = b"\r\n"
        while True:
            for beginning in beginnings:
                if b"\r\n" + beginning in tail and tail.endswith(b"\r\n"):
                    return beginning
            octets = await asyncio.wait_for(self._reader.read(2**18), 60)
            if not octets:
                raise ConnectionError
            tail = (tail + octets)[-4096:]

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await self._writer.wait_closed()


def _credentials() -> tuple[o.Credential, ...]:
    if not _HASH:
        _HASH.extend((password.hash_password(PASSWORD), scram.make_verifier(PASSWORD, 4096).to_bytes()))
    return (o.Credential(ARGON2ID, "password", _HASH[0]), o.Credential(SCRAM_SHA_256, "password", _HASH[1]))


_VAULT = Vault(new_key())


async def furnish(folder: Path) -> None:
    """Make the data folder of two accounts: once, to be copied, for a schema takes a second to make."""
    store = LocalStore(Writer(folder, _VAULT, RunningClock(), Ear()))
    items: tuple[Any, ...] = (o.AddDomain("example.test"), *(o.AddAccount(name, "example.test", _credentials()) for name in ("alice", "bob")))
    await store.write(o.Change("admin", "cli", NOW, items))
    await store.close()


@contextlib.asynccontextmanager
async def imap_lab(furnished: Path, folder: Path, *, settings: Mail | None = None) -> AsyncIterator[Lab]:
    """Open a lab in `folder`, a copy of what `furnish` made."""
    shutil.copytree(furnished, folder, dirs_exist_ok=True)
    clock, events, listeners = RunningClock(), Ear(), Listeners()
    writer = Writer(folder, _VAULT, clock, events)

    def tell(hints: Hints) -> None:
        listeners.tell(hints.mailboxes)
        listeners.tell_names(hints.listings)

    store = LocalStore(writer, tell)
    hits = (await store.read(q.LookupAddresses("example.test", ("alice", "bob")))).hits
    accounts = {hit.localpart: hit.account for hit in hits if hit.account is not None}
    mail = settings or Mail()
    certificates = CertificateSet([certificate("mx.example.test")])
    open_accounts = OpenAccounts(store, writer.contents, Keyring(), clock, events)
    door = Door(
        name="imap",
        hostname="mx.example.test",
        clock=clock,
        events=events,
        settings=lambda: mail,
        login=Login(store, clock),
        accounts=open_accounts,
        listeners=listeners,
        new_content=lambda: Incoming(new_id(int(clock.now() * 1000)), writer.contents),
        tls=certificates,
        mechanisms=(SCRAM_PLUS, SCRAM, PLAIN, LOGIN),
        version="9.8.7",
    )
    plain, implicit = (socket.create_server(("127.0.0.1", 0)) for _ in range(2))

    async def run(connection: Any) -> None:  # noqa: ANN401 - as the listener makes it
        await IMAPSession(door, connection, "1").run()

    house = Listener([plain], run, OpenDoor(), events, Terms("imap"))
    secure = Listener([implicit], run, OpenDoor(), events, Terms("imaps", tls=certificates))
    await house.start()
    await secure.start()
    try:
        yield Lab(store, writer, door, events, plain.getsockname()[1], implicit.getsockname()[1], secure, accounts)
    finally:
        await house.drain(1)
        await secure.drain(1)
        await open_accounts.stop()
        await store.close()


def quick(**values: Any) -> Mail:  # noqa: ANN401 - the settings' own types
    """Give settings with other numbers for IMAP; unchecked, so that a test need not wait half an hour."""
    return Mail(imap=IMAP(**values))
