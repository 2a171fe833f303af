# SPDX-License-Identifier: Apache-2.0
"""The object graph of every role: which class stands behind which port, in which process.

Obeys no RFC; the roles and their rights are those of docs/security.md.
Must never decide anything about mail. The only file that knows both sides of a port.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from moatmail.app.access import open_writer
from moatmail.app.clock import SystemClock
from moatmail.app.life import Being, live
from moatmail.app.random import new_random
from moatmail.app.roles import ACCESS, BACK, COMPACT, MX, STORE
from moatmail.app.schedule import BACK_JOBS, STORE_JOBS, Schedule
from moatmail.app.snapshot import Snapshot
from moatmail.app.supervisor import Handed
from moatmail.app.trial_names import ZONE
from moatmail.core.errors import ConfigError
from moatmail.core.ports.event_sink import EventSink
from moatmail.core.ports.resolver import Resolver
from moatmail.core.settings.start import IMPLICIT_TLS, Start
from moatmail.crypto import password
from moatmail.delivery import manager
from moatmail.directory.login import Login
from moatmail.endpoints.gate import IMAP_REFUSAL, SMTP_REFUSAL, Gate
from moatmail.endpoints.smtp import Door, SMTPSession
from moatmail.intake.receive import Receiver
from moatmail.intake.submit import Submitter
from moatmail.intake.takeover import Ports, QueueKey
from moatmail.mailbox.keep_everything import KeepEverything
from moatmail.monitor.log import Log
from moatmail.net import port, tls
from moatmail.net.connector import TCPConnector
from moatmail.net.drive import Connection
from moatmail.net.listener import Listener, Terms
from moatmail.net.resolver import DnsResolver
from moatmail.net.resolver_table import TableResolver
from moatmail.policy.stage import Tools
from moatmail.store import bus, channel
from moatmail.store.content import ContentFiles
from moatmail.store.local import LocalStore
from moatmail.store.operations import ReleaseLeases

MECHANISMS: Final = (b"SCRAM-SHA-256-PLUS", b"SCRAM-SHA-256", b"PLAIN", b"LOGIN")
"""What our users may log in with, best first."""

_WITHOUT_SCRAM: Final = (b"PLAIN", b"LOGIN")
_DECOY_KEY: Final = os.urandom(32)
"""Made before the roles part, so that the salt invented for an unknown name is the same in every process (RFC 5802 §5.1)."""


def make_ready(start: Start, prepare: Callable[[], None]) -> None:
    """Make keys and databases, or bring their schema up; runs in a child that ends. Raises ConfigError."""
    open_writer(start, _log(start, STORE)).close()
    prepare()


def run(start: Start, handed: Handed) -> int:
    """Live as the role of this process; gives the exit status. Raises ConfigError."""
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
        self._store = LocalStore(self._writer, self._bus.tell, lambda: os.kill(os.getpid(), signal.SIGKILL))
        self._channel = channel.ChannelServer(self._store, handed.roster.role_of, SystemClock(), events)
        self._schedule = Schedule(STORE_JOBS, self._writer, events)

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


class FrontRole:
    """The doors of one process."""

    def __init__(self, common: Common) -> None:
        self._common = common
        self._certificates = tls.CertificateSet(read_certificates(common.start))
        self._gates = {"smtp": Gate(0, SMTP_REFUSAL), "imap": Gate(0, IMAP_REFUSAL)}
        self._count = 0
        self._serial = os.urandom(4).hex()
        self._listeners = [self._listener(number) for number in common.handed.worker.listeners if common.start.listener[number].door in _SESSIONS]
        common.settings.on_change(self._measure)
        self._measure()

    async def begin(self) -> FrontRole:
        """Listen."""
        for listener in self._listeners:
            await listener.start()
        return self

    async def reload(self) -> None:
        """Take the certificate and the settings as they are now."""
        self._certificates.replace(read_certificates(self._common.start))
        await self._common.settings.refresh()

    async def end(self, seconds: float) -> None:
        """Let the sessions finish."""
        await asyncio.gather(*(listener.drain(seconds) for listener in self._listeners))
        await self._common.end()

    def _measure(self) -> None:
        """Put the settings' numbers where they are asked at every connection."""
        mail = self._common.settings()
        self._gates["smtp"].limit = mail.smtp.max_connections
        self._gates["imap"].limit = mail.imap.max_connections

    def _listener(self, number: int) -> Listener:
        common = self._common
        listener = common.start.listener[number]
        sockets = [port.adopt(common.handed.sockets[number])]
        kind = "imap" if listener.door.startswith("imap") else "smtp"
        refusal = IMAP_REFUSAL if kind == "imap" else SMTP_REFUSAL
        terms = Terms(listener.door, refusal, self._certificates if listener.door in IMPLICIT_TLS else None)
        return Listener(sockets, _SESSIONS[listener.door](self, listener.door), self._gates[kind], common.events, terms)

    def _session_id(self) -> str:
        self._count += 1
        return f"{self._serial}{self._count:x}"

    # ------------------------------------------------------------ SMTP

    def smtp(self, name: str) -> Callable[[Connection[Any]], Any]:
        """Give what makes the sessions of an SMTP door."""
        door = self._mx_door(name) if name == "mx" else self._submission_door(name)

        async def session(connection: Connection[Any]) -> None:
            await SMTPSession(door, connection, self._session_id()).run()

        return session

    def _mx_door(self, name: str) -> Door:
        ports = _intake_ports(self._common)
        return self._door(name, Receiver(ports), ports)

    def _submission_door(self, name: str) -> Door:
        ports = _intake_ports(self._common)
        common = self._common
        login = Login(common.store, SystemClock())
        mechanisms = MECHANISMS if common.settings().submission.scram else _WITHOUT_SCRAM
        return self._door(name, Submitter(ports), ports, login=login, mechanisms=mechanisms)

    def _door(self, name: str, intake: Receiver | Submitter, ports: Ports, **login: Any) -> Door:  # noqa: ANN401 - Door's own fields
        common = self._common
        return Door(
            name=name,
            hostname=common.start.node.hostname,
            intake=intake,
            new_content=ports.new_content,
            clock=ports.clock,
            events=common.events,
            settings=common.settings,
            tls=self._certificates,
            decoy_key=_DECOY_KEY,
            **login,
        )


