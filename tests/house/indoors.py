# SPDX-License-Identifier: Apache-2.0
"""The house in one process, for tests of its upper floors: a real store in a folder, real keys, real sockets on loopback, a clock that stands."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import itertools
import shutil
import socket
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from moatmail.admin import accounts, aliases, domains
from moatmail.admin.change import Desk
from moatmail.certs import authority
from moatmail.core.events import Event
from moatmail.core.settings.mail import Mail
from moatmail.crypto.content_seal import ContentOpener
from moatmail.crypto.cover import AccountKeys, open_cover
from moatmail.crypto.seal import Purpose, SealKey
from moatmail.crypto.vault import Vault
from moatmail.directory.login import Login
from moatmail.endpoints.gate import SMTP_REFUSAL, Gate
from moatmail.endpoints.smtp import Door, SMTPSession
from moatmail.intake.history import History
from moatmail.intake.receive import Receiver
from moatmail.intake.submit import Submitter
from moatmail.intake.takeover import Ports
from moatmail.mailbox.keep_everything import KeepEverything
from moatmail.mailbox.prefix import Prefix
from moatmail.mailqueue.queue_key import QueueKey
from moatmail.net.drive import Connection
from moatmail.net.listener import Listener, Terms
from moatmail.net.resolver_cache import CachingResolver
from moatmail.net.resolver_table import TableResolver, Zone
from moatmail.net.tls import Certificate, CertificateSet
from moatmail.policy.stage import Tools
from moatmail.store.content import ContentFiles
from moatmail.store.local import LocalStore
from moatmail.store.operations import OpenAccount
from moatmail.store.queries import GetContent, GetMessages, ListMailboxes, ListPlacements
from moatmail.store.writer import Writer
from moatmail.wire import sasl

NOW = 1_800_000_000.0
PASSWORD = "correct horse battery staple"
MASTER_KEY = bytes(range(32))
MECHANISMS = (sasl.SCRAM_PLUS, sasl.SCRAM, sasl.PLAIN, sasl.LOGIN)


@dataclass
class StandingClock:
    """Time that moves when a test says so; the monotonic clock runs, for deadlines of sockets."""

    time: float = NOW

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()


@dataclass
class Ear:
    """Keeps the events."""

    events: list[Event] = field(default_factory=list)

    def emit(self, event: Event) -> None:
        self.events.append(event)

    def named(self, name: str) -> list[Event]:
        """Give the events of a name."""
        return [event for event in self.events if event.name == name]


@dataclass
class Indoors:
    """The running house: its store, its desk, its doors' ports."""

    folder: Path
    store: LocalStore
    desk: Desk
    ports: Ports
    login: Login
    ear: Ear
    clock: StandingClock
    settings: Mail = field(default_factory=Mail)
    doors: dict[str, int] = field(default_factory=dict)
    listeners: list[Listener] = field(default_factory=list)
    ca: Path = Path()

    async def open_door(self, name: str) -> int:
        """Listen at a door of SMTP and give its port."""
        keys = authority.Authority.at(self.folder)
        tls = CertificateSet([Certificate(keys.certificate.read_bytes(), keys.key.read_bytes())])
        intake = Receiver(self.ports) if name == "mx" else Submitter(self.ports)
        door = Door(
            name=name,
            hostname="mx.example.test",
            intake=intake,
            new_content=self.ports.new_watched_content if name == "mx" else self.ports.new_content,
            clock=self.clock,
            events=self.ear,
            settings=lambda: self.settings,
            tls=tls,
            login=None if name == "mx" else self.login,
            mechanisms=() if name == "mx" else MECHANISMS,
            decoy_key=b"k" * 32,
        )
        numbers = itertools.count(1)

        async def session(connection: Connection[object]) -> None:
            await SMTPSession(door, connection, f"s{next(numbers)}").run()

        sock = socket.create_server(("127.0.0.1", 0))
        terms = Terms(name, SMTP_REFUSAL, tls if name == "submissions" else None)
        listener = Listener([sock], session, Gate(1000, SMTP_REFUSAL), self.ear, terms)
        await listener.start()
        self.listeners.append(listener)
        self.doors[name] = sock.getsockname()[1]
        return self.doors[name]

    async def keys_of(self, address: str) -> tuple[int, AccountKeys]:
        """Give an account's number and opened keys."""
        row = await accounts.show(self.desk, address)
        opened = await self.store.write(OpenAccount(row.id, "test", self.clock.now()))
        return row.id, AccountKeys(row.public, opened.private, opened.mailbox_key)

    async def messages_of(self, address: str, special_use: str = "inbox") -> list[bytes]:
        """Give the messages of a mailbox as its owner sees them: prefix and content, opened."""
        account, keys = await self.keys_of(address)
        mailboxes = (await self.store.read(ListMailboxes(account))).mailboxes
        mailbox = next(one.id for one in mailboxes if one.special_use == special_use)
        uids = tuple(row.uid for row in await self.store.read(ListPlacements(account, mailbox)))
        found = []
        for row in await self.store.read(GetMessages(account, mailbox, uids, prefix=True)):
            opened = open_cover(keys, account, row.id, row.cover)
            prefix = Prefix.decode(SealKey(opened.message_key).open(Purpose.PREFIX, account, row.id, row.prefix) if row.prefix else b"")
            content = await self.store.read(GetContent(row.content))
            assert content is not None
            source = content.blob if content.blob is not None else self.ports.files.open(row.content)
            opener = ContentOpener(source, row.content, opened.content_key)
            skipped = opener.header_size if prefix.replaces else 0
            found.append(prefix.octets + opener.read(skipped, opener.size))
        return found


