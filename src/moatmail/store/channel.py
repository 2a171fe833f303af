# SPDX-License-Identifier: Apache-2.0
"""The store's face across processes: a Unix stream socket in the run folder, requests pipelined, answers after the commit.

Obeys RFC 5321 §6.1: a caller whose channel broke asks again with the same ids, and hears of success or of failure, never of nothing.
Must never know what is asked: `frames` packs it, `permissions` judges it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import msgspec

from moatmail.core.errors import ConfigError, MoatmailError, NotPermittedError, StoreUnavailableError
from moatmail.core.events import Event
from moatmail.core.limits import store as limits
from moatmail.core.ports.clock import Clock
from moatmail.core.ports.event_sink import EventSink
from moatmail.store import frames, migrate
from moatmail.store.answer import answer
from moatmail.store.local import LocalStore
from moatmail.store.openings import Openings
from moatmail.store.operations import Journal, OpenAccount, Operation
from moatmail.store.permissions import may, told
from moatmail.store.queries import GetDatabaseKey, LoginFacts, Query, SettingsAnswer
from moatmail.store.sqlite import Database, DatabaseError, Use, open_database, translate

R = TypeVar("R")

SOCKET: Final = "store.sock"
CLI: Final = "cli"
_CREDENTIALS: Final = struct.Struct("3i")
_MINUTE: Final = 60.0
_BACKLOG: Final = 128


def socket_in(folder: Path, name: str, kind: socket.SocketKind, act: Callable[[socket.socket, str], None]) -> socket.socket:
    """Bind or connect a socket of the run folder through the folder's descriptor: names over 107 octets would not fit into an address."""
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    made = socket.socket(socket.AF_UNIX, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        act(made, f"/proc/self/fd/{descriptor}/{name}")
    except BaseException:
        made.close()
        raise
    finally:
        os.close(descriptor)
    return made


def bind_in(folder: Path, name: str, kind: socket.SocketKind) -> socket.socket:
    """Listen in the run folder, taking the place of what an earlier process left (the folder's lock says that it is gone)."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        (folder / name).unlink()

    def act(made: socket.socket, path: str) -> None:
        made.bind(path)
        made.listen(_BACKLOG)

    return socket_in(folder, name, kind, act)


def peer_of(connection: socket.socket) -> tuple[int, int]:
    """Give the pid and the uid of the other end, as the kernel knows them."""
    pid, uid, _gid = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return pid, uid


def role_of_peer(connection: socket.socket, role_of: Callable[[int], str]) -> str:
    """Give the role of the other end, empty for nobody; the command line must belong to our own user or to root."""
    pid, uid = peer_of(connection)
    role = role_of(pid)
    if role == CLI and uid not in {os.getuid(), 0}:
        return ""
    return role


# ---------------------------------------------------------------- the store's end


class ChannelServer:
    """Answers the other roles; each request is judged by the table role × operation before anything is done."""

    def __init__(self, store: LocalStore, role_of: Callable[[int], str], clock: Clock, sink: EventSink) -> None:
        """Take the store; `role_of` gives a pid's role, "cli" or the empty text for nobody."""
        self.store = store
        self._role_of = role_of
        self._clock = clock
        self._sink = sink
        self._told: dict[tuple[str, str], float] = {}
        self.openings = Openings(clock, sink)
        self._peers: set[_Peer] = set()
        self._server: asyncio.Server | None = None

    async def start(self, listening: socket.socket) -> None:
        """Begin to accept on a socket made by `bind_in(run_folder, SOCKET, SOCK_STREAM)`."""
        self._server = await asyncio.get_running_loop().create_unix_server(lambda: _Peer(self), sock=listening)

    async def close(self) -> None:
        """Stop accepting and close every channel; what was asked for is still finished by the store's own `close`."""
        if self._server is not None:
            self._server.close()
        for peer in tuple(self._peers):
            peer.close()

    # ---- for its peers ----

    def enter(self, peer: _Peer, connection: socket.socket) -> str:
        """Know a new peer by its pid; the empty text for one that gets no answers."""
        role = role_of_peer(connection, self._role_of)
        if not role:
            pid, uid = peer_of(connection)
            self._sink.emit(Event.of("store.stranger", f"process {pid} of user {uid} knocked at the store and was sent away", alert=True))
            return ""
        self._peers.add(peer)
        return role

    def leave(self, peer: _Peer) -> None:
        """Forget a peer."""
        self._peers.discard(peer)

    def judge(self, role: str, asked: object) -> None:
        """Let through what the role may ask; raises NotPermittedError, and tells journal and administrator, once a minute for each cell."""
        if isinstance(asked, OpenAccount):
            self.openings.opened(role, asked.account)
        if may(role, asked):
            return
        name = type(asked).__name__
        now = self._clock.now()
        if now - self._told.get((role, name), 0.0) >= _MINUTE:
            self._told[role, name] = now
            what = f"asked for {name}, which its role may not"
            self._sink.emit(Event.of("store.refused", f"role {role} {what}", alert=True, role=role, operation=name))
            future = self.store.group.submit(Journal(now, role, what), "store")
            future.add_done_callback(_hear)
        raise NotPermittedError(f"role {role} may not ask for {name}")


def _hear(future: asyncio.Future[Any]) -> None:
    """Take note of a journal entry's fate: its loss was told by the writer already."""
    if not future.cancelled():
        future.exception()


class _Peer(asyncio.Protocol):
    """One connected process."""

    def __init__(self, server: ChannelServer) -> None:
        self._server = server
        self._unpacker = frames.Unpacker()
        self._role = ""
        self._octets = 0
        self._unread = False
        self._paused = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # The loop in use has transports of its own family.
        self._transport = cast("asyncio.Transport", transport)
        self._role = self._server.enter(self, transport.get_extra_info("socket"))
        if not self._role:
            self.close()

    def connection_lost(self, _error: Exception | None) -> None:
        self._transport = None
        self._server.leave(self)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if not self._role:
            return
        try:
            for frame in self._unpacker.feed(data):
                self._take(frame)
        except frames.FrameError:
            self.close()

    def _take(self, frame: frames.Frame) -> None:
        asked = frames.read_request(frame.body)
        try:
            self._server.judge(self._role, asked)
            if isinstance(asked, Query):
                self._tell(frame.number, asked)
                return
        except MoatmailError as error:
            self._fail(frame.number, error)
            return
        self._hold(len(frame.body))
        future = self._server.store.group.submit(asked, self._role)
        future.add_done_callback(_Reply(self, frame.number, len(frame.body)))

    def _tell(self, number: int, query: Query[Any]) -> None:
        """Answer a question; one that the journal must tell of is answered when that is durable."""
        found = self._server.store.answer(query)
        if isinstance(found, LoginFacts):
            self._server.openings.login(self._role, found.account.id)
        entry = self._server.store.witness.entry(self._role, query, found)
        if entry is None:
            self._answer(number, told(self._role, found) if isinstance(found, SettingsAnswer) else found)
            return

        def hand_out(future: asyncio.Future[Any]) -> None:
            if not future.cancelled() and future.exception() is None:
                self._server.store.witness.written(self._role, entry)
            self.settle(number, 0, future, found)

        self._server.store.group.submit(Journal(0.0, self._role, entry), self._role).add_done_callback(hand_out)

    def settle(self, number: int, octets: int, future: asyncio.Future[Any], found: object = None) -> None:
        """Answer when a change is durable: with `found`, or with what it gave."""
        self._hold(-octets)
        error = StoreUnavailableError("cancelled") if future.cancelled() else future.exception()
        if error is None:
            self._answer(number, future.result() if found is None else found)
        else:
            self._fail(number, error if isinstance(error, MoatmailError) else StoreUnavailableError(repr(error)))

    def pause_writing(self) -> None:
        self._unread = True
        self._mind()

    def resume_writing(self) -> None:
        self._unread = False
        self._mind()

    def _hold(self, octets: int) -> None:
        self._octets += octets
        self._mind()

    def _mind(self) -> None:
        """Stop reading from a peer that asks faster than the disk answers, or does not read its answers: both are memory of ours."""
        if self._transport is None:
            return
        too_much = self._unread or self._octets > (limits.UNANSWERED // 2 if self._paused else limits.UNANSWERED)
        if too_much == self._paused:
            return
        self._paused = too_much
        if too_much:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _answer(self, number: int, answer_: object) -> None:
        if self._transport is None:
            return
        try:
            frame = frames.pack(number, frames.ANSWER, answer_)
        except MoatmailError as error:
            self._fail(number, error)
            return
        self._transport.write(frame)

    def _fail(self, number: int, error: MoatmailError) -> None:
        if self._transport is not None:
            self._transport.write(frames.pack(number, frames.FAILURE, frames.describe(error)))


class _Reply:
    """What to do when a change is durable: lighter than a task."""

    __slots__ = ("_number", "_octets", "_peer")

    def __init__(self, peer: _Peer, number: int, octets: int) -> None:
        self._peer = peer
        self._number = number
        self._octets = octets

    def __call__(self, future: asyncio.Future[Any]) -> None:
        self._peer.settle(self._number, self._octets, future)


# ---------------------------------------------------------------- the other roles' end


class _BrokenError(Exception):
    """The channel broke, and nobody knows what became of the request."""


class _Channel(asyncio.Protocol):
    """A connection to the store."""

    def __init__(self) -> None:
        self._unpacker = frames.Unpacker()
        self._pending: dict[int, tuple[asyncio.Future[Any], msgspec.msgpack.Decoder[Any]]] = {}
        self._number = 0
        self._transport: asyncio.Transport | None = None
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # The loop in use has transports of its own family.
        self._transport = cast("asyncio.Transport", transport)

    @property
    def alive(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def connection_lost(self, _error: Exception | None) -> None:
        self._transport = None
        self._writable.set()
        pending, self._pending = self._pending, {}
        for future, _decoder in pending.values():
            if not future.done():
                future.set_exception(_BrokenError)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        try:
            for frame in self._unpacker.feed(data):
                self._take(frame)
        except (frames.FrameError, msgspec.MsgspecError):
            self.close()

    def _take(self, frame: frames.Frame) -> None:
        future, decoder = self._pending.pop(frame.number, (None, None))
        if future is None or decoder is None or future.done():
            # Its caller was cancelled.
            return
        if frame.kind == frames.ANSWER:
            future.set_result(decoder.decode(frame.body))
        else:
            future.set_exception(frames.read_failure(frame.body))

    async def ask(self, asked: object, decoder: msgspec.msgpack.Decoder[Any]) -> Any:  # noqa: ANN401  the caller knows the type
        if not self._writable.is_set():
            await self._writable.wait()
        if self._transport is None:
            raise _BrokenError
        self._number += 1
        frame = frames.pack(self._number, frames.ASK, asked)
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._pending[self._number] = future, decoder
        self._transport.write(frame)
        return await future

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class ChannelStore:
    """A `Store` over the channel; with `open_reader` it answers by itself what needs no key."""

    def __init__(self, run_folder: Path) -> None:
        """Take the folder of the store's socket; connects when first asked."""
        self._folder = run_folder
        self._channel: _Channel | None = None
        self._connecting = asyncio.Lock()
        self._reader: Database | None = None

    async def write(self, operation: Operation[R]) -> R:
        """Do a change; it is durable when this returns."""
        answer_: R = await self._ask(_with_id(operation))
        return answer_

    async def read(self, query: Query[R]) -> R:
        """Answer a question: from our own connection where we have one, else by the store."""
        if self._reader is not None and not query.at_store:
            try:
                result: R = answer(self._reader, query)
            except DatabaseError as error:
                raise translate(error) from error
            return result
        answer_: R = await self._ask(query)
        return answer_

    async def open_reader(self, data_folder: Path) -> None:
        """Ask for the database's key and read by ourselves from now on (roles access, web, back); raises NotPermittedError for others."""
        key = (await self.read(GetDatabaseKey())).key
        try:
            self._reader = open_database(data_folder / migrate.FILE, key, Use.READ)
        except ConfigError as error:
            raise StoreUnavailableError(str(error)) from error

    async def close(self) -> None:
        """Close the channel and the reading connection."""
        if self._channel is not None:
            self._channel.close()
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    async def _ask(self, asked: Operation[Any] | Query[Any]) -> Any:  # noqa: ANN401  the request names its answer
        """Ask until there is an answer; the same request again and again for two seconds where the channel breaks or the store is away."""
        loop = asyncio.get_running_loop()
        decoder = frames.answer_decoder(type(asked))
        give_up = 0.0
        while True:
            try:
                channel = self._channel
                if channel is None or not channel.alive:
                    channel = await self._connect()
                return await channel.ask(asked, decoder)
            except (_BrokenError, OSError) as error:
                give_up = give_up or loop.time() + limits.REPEAT_FOR
                if loop.time() >= give_up:
                    raise StoreUnavailableError(f"the store does not answer: {error!r}") from None
                await asyncio.sleep(limits.REPEAT_EVERY)

    async def _connect(self) -> _Channel:
        async with self._connecting:
            if self._channel is not None and self._channel.alive:
                return self._channel
            connection = socket_in(self._folder, SOCKET, socket.SOCK_STREAM, lambda made, path: made.connect(path))
            _transport, self._channel = await asyncio.get_running_loop().create_unix_connection(_Channel, sock=connection)
            return self._channel


def _with_id(operation: Operation[R]) -> Operation[R]:
    """Give an operation that must not be done twice the id by which its repetition is known."""
    field = operation.once
    if not field or getattr(operation, field):
        return operation
    return msgspec.structs.replace(operation, **{field: os.urandom(16)})
