# SPDX-License-Identifier: Apache-2.0
"""Joins a socket to a sans-IO engine: octets in, events out, one coroutine for a connection.

Obeys RFC 2920 §3.2 (replies to a pipelined group leave together) and RFC 3207 §4 (what came behind STARTTLS is dropped).
Must never know which protocol the engine speaks.
"""

from __future__ import annotations

import ssl
from typing import Generic, Protocol, TypeVar

from moatmail.core.limits import net as limits
from moatmail.core.transaction import TLSFacts
from moatmail.net.stream import DeadlinePassedError, HandshakeFailedError, PeerGoneError, Stream, StreamError

__all__ = ["Connection", "DeadlinePassedError", "Engine", "HandshakeFailedError", "PeerGoneError", "StreamError"]

E = TypeVar("E")
E_co = TypeVar("E_co", covariant=True)


class Engine(Protocol[E_co]):
    """What a protocol engine shows to the socket's side."""

    @property
    def closing(self) -> bool:
        """Tell whether the connection ends once the output is written."""

    def receive(self, data: bytes) -> None:
        """Take octets of the peer."""

    def receive_eof(self) -> None:
        """Take note of the peer's end of stream."""

    def next_event(self) -> E_co | None:
        """Give the next event; None when more octets are needed."""

    def take_output(self) -> bytes:
        """Give the octets to be sent since the last call."""


class Connection(Stream, Generic[E]):
    """A connection accepted by a listener, driven by one coroutine that attaches an engine and asks for its events."""

    __slots__ = ("_engine", "_eof_told", "_notified", "_unanswered", "finishing")

    def __init__(self, read_buffer: memoryview) -> None:
        """Start without an engine: it is made when the peer is known, and attached."""
        super().__init__(read_buffer)
        self._engine: Engine[E] | None = None
        self._notified = self._eof_told = self._unanswered = False
        self.finishing = False
        """The server goes down: say 421 or BYE at the next pause and end the session."""

    def attach(self, engine: Engine[E]) -> None:
        """Drive `engine` from now on."""
        self._engine = engine

    async def next_event(self, deadline_seconds: float) -> E | None:
        """Give the engine's next event, or None when `notify` was called and the peer has nothing to say, or when the engine is through with the peer.

        Only when the engine has no event its output leaves, in one write, and octets are waited for; so replies to pipelined commands go
        together. Raises `DeadlinePassedError` when no event came within `deadline_seconds`, however many octets did, or when the peer does not
        read; `PeerGoneError` at the end of the connection, after the engine's last event.
        """
        engine = self._engine
        assert engine is not None, "attach an engine first"  # noqa: S101 - a fault of ours, found by the first test
        event = engine.next_event()
        if event is not None:
            return event
        deadline = 0.0
        while True:
            if out := engine.take_output():
                self._answer(out)
            if self.gone:
                raise PeerGoneError
            if engine.closing:
                return None  # nothing will come of waiting for a peer that was bidden farewell: it may wait for the end of the connection itself
            if not self._output_full:
                if self._feed(engine):
                    event = engine.next_event()
                    if event is not None:
                        return event
                    continue
                if self._notified:
                    self._notified = False
                    return None
            deadline = deadline or self._loop.time() + deadline_seconds
            await self._wait(deadline)

    async def _wait(self, deadline: float) -> None:
        if self._unanswered:
            self._unanswered = False
            self.acknowledge()
        await self._sleep(deadline)

    def _answer(self, out: bytes) -> None:
        self._unanswered = False
        self.write(out)

    def _feed(self, engine: Engine[E]) -> bool:
        """Give the engine what is here; tells whether there was anything. Raises `PeerGoneError` when it knows of the end already."""
        data = self._pull()
        if data:
            self._unanswered = True
            engine.receive(data)
        elif data is None:
            return False
        elif self._eof_told:
            raise PeerGoneError
        else:
            self._eof_told = True
            engine.receive_eof()
        return True

    def notify(self) -> None:
        """Make `next_event` return None once, now or when it is next asked; several calls before that count as one."""
        self._notified = True
        self._wake()

    def finish(self) -> None:
        """Ask the session to end: sets `finishing` and notifies."""
        self.finishing = True
        self.notify()

    @property
    def congested(self) -> bool:
        """Tell whether the peer leaves more than OUTPUT_HIGH octets unread."""
        return self._output_full

    def flush(self) -> None:
        """Send the engine's output now."""
        if self._engine is not None and (out := self._engine.take_output()):
            self._answer(out)

    async def start_tls(self, context: ssl.SSLContext, deadline_seconds: float = limits.HANDSHAKE_SECONDS) -> TLSFacts:
        """Answer STARTTLS: drop all input, send the engine's output (its go-ahead), shake hands.

        Call it straight from the event, without a flush between: all that came until the go-ahead leaves is plain text of who knows whom.
        Raises as `Stream.handshake`; the connection is then closed.
        """
        self._forget_input()  # RFC 3207 §4, RFC 9051 §6.2.1: also what the engine was not given yet
        self.flush()
        return await self.secure(context, deadline_seconds)

    async def secure(self, context: ssl.SSLContext, deadline_seconds: float = limits.HANDSHAKE_SECONDS) -> TLSFacts:
        """Shake hands with what came so far as the peer's part: implicit TLS (RFC 8314 §3). Raises as `start_tls`."""
        try:
            return await self.handshake(context, deadline_seconds)
        except Exception:
            self._record = None  # its alert is on the way; a closing one would be garbage
            super().close()  # not ours: the engine's output must not leave in clear
            raise

    def close(self) -> None:
        """Send the engine's output and end the connection in order."""
        if not self.gone:
            self.flush()
        super().close()