_templates: list[Path] = []


async def _template() -> Path:
    """Make once for each process what every test begins with: schema, keys, certificate, example.test with ann and bob, an alias of both."""
    if not _templates:
        folder = Path(tempfile.mkdtemp(prefix="moatmail-house-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        (folder / "mail").mkdir(mode=0o700)
        (folder / "keys").mkdir(mode=0o700)
        authority.ensure(authority.Authority.at(folder), time.time())
        store = LocalStore(Writer(folder / "mail", Vault(MASTER_KEY), StandingClock(), Ear()))
        desk = Desk(store, StandingClock(), "test", "test")
        await domains.add(desk, "example.test")
        for name in ("ann", "bob"):
            await accounts.add(desk, f"{name}@example.test", PASSWORD)
        await aliases.add(desk, "team@example.test", ["ann@example.test", "bob@example.test"])
        await store.close()
        _templates.append(folder)
    return _templates[0]


@contextlib.asynccontextmanager
async def indoors(folder: Path, zone: Zone | None = None) -> AsyncIterator[Indoors]:
    """Run the house in an empty `folder` for the block: example.test with ann and bob, an alias team -> ann, bob; the DNS knows `zone` alone."""
    shutil.copytree(await _template(), folder, dirs_exist_ok=True)
    data = folder / "mail"
    clock, ear = StandingClock(), Ear()
    store = LocalStore(Writer(data, Vault(MASTER_KEY), clock, ear))
    desk = Desk(store, clock, "test", "test")
    zone = {} if zone is None else zone
    resolver = CachingResolver(TableResolver(zone), clock)
    queue_key = QueueKey(store)
    ports = Ports(
        store,
        ContentFiles(data),
        clock,
        ear,
        Tools(KeepEverything(), resolver, "mx.example.test"),
        resolver,
        "mx.example.test",
        queue_key,
        lambda: house.settings,
        History(queue_key, clock, lambda: 1),
    )
    house = Indoors(folder, store, desk, ports, Login(store, clock), ear, clock)
    house.ca = folder / "ca.pem"
    try:
        yield house
    finally:
        for listener in house.listeners:
            await listener.drain(1.0)
        await store.close()
