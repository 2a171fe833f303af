# SPDX-License-Identifier: Apache-2.0
"""Accepts connections on sockets that are bound already, and runs one session for each.

Obeys RFC 8314 §3 (implicit TLS).
Must never know a protocol: refusals come as octets, sessions as coroutines; nor who may knock, which admission says.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
import ssl
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

from moatmail.core.events import Event
from moatmail.core.limits import net as limits
from moatmail.core.ports.event_sink import EventSink
from moatmail.net.drive import Connection, HandshakeFailedError, StreamError


class Admission(Protocol):
    """Says who may knock; asked before a single octet is read and before any TLS work."""

    def admit(self, ip: str) -> bytes | None:
        """Give None to let `ip` in (then `release` follows at its end), or the refusal as octets for the wire, perhaps none."""

    def release(self, ip: str) -> None:
        """Take note that a connection that was let in is over."""


class ServerTLS(Protocol):
    """Gives the context of new connections, so that certificates change while we listen (`tls.CertificateSet`)."""

    @property
    def context(self) -> ssl.SSLContext:
        """Give the context for the next handshake."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How a door meets its callers: its `name` in events, the `shed` octets sent when descriptors run short, `tls` if the handshake comes first."""

    name: str = ""
    shed: bytes = b""
    tls: ServerTLS | None = None


class Listener:
    """One door: its sockets, its sessions, its end."""

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        make_session: Callable[[Connection[Any]], Coroutine[Any, Any, None]],
        admission: Admission,
        events: EventSink,
        terms: Terms,
    ) -> None:
        """Accept on `sockets`, which are bound, and run `make_session(connection)` for each connection that `admission` lets in."""
        self._sockets = sockets
        self._make_session = make_session
        self._admission = admission
        self._events = events
        self._terms = terms
        self._read_buffer = memoryview(bytearray(limits.READ_BUFFER))
        self._connections: set[Connection[Any]] = set()
        self._sessions: set[asyncio.Task[None]] = set()  # a session may outlive its connection: it may be in the middle of a commit
        self._servers: list[asyncio.Server] = []
        self._idle = asyncio.Event()
        self._idle.set()
        self._draining = False
        self._descriptor_limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - limits.DESCRIPTORS_RESERVED

    @property
    def open_connections(self) -> int:
        """Give the number of connections that are open now."""
        return len(self._connections)

    async def start(self) -> None:
        """Begin to accept; raises `OSError` if a socket does not listen."""
        loop = asyncio.get_running_loop()
        for sock in self._sockets:
            self._servers.append(await loop.create_server(self._make_protocol, sock=sock, backlog=limits.BACKLOG))

    def _make_protocol(self) -> _Accepted:
        return _Accepted(self, self._read_buffer)

    def _accept(self, connection: _Accepted, transport: asyncio.Transport) -> None:
        """Admit and start the session, or refuse; no octet was read yet."""
        if not connection.peer_ip:  # gone before we looked
            transport.abort()
            return
        descriptor = transport.get_extra_info("socket").fileno()
        # The kernel gives the lowest free number, so a high one means that few are left.
        refusal = self._terms.shed if descriptor >= self._descriptor_limit else self._admission.admit(connection.peer_ip)
        if refusal is not None:
            if self._terms.tls is None and refusal:  # in clear on a TLS port it would only be noise
                transport.write(refusal)
            transport.close()
            return
        if self._draining:  # it was on its way when the socket closed
            connection.finish()
        self._idle.clear()
        self._connections.add(connection)
        session = asyncio.get_running_loop().create_task(self._run(connection))
        self._sessions.add(session)
        session.add_done_callback(self._end_session)

    def _end_session(self, session: asyncio.Task[None]) -> None:
        self._sessions.discard(session)
        self._note_idle()

    def _end_connection(self, connection: Connection[Any]) -> None:
        if connection in self._connections:
            self._connections.discard(connection)
            self._admission.release(connection.peer_ip)
            self._note_idle()

    def _note_idle(self) -> None:
        if not self._connections and not self._sessions:
            self._idle.set()

    async def _run(self, connection: Connection[Any]) -> None:
        """Run one session to its end; the one place where the unexpected is caught."""
        try:
            if self._terms.tls is not None:
                await connection.secure(self._terms.tls.context)
            await self._make_session(connection)
        except StreamError as error:
            if isinstance(error, HandshakeFailedError):
                self._events.emit(Event.of("tls.handshake-failed", str(error), door=self._terms.name, peer=connection.peer_ip))
        except Exception as error:  # noqa: BLE001 - a fault of ours in one session must not take the others with it
            self._alert(connection, error)
            connection.abort()
        except asyncio.CancelledError:
            connection.abort()
            raise
        finally:
            connection.close()

    def _alert(self, connection: Connection[Any], error: Exception) -> None:
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        place = f"{trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}" if trace is not None else ""
        # The message of an unexpected error may quote mail, so only its type and place are told.
        self._events.emit(
            Event.of(
                "session.failed",
                "a session ended by an unexpected error",
                alert=True,
                door=self._terms.name,
                peer=connection.peer_ip,
                error=type(error).__name__,
                place=place,
            )
        )

    def stop_accepting(self) -> None:
        """Close the listening sockets; open connections go on."""
        for server in self._servers:
            server.close()
        self._servers.clear()

    async def drain(self, seconds: float) -> int:
        """Stop accepting, ask every session to finish, and abort what is left after `seconds`; gives the number of connections aborted."""
        self._draining = True
        self.stop_accepting()
        for connection in tuple(self._connections):
            connection.finish()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), seconds)
        left = tuple(self._connections)
        for connection in left:
            connection.abort()
        sessions = tuple(self._sessions)
        for session in sessions:
            session.cancel()
        await asyncio.gather(*sessions, return_exceptions=True)
        return len(left)


class _Accepted(Connection[Any]):
    """A connection that reports to its listener."""

    __slots__ = ("_listener",)

    def __init__(self, listener: Listener, read_buffer: memoryview) -> None:
        super().__init__(read_buffer)
        self._listener = listener

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._listener._accept(self, cast("asyncio.Transport", transport))  # noqa: SLF001 - two halves of one thing

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._listener._end_connection(self)  # noqa: SLF001
