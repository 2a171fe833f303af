# SPDX-License-Identifier: Apache-2.0
"""A stream of octets over one socket, plain or TLS, with bounded buffers and one timer: what connections and links are made of.

Obeys RFC 8446 §6.1 (close_notify), RFC 3207 §4 and RFC 9051 §6.2.1 (nothing read before the handshake survives it).
Must never know a mail protocol, or which side opened the connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections import deque
from typing import Final, cast

from moatmail.core.errors import TemporaryError
from moatmail.core.limits import net as limits
from moatmail.core.transaction import TLSFacts
from moatmail.net import tls

_QUICK: Final[int | None] = getattr(socket, "TCP_QUICKACK", None)  # Linux alone has it
_CLOCK_GRAIN: Final = 0.001  # event loops count in milliseconds and may wake that much early


class StreamError(TemporaryError):
    """A connection ended in one of the ways that connections end; no fault of ours."""

    status = "4.4.2"
    public = "connection lost"


class DeadlinePassedError(StreamError):
    """The peer did not do its part in time."""

    public = "timeout exceeded"


class PeerGoneError(StreamError):
    """The connection is over: the peer closed or reset it, or we aborted it."""


class HandshakeFailedError(StreamError):
    """TLS could not be agreed on; the connection is of no use any more."""

    status = "4.7.5"
    public = "TLS handshake failed"


class _Record:
    """TLS between two memory buffers; steps of at most a record, so that the buffers stay small for the life of a connection."""

    __slots__ = ("_incoming", "_outgoing", "engine")

    def __init__(self, context: ssl.SSLContext, *, server_side: bool, server_name: str | None) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self.engine = context.wrap_bio(self._incoming, self._outgoing, server_side=server_side, server_hostname=server_name)

    def receive(self, data: memoryview) -> None:
        self._incoming.write(data)

    def receive_eof(self) -> None:
        self._incoming.write_eof()

    def handshake(self) -> bool:
        """Go on with the handshake; tells whether it is done. Raises `ssl.SSLError`."""
        try:
            self.engine.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def read(self) -> bytes | None:
        """Give the plain octets of one record, None when more is needed, nothing at the end of the stream."""
        try:
            return self.engine.read(limits.RECORD)
        except ssl.SSLWantReadError:
            return None
        except ssl.SSLError:
            return b""  # damaged or cut off (RFC 8446 §6.2): nothing after it can be trusted, so the stream ends here

    def seal(self, data: bytes) -> list[bytes]:
        """Give the records that carry `data`."""
        if len(data) <= limits.RECORD:
            self.engine.write(data)
            return [self._outgoing.read()]
        view, records = memoryview(data), []
        for start in range(0, len(view), limits.RECORD):
            self.engine.write(view[start : start + limits.RECORD])
            records.append(self._outgoing.read())
        return records

    def take(self) -> bytes:
        """Give what the TLS layer itself wants to send: handshake, alerts, key updates."""
        return self._outgoing.read() if self._outgoing.pending else b""

    def close_notify(self) -> bytes:
        """Give our closing alert (RFC 8446 §6.1); we do not wait for the peer's."""
        with contextlib.suppress(ssl.SSLError, ValueError):
            self.engine.unwrap()
        return self.take()


def _write_all(transport: asyncio.WriteTransport, records: list[bytes]) -> None:
    transport.writelines(records[:-1])
    # The standard loop of Python 3.12 and 3.13 forgets its high-water mark in `writelines`: who does not read would cost memory without end.
    transport.write(records[-1])


