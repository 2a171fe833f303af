# SPDX-License-Identifier: Apache-2.0
"""The object graph of every role: which class stands behind which port, in which process.

Obeys no RFC; the roles and their rights are those of docs/security.md.
Must never decide anything about mail. The only file that knows both sides of a port.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from moatmail.admin import signing
from moatmail.admin.change import Desk
from moatmail.app.access import open_writer
from moatmail.app.certificate import CertificateFiles
from moatmail.app.clock import SystemClock
from moatmail.app.life import Being, live
from moatmail.app.random import new_random
from moatmail.app.resolver import open_resolver
from moatmail.app.roles import ACCESS, BACK, COMPACT, DOORS, MX, STORE, USERS
from moatmail.app.schedule import BACK_JOBS, REPORT_JOBS, STORE_JOBS, Schedule
from moatmail.app.snapshot import Snapshot
from moatmail.app.supervisor import Handed
from moatmail.core.events import Event
from moatmail.core.ports.event_sink import EventSink
from moatmail.core.settings.start import IMPLICIT_TLS, Start
from moatmail.crypto import password
from moatmail.crypto.keyring import Keyring
from moatmail.delivery import manager, reporting
from moatmail.directory.known import KnownAddresses
from moatmail.directory.login import Login
from moatmail.directory.remembered import Remembered
from moatmail.endpoints.gate import IMAP_REFUSAL, POP3_REFUSAL, SMTP_REFUSAL, Gate
from moatmail.endpoints.imap.session import Door as IMAPDoor
from moatmail.endpoints.imap.session import IMAPSession
from moatmail.endpoints.pop3 import Door as POP3Door
from moatmail.endpoints.pop3 import POP3Session
from moatmail.endpoints.smtp import Door as SMTPDoor
from moatmail.endpoints.smtp import SMTPSession
from moatmail.intake.history import History
from moatmail.intake.receive import Receiver
from moatmail.intake.submit import Submitter
from moatmail.intake.takeover import Ports
from moatmail.mailbox.changes import Listeners
from moatmail.mailbox.covers import DeliveryCovers
from moatmail.mailbox.keep_everything import KeepEverything
from moatmail.mailbox.opened import OpenAccounts
from moatmail.mailqueue.queue_key import QueueKey
from moatmail.monitor.log import Log
from moatmail.net import port
from moatmail.net.connector import TCPConnector
from moatmail.net.drive import Connection
from moatmail.net.listener import Listener, Terms
from moatmail.policy.stage import Tools
from moatmail.store import bus, channel
from moatmail.store.apply.work import Hints
from moatmail.store.content import ContentFiles
from moatmail.store.generation import Generation
from moatmail.store.local import LocalStore
from moatmail.store.maildrop_lock import MaildropLock
from moatmail.store.operations import ReleaseLeases

MECHANISMS: Final = (b"SCRAM-SHA-256-PLUS", b"SCRAM-SHA-256", b"PLAIN", b"LOGIN")
"""What our users may log in with, best first."""

AnyDoor = SMTPDoor | IMAPDoor | POP3Door
_REFUSALS: Final = {"smtp": SMTP_REFUSAL, "imap": IMAP_REFUSAL, "pop3": POP3_REFUSAL}
_KINDS: Final = {"imap": "imap", "imaps": "imap", "pop3": "pop3", "pop3s": "pop3"}
"""Which protocol a door speaks, where it is not SMTP."""
_NAMED: Final = 5  # domains that one line names
_WITHOUT_SCRAM: Final = (b"PLAIN", b"LOGIN")
_VERSION: Final = metadata.version("moatmail")
_DECOY_KEY: Final = os.urandom(32)
"""Made before the roles part, so that the salt invented for an unknown name is the same in every process (RFC 5802 §5.1)."""
_REMEMBERED: Final = Remembered()
_GENERATION: Final = Generation()
"""Made before the roles part: chance sends half of those who come back to another process, and a process that died is made anew."""


def make_ready(start: Start, prepare: Callable[[], None]) -> None:
    """Make keys and databases, or bring their schema up, and what older versions did not have; runs in a child that ends. Raises ConfigError."""
    asyncio.run(_complete(start))
    prepare()


async def _complete(start: Start) -> None:
    """Give signing keys to domains that have none."""
    events = _log(start, STORE)
    store = LocalStore(open_writer(start, events))
    try:
        made = await signing.complete(Desk(store, SystemClock(), "start", "start"))
    finally:
        await store.close()
    if made:
        names = ", ".join(made[:_NAMED]) + (f" and {len(made) - _NAMED} more" if len(made) > _NAMED else "")
        events.emit(Event.of("signing.completed", f"signing keys made for {names}; `moatmail domain dns NAME` prints the records due"))


def warm() -> None:
    """Make what all roles share, before they part."""
    password.warm()


def run(start: Start, handed: Handed) -> int:
    """Live as the role of this process; gives the exit status. Raises ConfigError."""
    if not DOORS[handed.worker.role] & USERS:
        _REMEMBERED.close()  # who serves no users has no use for what tells of their passwords
    events = _log(start, handed.worker.name)
    make = _ROLES[handed.worker.role]
    return live(handed, events, lambda: make(start, handed, events))


def _log(start: Start, source: str) -> Log:
    return Log(SystemClock(), start.log.form, source=source)


# ---------------------------------------------------------------- store


class StoreRole:
    """The only writer, with its socket for the other roles."""

    def __init__(self, start: Start, handed: Handed, events: EventSink) -> None:
        """Open the folder; raises ConfigError."""
        self._start = start
        self._writer = open_writer(start, events)
        self._bus = bus.BusServer(handed.roster.role_of)
        # What cannot be reached any more may be reachable for a fresh process: the supervisor starts one.
        self._store = LocalStore(self._writer, self._tell, lambda: os.kill(os.getpid(), signal.SIGKILL))
        self._channel = channel.ChannelServer(self._store, handed.roster.role_of, SystemClock(), events)
        self._schedule = Schedule(STORE_JOBS, self._writer, events)

        _GENERATION.count()  # the one before may have ended between a commit and its telling

    def _tell(self, hints: Hints) -> None:
        """Tell of a commit: the number of the directory first, for its answers leave after this."""
        if hints.settings:
            _GENERATION.count()
        self._bus.tell(hints)

    async def begin(self) -> StoreRole:
        """Answer from now on."""
        folder = self._start.folders.run
        self._bus.start(channel.bind_in(folder, bus.SOCKET, port.PACKETS))
        await self._channel.start(channel.bind_in(folder, channel.SOCKET, port.STREAM))
        self._schedule.start()
        return self

    async def reload(self) -> None:
        """Nothing of the store is read from files."""

    async def end(self, seconds: float) -> None:
        """Finish what was asked for; all others are gone when the store is told to end."""
        del seconds
        self._schedule.end()
        await self._channel.close()
        self._bus.close()
        await self._store.close()


async def _store(start: Start, handed: Handed, events: EventSink) -> Being:
    return await StoreRole(start, handed, events).begin()


# ---------------------------------------------------------------- what every other role has


@dataclass(frozen=True, slots=True)
class Common:
    """The store as other roles see it: the channel, the settings as last told, the bus that tells of changes."""

    start: Start
    handed: Handed
    events: EventSink
    store: channel.ChannelStore
    settings: Snapshot
    bus: bus.BusClient

    async def end(self) -> None:
        """Let go of the store."""
        self.bus.close()
        self.settings.end()
        await self.store.close()


def _deaf(_hint: bus.Hint) -> None:
    """Hear nothing but what everybody hears."""


async def _common(start: Start, handed: Handed, events: EventSink, *, heard: Callable[[bus.Hint], None] = _deaf) -> Common:
    """Connect to the store, waiting until it is there."""
    store = channel.ChannelStore(start.folders.run)
    settings = Snapshot(store, events)
    await settings.begin()

    def hear(hint: bus.Hint) -> None:
        if hint.kind in {bus.SETTINGS, bus.RESYNC}:
            settings.refresh_soon()
        heard(hint)

    listening = bus.BusClient(start.folders.run, hear)
    listening.start()
    return Common(start, handed, events, store, settings, listening)


# ---------------------------------------------------------------- doors: mx, access, both


@dataclass(frozen=True, slots=True)
class Users:
    """What only a process that serves our users has: logins, opened accounts with their keys, who waits for changes, the locks of maildrops."""

    login: Login
    accounts: OpenAccounts
    listeners: Listeners
    maildrops: MaildropLock


class FrontRole:
    """The doors of one process."""

    def __init__(self, common: Common, users: Users | None) -> None:
        self._common = common
        self._users = users
        self._certificates = CertificateFiles(common.start.tls, SystemClock(), common.events)
        self._gates = {kind: Gate(0, refusal) for kind, refusal in _REFUSALS.items()}
        self._serial = os.urandom(4).hex()
        self._count = 0
        self._queue_key = QueueKey(common.store)
        self._history = History(self._queue_key, SystemClock(), lambda: common.settings.version)
        self._resolver = open_resolver(common.start.dns)
        self._covers = DeliveryCovers()
        self._doors: dict[str, AnyDoor] = {}
        self._tasks: list[asyncio.Task[None]] = []
        common.settings.on_change(self._furnish)
        self._furnish()
        self._listeners = [self._listener(number) for number in common.handed.worker.listeners]

    async def begin(self) -> FrontRole:
        """Listen."""
        for listener in self._listeners:
            await listener.start()
        self._tasks.append(asyncio.create_task(self._certificates.follow_always()))
        if self._users is not None:
            self._tasks.append(asyncio.create_task(self._users.accounts.tend()))
            self._tasks.append(asyncio.create_task(self._users.listeners.heal()))
        return self

    async def reload(self) -> None:
        """Take the certificate and the settings as they are now."""
        self._certificates.reload()
        await self._common.settings.refresh()

    async def end(self, seconds: float) -> None:
        """Let the sessions finish, then forget every key."""
        await asyncio.gather(*(listener.drain(seconds) for listener in self._listeners))
        for task in self._tasks:
            task.cancel()
        if self._users is not None:
            await self._users.accounts.stop()
        await self._common.end()

    # ------------------------------------------------------------ what a connection meets

    def _furnish(self) -> None:
        """Make doors and gates after the settings of this moment; sessions under way keep what they met."""
        mail = self._common.settings()
        self._gates["smtp"].limit = mail.smtp.max_connections
        self._gates["imap"].limit = mail.imap.max_connections
        self._gates["pop3"].limit = mail.pop3.max_connections
        for number in self._common.handed.worker.listeners:
            name = self._common.start.listener[number].door
            self._doors[name] = _DOORS[name](self, name)

    def _listener(self, number: int) -> Listener:
        common = self._common
        name = common.start.listener[number].door
        kind = _KINDS.get(name, "smtp")
        run = {"smtp": self._run_smtp, "imap": self._run_imap, "pop3": self._run_pop3}[kind]

        def session(connection: Connection[Any]) -> Coroutine[Any, Any, None]:
            return run(name, connection)

        terms = Terms(name, _REFUSALS[kind], self._certificates.served if name in IMPLICIT_TLS else None)
        return Listener([port.adopt(common.handed.sockets[number])], session, self._gates[kind], common.events, terms)

    async def _run_smtp(self, name: str, connection: Connection[Any]) -> None:
        door = self._doors[name]
        assert isinstance(door, SMTPDoor)  # noqa: S101 - _DOORS made it
        await SMTPSession(door, connection, self._session_id()).run()

    async def _run_imap(self, name: str, connection: Connection[Any]) -> None:
        door = self._doors[name]
        assert isinstance(door, IMAPDoor)  # noqa: S101 - _DOORS made it
        await IMAPSession(door, connection, self._session_id()).run()

    async def _run_pop3(self, name: str, connection: Connection[Any]) -> None:
        door = self._doors[name]
        assert isinstance(door, POP3Door)  # noqa: S101 - _DOORS made it
        await POP3Session(door, connection).run()

    def _session_id(self) -> str:
        self._count += 1
        return f"{self._serial}{self._count:x}"

    # ------------------------------------------------------------ doors

    def mx(self, name: str) -> SMTPDoor:
        """Make the door of strangers."""
        ports = self._intake_ports()
        ports = replace(ports, known=KnownAddresses(ports.store, _GENERATION, ports.clock))
        return replace(self._smtp(name, Receiver(ports), ports), new_content=ports.new_watched_content)

    def submission(self, name: str) -> SMTPDoor:
        """Make a door where our users hand in mail."""
        ports = self._intake_ports()
        return replace(self._smtp(name, Submitter(ports), ports), login=self.users.login, mechanisms=self._mechanisms())

    def imap(self, name: str) -> IMAPDoor:
        """Make a door where our users read mail."""
        common = self._common
        return IMAPDoor(
            name=name,
            hostname=common.start.node.hostname,
            clock=SystemClock(),
            events=common.events,
            settings=common.settings,
            login=self.users.login,
            accounts=self.users.accounts,
            listeners=self.users.listeners,
            new_content=self._intake_ports().new_content,
            tls=self._certificates.served,
            mechanisms=self._mechanisms(),
            version=_VERSION,
            decoy_key=_DECOY_KEY,
        )

    def pop3(self, name: str) -> POP3Door:
        """Make a door where our users fetch mail."""
        common = self._common
        return POP3Door(
            name=name,
            hostname=common.start.node.hostname,
            clock=SystemClock(),
            events=common.events,
            settings=common.settings,
            login=self.users.login,
            accounts=self.users.accounts,
            lock=self.users.maildrops,
            tls=self._certificates.served,
            mechanisms=self._mechanisms(),
            decoy_key=_DECOY_KEY,
        )

    @property
    def users(self) -> Users:
        """Give what serves our users; a process of strangers has no such door."""
        assert self._users is not None, "a door of users in a process of strangers"  # noqa: S101 - roles.DOORS forbids it
        return self._users

    def _mechanisms(self) -> tuple[bytes, ...]:
        return MECHANISMS if self._common.settings().submission.scram else _WITHOUT_SCRAM

    def _smtp(self, name: str, intake: Receiver | Submitter, ports: Ports) -> SMTPDoor:
        common = self._common
        return SMTPDoor(
            name=name,
            hostname=common.start.node.hostname,
            intake=intake,
            new_content=ports.new_content,
            clock=ports.clock,
            events=common.events,
            settings=common.settings,
            tls=self._certificates.served,
            decoy_key=_DECOY_KEY,
        )

    def _intake_ports(self) -> Ports:
        common = self._common
        return Ports(
            store=common.store,
            files=ContentFiles(common.start.folders.data),
            clock=SystemClock(),
            events=common.events,
            tools=Tools(KeepEverything(), self._resolver, common.start.node.hostname, common.settings().policy.max_received),
            resolver=self._resolver,
            hostname=common.start.node.hostname,
            queue_key=self._queue_key,
            settings=common.settings,
            history=self._history,
            covers=self._covers,
        )


_DOORS: Final[dict[str, Callable[[FrontRole, str], AnyDoor]]] = {
    "mx": FrontRole.mx,
    "submission": FrontRole.submission,
    "submissions": FrontRole.submission,
    "imap": FrontRole.imap,
    "imaps": FrontRole.imap,
    "pop3": FrontRole.pop3,
    "pop3s": FrontRole.pop3,
}


async def _mx(start: Start, handed: Handed, events: EventSink) -> Being:
    return await FrontRole(await _common(start, handed, events), None).begin()


async def _access(start: Start, handed: Handed, events: EventSink) -> Being:
    listeners = Listeners()
    opened: list[OpenAccounts] = []  # hints come as soon as we are connected, before there is anybody to end
    tasks: list[asyncio.Task[None]] = []

    def heard(hint: bus.Hint) -> None:
        if hint.kind == bus.MAILBOX:
            listeners.tell((hint.number,))
        elif hint.kind == bus.MAILBOXES:
            listeners.tell_names((hint.number,))
        elif hint.kind == bus.ACCOUNT:
            for one in opened:
                one.end(hint.number)
        elif hint.kind == bus.RESYNC:
            listeners.resync()
            tasks[:] = [asyncio.create_task(one.look_again()) for one in opened]

    common = await _common(start, handed, events, heard=heard)
    await common.store.open_reader(start.folders.data)
    clock = SystemClock()
    accounts = OpenAccounts(common.store, ContentFiles(start.folders.data), Keyring(), clock, events)
    opened.append(accounts)
    users = Users(Login(common.store, clock, _REMEMBERED), accounts, listeners, MaildropLock(start.folders.run))
    return await FrontRole(common, users).begin()


# ---------------------------------------------------------------- back


class BackRole:
    """The queue and the scheduled jobs."""

    def __init__(self, common: Common, work: manager.Manager, reports: reporting.Ports) -> None:
        self._common = common
        self._manager = work
        self._schedules = (Schedule(BACK_JOBS, common.store, common.events), Schedule(REPORT_JOBS, reports, common.events))
        self._task: asyncio.Task[None] | None = None

    async def begin(self) -> BackRole:
        """Work the queue."""
        self._task = asyncio.create_task(self._manager.run())
        for schedule in self._schedules:
            schedule.start()
        return self

    async def reload(self) -> None:
        """Take the settings as they are now."""
        await self._common.settings.refresh()

    async def end(self, seconds: float) -> None:
        """Start no attempt any more; let those under way finish."""
        for schedule in self._schedules:
            schedule.end()
        if self._task is not None:
            self._task.cancel()
        await self._manager.drain(seconds)
        await self._common.end()


async def _back(start: Start, handed: Handed, events: EventSink) -> Being:
    woken: list[manager.Manager] = []

    def heard(hint: bus.Hint) -> None:
        if hint.kind in {bus.QUEUE, bus.RESYNC}:
            for one in woken:
                one.wake()

    common = await _common(start, handed, events, heard=heard)
    await common.store.open_reader(start.folders.data)
    owner = process_id()
    # A lease dies with the process that had it, whatever the clock says.
    await common.store.write(ReleaseLeases(owner))
    resolver = open_resolver(start.dns)
    ports = manager.Ports(
        store=common.store,
        files=ContentFiles(start.folders.data),
        resolver=resolver,
        connector=TCPConnector(),
        clock=SystemClock(),
        random=new_random(),
        events=events,
        hostname=start.node.hostname,
        owner=owner,
        settings=common.settings,
    )
    work = manager.Manager(ports)
    common.settings.on_change(work.forget_keys)  # signing keys change with a change of the administrator, as settings do
    woken.append(work)
    reports = reporting.Ports(common.store, resolver, SystemClock(), events, QueueKey(common.store), start.node.hostname, common.settings)
    return await BackRole(common, work, reports).begin()


def process_id() -> str:
    """Give what no other process of any boot is called: boot id and start time of this process."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    started = Path("/proc/self/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19]
    return f"{boot}.{os.getpid()}.{started}"


_ROLES: Final[dict[str, Callable[[Start, Handed, EventSink], Awaitable[Being]]]] = {STORE: _store, MX: _mx, ACCESS: _access, COMPACT: _access, BACK: _back}