_SESSIONS: Final[dict[str, Callable[[FrontRole, str], Callable[[Connection[Any]], Any]]]] = {
    "mx": FrontRole.smtp,
    "submission": FrontRole.smtp,
    "submissions": FrontRole.smtp,
}


def _intake_ports(common: Common) -> Ports:
    return Ports(
        store=common.store,
        files=ContentFiles(common.start.folders.data),
        clock=SystemClock(),
        events=common.events,
        tools=Tools(KeepEverything(), common.settings().policy.max_received),
        hostname=common.start.node.hostname,
        queue_key=QueueKey(common.store),
        settings=common.settings,
    )


def read_certificates(start: Start) -> Iterable[tls.Certificate]:
    """Read the certificate and its key; raises ConfigError."""
    try:
        return [tls.Certificate(start.tls.certificate.read_bytes(), start.tls.key.read_bytes())]
    except OSError as error:
        raise ConfigError(f"{error.filename}: the certificate cannot be read ({error.strerror}); check tls.certificate and tls.key") from None


async def _mx(start: Start, handed: Handed, events: EventSink) -> Being:
    return await FrontRole(await _common(start, handed, events)).begin()


async def _access(start: Start, handed: Handed, events: EventSink) -> Being:
    password.warm()
    common = await _common(start, handed, events)
    await common.store.open_reader(start.folders.data)
    return await FrontRole(common).begin()


# ---------------------------------------------------------------- back


class BackRole:
    """The queue and the scheduled jobs."""

    def __init__(self, common: Common, work: manager.Manager) -> None:
        self._common = common
        self._manager = work
        self._schedule = Schedule(BACK_JOBS, common.store, common.events)
        self._task: asyncio.Task[None] | None = None

    async def begin(self) -> BackRole:
        """Work the queue."""
        self._task = asyncio.create_task(self._manager.run())
        self._schedule.start()
        return self

    async def reload(self) -> None:
        """Take the settings as they are now."""
        await self._common.settings.refresh()

    async def end(self, seconds: float) -> None:
        """Start no attempt any more; let those under way finish."""
        self._schedule.end()
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
    ports = manager.Ports(
        store=common.store,
        files=ContentFiles(start.folders.data),
        resolver=_resolver(start),
        connector=TCPConnector(),
        clock=SystemClock(),
        random=new_random(),
        events=events,
        hostname=start.node.hostname,
        owner=owner,
        settings=common.settings,
    )
    work = manager.Manager(ports)
    woken.append(work)
    return await BackRole(common, work).begin()


def _resolver(start: Start) -> Resolver:
    if start.dns.source == "trial":
        return TableResolver(ZONE)
    return DnsResolver(start.dns.servers if start.dns.source == "servers" else ())


def process_id() -> str:
    """Give what no other process of any boot is called: boot id and start time of this process."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    started = Path("/proc/self/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19]
    return f"{boot}.{os.getpid()}.{started}"


_ROLES: Final[dict[str, Callable[[Start, Handed, EventSink], Awaitable[Being]]]] = {STORE: _store, MX: _mx, ACCESS: _access, COMPACT: _access, BACK: _back}