class Stream(asyncio.BufferedProtocol):
    """One socket as seen by the one coroutine that owns it.

    Input waits as it came, still encrypted, until it is asked for; above a limit the socket is not read. Every wait has a deadline, and all
    waits of a connection share one timer, moved only when it fires: an event costs no timer of its own.
    Larger than usual because reading, writing and ending share that timer and the state of one socket.
    """

    __slots__ = (
        "_chunks",
        "_closing",
        "_deadline",
        "_eof",
        "_held",
        "_loop",
        "_lost",
        "_output_full",
        "_paused",
        "_read_buffer",
        "_record",
        "_timer",
        "_timer_at",
        "_transport",
        "_waiter",
        "local_ip",
        "local_port",
        "peer_ip",
        "peer_port",
        "tls",
    )

    def __init__(self, read_buffer: memoryview) -> None:
        """Read through `read_buffer`, which every stream of a loop may share."""
        self._read_buffer = read_buffer
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._chunks: deque[memoryview] = deque()
        self._held = 0
        self._paused = self._eof = self._lost = self._closing = self._output_full = False
        self._record: _Record | None = None
        self._waiter: asyncio.Future[bool] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = self._deadline = 0.0
        self.peer_ip = self.local_ip = ""
        self.peer_port = self.local_port = 0
        self.tls: TLSFacts | None = None

    # ---- called by the loop ----
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport; its buffer gets our bounds."""
        transport = cast("asyncio.Transport", transport)  # TCP gives no other; the loop's own class need not be a subclass
        self._transport = transport
        transport.set_write_buffer_limits(limits.OUTPUT_HIGH, limits.OUTPUT_LOW)
        self.peer_ip, self.peer_port = _end(transport.get_extra_info("peername"))
        self.local_ip, self.local_port = _end(transport.get_extra_info("sockname"))
        with contextlib.suppress(OSError, AttributeError):  # gone already
            # Replies are small and whole: waiting for more to send with them costs 40 ms. Not every loop does it for accepted sockets.
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - the loop's guess; the buffer has one size
        """Give the shared buffer: what lands in it is copied out before the loop reads another socket."""
        return self._read_buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Keep the octets for the owner; stop reading when it is slow."""
        self._held += nbytes
        if self._closing:
            if self._held > limits.LINGER_OCTETS:
                self.abort()
            return
        self._chunks.append(memoryview(bytes(self._read_buffer[:nbytes])))
        if self._held > limits.INPUT_HIGH and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        """Note the peer's end of stream; our direction stays open for the last reply."""
        self._eof = True
        self._wake()
        return not self._closing

    def pause_writing(self) -> None:
        """Note that the transport holds more than OUTPUT_HIGH."""
        self._output_full = True

    def resume_writing(self) -> None:
        """Note that the transport has room again."""
        self._output_full = False
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - however it ended, it ended
        """Let go of everything."""
        self._lost = True
        self._chunks.clear()
        self._record = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._wake()

    # ---- waiting ----
    def _wake(self, *, expired: bool = False) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(expired)

    async def _sleep(self, deadline: float) -> None:
        """Wait for anything to happen; raises `DeadlinePassedError` at `deadline` (the loop's time)."""
        self._deadline = deadline
        self._arm(deadline)
        self._waiter = self._loop.create_future()
        try:
            if await self._waiter:
                raise DeadlinePassedError
        finally:
            self._waiter = None

    def _arm(self, when: float) -> None:
        if self._timer is not None:
            if self._timer_at <= when:
                return  # it fires early, sees the later deadline and goes on: cheaper than moving it at each wait
            self._timer.cancel()
        self._timer_at = when
        self._timer = self._loop.call_at(when, self._tick)

    def _tick(self) -> None:
        self._timer = None
        if self._waiter is None and not self._closing:
            return
        if self._deadline - self._loop.time() > _CLOCK_GRAIN:
            self._arm(self._deadline)
        elif self._closing:
            self.abort()
        else:
            self._wake(expired=True)

    # ---- input ----
    def _pull(self) -> bytes | None:
        """Give plain octets that are here already, None when there are none yet, nothing at the end of the stream."""
        record = self._record
        if record is None:
            if self._chunks:
                return bytes(self._next_chunk(limits.FEED))
            return b"" if self._eof or self._lost else None
        while (data := record.read()) is None:
            if self._chunks:
                record.receive(self._next_chunk(limits.SEALED_FEED))
            elif self._eof:
                record.receive_eof()
            elif self._lost:
                return b""
            else:
                break
        if out := record.take():
            self._send(out)
        return data

    def _next_chunk(self, most: int) -> memoryview:
        chunk = self._chunks.popleft()
        if len(chunk) > most:
            self._chunks.appendleft(chunk[most:])
            chunk = chunk[:most]
        self._held -= len(chunk)
        if self._paused and self._held <= limits.INPUT_LOW:
            self._resume()
        return chunk

    def _resume(self) -> None:
        self._paused = False
        if self._transport is not None and not self._lost:
            self._transport.resume_reading()

    async def receive(self, deadline_seconds: float) -> bytes:
        """Give the next octets, at most a record, nothing at the end of the stream.

        Raises `DeadlinePassedError`; `PeerGoneError` when the connection was reset or aborted.
        """
        deadline = 0.0
        while (data := self._pull()) is None and not self._closing:
            deadline = deadline or self._loop.time() + deadline_seconds
            await self._sleep(deadline)
        if not data and (self._lost or self._closing):
            raise PeerGoneError
        return data or b""

    @property
    def unread(self) -> int:
        """Give the octets that came and were not asked for yet (encrypted ones under TLS)."""
        return self._held

    # ---- output ----
    def _send(self, data: bytes) -> None:
        if not self._lost and self._transport is not None:
            self._transport.write(data)

    def write(self, data: bytes) -> None:
        """Send `data`, sealed if TLS is on; never waits (`drain` does). After the end of the connection it is dropped."""
        transport = self._transport
        if self._lost or self._closing or not data or transport is None:
            return
        if self._record is None:
            transport.write(data)
            return
        try:
            records = self._record.seal(data)
        except ssl.SSLError:
            self.abort()  # the TLS state is broken; the owner hears of it at its next wait
        else:
            _write_all(transport, records)

    def acknowledge(self) -> None:
        """Tell the peer now that its octets came, where nothing is said in answer.

        A client that writes a literal and the end of its line apart, with Nagle's algorithm on (Python's imaplib, OfflineIMAP), sends the
        second only after this: the kernel's own delay would cost 40 ms a message.
        """
        if _QUICK is not None and not self._lost and self._transport is not None:
            with contextlib.suppress(OSError):  # no TCP, or gone already
                self._transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, _QUICK, 1)

    async def drain(self, deadline_seconds: float) -> None:
        """Wait until the transport holds less than OUTPUT_HIGH octets.

        Raises `DeadlinePassedError`, the connection being aborted (the peer does not read), and `PeerGoneError`.
        """
        deadline = 0.0
        while self._output_full and not self._lost:
            deadline = deadline or self._loop.time() + deadline_seconds
            try:
                await self._sleep(deadline)
            except DeadlinePassedError:
                self.abort()
                raise
        if self.gone:
            raise PeerGoneError

    # ---- TLS ----
    def _forget_input(self) -> None:
        """Drop what was read: plain octets that came before a handshake must not survive it (RFC 3207 §4, RFC 9051 §6.2.1)."""
        self._chunks.clear()
        self._held = 0
        if self._paused:
            self._resume()

    async def handshake(self, context: ssl.SSLContext, deadline_seconds: float, *, server_side: bool = True, server_name: str | None = None) -> TLSFacts:
        """Turn the stream into TLS now; what was read and not asked for is taken as the peer's part of it.

        Raises `HandshakeFailedError`, `DeadlinePassedError`, `PeerGoneError`; the stream is then of no use but to be aborted.
        """
        if self._record is not None:
            raise HandshakeFailedError("TLS is on already")
        try:
            record = _Record(context, server_side=server_side, server_name=server_name)
        except ValueError as error:
            raise HandshakeFailedError(f"not a server name: {error}") from error
        self._record = record
        deadline = self._loop.time() + deadline_seconds
        octets = 0
        try:
            while not record.handshake():
                self._send(record.take())
                while not self._chunks:
                    if self._eof or self._lost:
                        raise PeerGoneError("the peer left during the TLS handshake")
                    await self._sleep(deadline)
                chunk = self._next_chunk(limits.SEALED_FEED)
                octets += len(chunk)
                if octets > limits.HANDSHAKE_OCTETS:
                    raise HandshakeFailedError("the peer's part of the handshake is too long")
                record.receive(chunk)
        except (ssl.SSLError, ValueError) as error:
            self._send(record.take())  # the alert tells the peer why
            raise HandshakeFailedError(str(error)) from error
        self._send(record.take())
        self.tls = tls.facts(record.engine)
        return self.tls

    # ---- the end ----
    @property
    def gone(self) -> bool:
        """Tell whether the connection is over, or about to be."""
        return self._lost or self._closing

    def close(self) -> None:
        """Send what waits, then our end of stream; then read and drop for a moment, because closing over unread input resets the connection."""
        transport = self._transport
        if self._closing or self._lost or transport is None:
            return
        if self._record is not None:
            self._send(self._record.close_notify())
        self._closing = True
        self._chunks.clear()
        self._held = 0
        if self._eof or not transport.can_write_eof():
            transport.close()
        else:
            transport.write_eof()
        if self._paused:
            self._resume()
        self._deadline = self._loop.time() + limits.LINGER_SECONDS
        self._arm(self._deadline)

    def abort(self) -> None:
        """Close at once; what waits is dropped."""
        if self._transport is not None and not self._lost:
            self._closing = self._lost = True
            self._chunks.clear()
            self._transport.abort()
            self._wake()


def _end(name: object) -> tuple[str, int]:
    """Give address and port of one end; IPv4 that came through an IPv6 socket is IPv4 (RFC 4291 §2.5.5.2), a zone index goes."""
    if not isinstance(name, tuple) or len(name) < 2:
        return "", 0
    ip = str(name[0]).partition("%")[0]
    return ip.removeprefix("::ffff:") if "." in ip else ip, int(name[1])
