# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import Callable
from typing import Any

import pytest

from moatmail.core.limits import net as limits
from moatmail.net import tls
from moatmail.net.drive import Connection, DeadlinePassedError, HandshakeFailedError, PeerGoneError
from tests.unit.net.lab import House, LineEngine, Session, certificate, eventually, open_house, read_all, secure_socket, trusting

NAME = "mx.example.test"


async def echo(connection: Connection[bytes]) -> None:
    """Greet, repeat every line, take STARTTLS, end at QUIT or at the end of the stream."""
    engine = LineEngine()
    connection.attach(engine)
    engine.say(b"220 hello")
    while (line := await connection.next_event(5)) != b"eof":
        if line == b"STARTTLS":
            engine.say(b"220 go")
            engine.held.clear()  # as every engine of ours does
            await connection.start_tls(serving().context)
        elif line is not None:
            engine.say(b"you said " + line)
        if line == b"QUIT":
            return


def serving() -> tls.CertificateSet:
    return tls.CertificateSet([certificate(NAME)])


def catching(session: Session, errors: list[BaseException]) -> Session:
    async def run(connection: Connection[Any]) -> None:
        try:
            await session(connection)
        except Exception as error:
            errors.append(error)
            raise

    return run


async def wait_for_line(connection: Connection[bytes]) -> None:
    connection.attach(LineEngine())
    await connection.next_event(0.15)


# ---- talk ----
async def test_replies_to_a_pipelined_group_leave_together_and_nothing_is_read_after_quit() -> None:
    house = await open_house(echo)
    reader, writer = await house.connect()
    assert await reader.readline() == b"220 hello\r\n"
    writer.write(b"one\r\ntwo\r\nQUIT\r\nnever seen\r\n")
    assert await reader.read() == b"you said one\r\nyou said two\r\nyou said QUIT\r\n"
    writer.close()
    await eventually(lambda: house.listener.open_connections == 0)
    assert (house.door.inside, house.events.seen) == (0, [])


async def test_the_output_of_a_group_is_one_write(monkeypatch: pytest.MonkeyPatch) -> None:
    writes: list[bytes] = []
    original = Connection.write

    def write(self: Connection[Any], data: bytes) -> None:
        writes.append(data)
        original(self, data)

    monkeypatch.setattr(Connection, "write", write)
    house = await open_house(echo)
    reader, writer = await house.connect()
    await reader.readline()
    writer.write(b"a\r\nb\r\nc\r\n")
    await reader.readuntil(b"c\r\n")
    assert writes == [b"220 hello\r\n", b"you said a\r\nyou said b\r\nyou said c\r\n"]
    writer.close()


async def test_octets_that_need_no_answer_are_acknowledged_at_once_and_others_by_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fault: who sends a literal and its line end in two writes waited 40 ms for each message, for the acknowledgement of the first."""
    said: list[str] = []
    originals = Connection.acknowledge, Connection.write

    def acknowledge(self: Connection[Any]) -> None:
        said.append("acknowledged")
        originals[0](self)

    def write(self: Connection[Any], data: bytes) -> None:
        said.append("answered")
        originals[1](self, data)

    monkeypatch.setattr(Connection, "acknowledge", acknowledge)
    monkeypatch.setattr(Connection, "write", write)
    house = await open_house(echo)
    reader, writer = await house.connect()
    await reader.readline()
    writer.write(b"the first half")
    await eventually(lambda: said == ["answered", "acknowledged"])
    writer.write(b" and the second\r\n")
    assert await reader.readline() == b"you said the first half and the second\r\n"
    assert said == ["answered", "acknowledged", "answered"]
    writer.close()


@pytest.mark.parametrize("size", [1, 16_384, 16_385, 300_000, 3_000_000], ids=lambda size: f"{size} octets")
async def test_octets_come_whole_over_tls_in_both_directions(size: int) -> None:
    house = await open_house(echo, tls=serving())
    content = (bytes(range(32, 127)) * (size // 95 + 1))[:size]

    def client() -> bytes:
        with secure_socket(house.port, NAME) as sock:
            sock.sendall(content + b"\r\nQUIT\r\n")
            return read_all(sock)

    assert await asyncio.to_thread(client) == b"220 hello\r\nyou said " + content + b"\r\nyou said QUIT\r\n"
    await eventually(lambda: house.listener.open_connections == 0)


async def test_an_engine_is_fed_in_bounded_pieces() -> None:
    engine = LineEngine()

    async def session(connection: Connection[bytes]) -> None:
        connection.attach(engine)
        await connection.next_event(5)

    house = await open_house(session)
    reader, writer = await house.connect()
    writer.write(b"x" * 200_000 + b"\n")
    await reader.read()
    assert sum(engine.fed) == 200_001
    assert max(engine.fed) <= limits.FEED
    writer.close()


async def test_facts_of_both_ends_are_known_and_nagle_is_off() -> None:
    seen: list[Any] = []

    async def session(connection: Connection[bytes]) -> None:
        assert connection._transport is not None
        sock = connection._transport.get_extra_info("socket")
        seen.append(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        seen.append((connection.peer_ip, connection.peer_port, connection.local_ip, connection.local_port, connection.tls))

    house = await open_house(session)
    reader, writer = await house.connect()
    await reader.read()
    assert seen[0] != 0
    assert seen[1] == (*writer.get_extra_info("sockname"), "127.0.0.1", house.port, None)
    writer.close()


async def test_an_end_of_stream_reaches_the_engine_once_then_the_peer_is_gone() -> None:
    seen: list[object] = []

    async def session(connection: Connection[bytes]) -> None:
        connection.attach(LineEngine())
        seen.append(await connection.next_event(5))
        seen.append(await connection.next_event(5))
        with pytest.raises(PeerGoneError):
            await connection.next_event(5)
        seen.append("gone")

    house = await open_house(session)
    _, writer = await house.connect()
    writer.write(b"last words\r\n")
    writer.write_eof()
    await eventually(lambda: len(seen) == 3)
    assert seen == [b"last words", b"eof", "gone"]
    writer.close()


# ---- time ----
async def test_a_silent_peer_costs_one_deadline() -> None:
    errors: list[BaseException] = []
    house = await open_house(catching(wait_for_line, errors))
    reader, writer = await house.connect()
    assert await reader.read() == b""
    assert isinstance(errors[0], DeadlinePassedError)
    writer.close()


async def test_octets_that_trickle_do_not_move_the_deadline() -> None:
    errors: list[BaseException] = []
    house = await open_house(catching(wait_for_line, errors))
    _, writer = await house.connect()
    began = asyncio.get_running_loop().time()
    while not errors:
        writer.write(b"x")
        await asyncio.sleep(0.01)
        assert asyncio.get_running_loop().time() - began < 3
    assert isinstance(errors[0], DeadlinePassedError)
    writer.close()


async def test_a_thousand_waits_cost_one_timer() -> None:
    timers = 0

    class Counting:
        def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
            self.time, self.create_future, self._call_at = loop.time, loop.create_future, loop.call_at

        def call_at(self, when: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
            nonlocal timers
            timers += 1
            return self._call_at(when, callback)

    async def session(connection: Connection[bytes]) -> None:
        connection._loop = Counting(connection._loop)  # type: ignore[assignment]
        engine = LineEngine()
        connection.attach(engine)
        while await connection.next_event(30) != b"QUIT":
            engine.say(b"250 ok")
        engine.say(str(timers).encode())

    house = await open_house(session)
    reader, writer = await house.connect()
    for _ in range(1000):
        writer.write(b"NOOP\r\n")
        await reader.readline()
    writer.write(b"QUIT\r\n")
    assert await reader.read() == b"1\r\n"
    writer.close()


async def test_a_shorter_deadline_after_a_longer_one_is_kept() -> None:
    errors: list[BaseException] = []

    async def session(connection: Connection[bytes]) -> None:
        engine = LineEngine()
        connection.attach(engine)
        await connection.next_event(30)
        await connection.next_event(0.05)

    house = await open_house(catching(session, errors))
    reader, writer = await house.connect()
    writer.write(b"one\r\n")
    async with asyncio.timeout(20):
        assert await reader.read() == b""
    assert isinstance(errors[0], DeadlinePassedError)
    writer.close()


# ---- greedy and slow peers ----
async def test_input_waits_in_the_kernel_while_the_session_is_busy() -> None:
    go_on = asyncio.Event()
    busy: list[Connection[bytes]] = []

    async def session(connection: Connection[bytes]) -> None:
        connection.attach(LineEngine())
        busy.append(connection)
        await go_on.wait()
        while await connection.next_event(5) != b"eof":
            pass

    house = await open_house(session)
    _, writer = await house.connect()
    writer.write(b"x" * 32_000_000 + b"\n")
    await eventually(lambda: bool(busy) and busy[0]._paused)
    held = busy[0].unread
    await asyncio.sleep(0.05)
    assert busy[0].unread == held <= limits.INPUT_HIGH + limits.READ_BUFFER
    go_on.set()
    await writer.drain()
    writer.write_eof()
    await eventually(lambda: house.listener.open_connections == 0)
    writer.close()


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
async def test_a_peer_that_does_not_read_costs_a_bounded_buffer_and_is_dropped(secure: bool) -> None:
    errors: list[BaseException] = []
    sizes: list[int] = []
    piece = b"y" * 32_768

    async def session(connection: Connection[bytes]) -> None:
        while True:
            connection.write(piece)
            assert connection._transport is not None
            sizes.append(connection._transport.get_write_buffer_size())
            await connection.drain(0.2)

    house = await open_house(catching(session, errors), tls=serving() if secure else None)
    connect = secure_socket if secure else lambda port, _name: socket.create_connection(("127.0.0.1", port))
    sock = await asyncio.to_thread(connect, house.port, NAME)
    await eventually(lambda: errors, 20)
    assert isinstance(errors[0], DeadlinePassedError)
    assert limits.OUTPUT_HIGH < max(sizes) <= limits.OUTPUT_HIGH + 2 * len(piece)
    await eventually(lambda: house.listener.open_connections == 0)
    sock.close()


async def test_a_peer_that_pipelines_and_does_not_read_is_not_answered_without_bound() -> None:
    errors: list[BaseException] = []
    most = 0

    async def session(connection: Connection[bytes]) -> None:
        nonlocal most
        engine = LineEngine()
        connection.attach(engine)
        while True:
            await connection.next_event(0.3)
            engine.say(b"250 " + b"z" * 500)
            assert connection._transport is not None
            most = max(most, connection._transport.get_write_buffer_size() + len(engine.out))

    house = await open_house(catching(session, errors))
    sock = socket.create_connection(("127.0.0.1", house.port))
    sock.setblocking(False)
    sending = asyncio.create_task(asyncio.get_running_loop().sock_sendall(sock, b"NOOP\r\n" * 200_000))
    await eventually(lambda: errors, 20)
    assert isinstance(errors[0], DeadlinePassedError)
    assert most <= limits.OUTPUT_HIGH + (limits.FEED // 6 + 1) * 506  # one piece of input may be answered whole
    sending.cancel()
    with contextlib.suppress(asyncio.CancelledError, OSError):
        await sending
    sock.close()


async def test_a_last_reply_survives_input_that_nobody_reads() -> None:
    async def session(connection: Connection[bytes]) -> None:
        engine = LineEngine()
        connection.attach(engine)
        await connection.next_event(5)
        engine.say(b"550 too many errors")

    house = await open_house(session)
    reader, writer = await house.connect()
    writer.write(b"bad\r\n" + b"more\r\n" * 50_000)
    await asyncio.sleep(0.02)
    assert await reader.read() == b"550 too many errors\r\n"
    writer.close()
    await eventually(lambda: house.listener.open_connections == 0)


async def test_a_closing_connection_does_not_linger_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LINGER_SECONDS", 0.1)

    async def session(connection: Connection[bytes]) -> None:
        connection.write(b"bye\r\n")

    house = await open_house(session)
    sock = socket.create_connection(("127.0.0.1", house.port))
    await eventually(lambda: house.door.inside == 1)
    await eventually(lambda: house.door.inside == 0)
    sock.close()


# ---- STARTTLS ----
def blocking_client(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), timeout=10)
    assert sock.recv(100) == b"220 hello\r\n"
    return sock


@pytest.mark.parametrize("junk", [b"EVIL\r\n", b"EVIL\r\n" * 9_000], ids=["in the same packet", "more than the engine was given"])
async def test_nothing_said_behind_starttls_survives_it(junk: bytes) -> None:
    house = await open_house(echo)

    def client() -> bytes:
        sock = blocking_client(house.port)
        sock.sendall(b"STARTTLS\r\n" + junk)
        assert sock.recv(100) == b"220 go\r\n"
        secure = trusting().wrap_socket(sock, server_hostname=NAME)
        secure.sendall(b"QUIT\r\n")
        answer = secure.recv(1000)
        secure.close()
        return answer

    assert await asyncio.to_thread(client) == b"you said QUIT\r\n"
    assert house.events.seen == []


async def test_plain_octets_after_the_go_ahead_end_the_connection() -> None:
    errors: list[BaseException] = []
    house = await open_house(catching(echo, errors))

    def client() -> bytes:
        sock = blocking_client(house.port)
        sock.sendall(b"STARTTLS\r\n")
        assert sock.recv(100) == b"220 go\r\n"
        sock.sendall(b"MAIL FROM:<mallory@example.net>\r\n" * 10)
        answer = b""
        while piece := sock.recv(1000):
            answer += piece
        sock.close()
        return answer

    answer = await asyncio.to_thread(client)
    assert b"you said" not in answer
    assert isinstance(errors[0], HandshakeFailedError)
    assert [event.name for event in house.events.seen] == ["tls.handshake-failed"]
    await eventually(lambda: house.listener.open_connections == 0)


async def test_a_peer_that_stops_in_the_handshake_costs_one_deadline() -> None:
    errors: list[BaseException] = []

    async def session(connection: Connection[bytes]) -> None:
        await connection.start_tls(serving().context, 0.1)

    house = await open_house(catching(session, errors))
    reader, writer = await house.connect()
    writer.write(b"\x16\x03\x01")
    await reader.read()
    assert isinstance(errors[0], DeadlinePassedError)
    writer.close()


async def test_a_handshake_without_end_is_cut_off() -> None:
    errors: list[BaseException] = []

    async def session(connection: Connection[bytes]) -> None:
        await connection.secure(serving().context)

    house = await open_house(catching(session, errors))
    reader, writer = await house.connect()
    # A hello that claims 16 MiB, in whole records: OpenSSL judges its length before we do; either way it ends.
    writer.write(b"\x16\x03\x01\x40\x00\x01\xff\xff\xff" + b"\x00" * 16_380 + (b"\x16\x03\x01\x40\x00" + b"\x00" * 16_384) * 12)
    await reader.read()
    assert isinstance(errors[0], HandshakeFailedError)
    writer.close()


async def test_damaged_records_end_the_stream_and_are_not_served() -> None:
    lines: list[bytes | None] = []

    async def session(connection: Connection[bytes]) -> None:
        connection.attach(LineEngine())
        await connection.secure(serving().context)
        while (line := await connection.next_event(5)) != b"eof":
            lines.append(line)

    house = await open_house(session)

    def client() -> None:
        sock = socket.create_connection(("127.0.0.1", house.port), timeout=10)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        engine = trusting().wrap_bio(incoming, outgoing, server_hostname=NAME)
        while True:
            try:
                engine.do_handshake()
                break
            except ssl.SSLWantReadError:
                sock.sendall(outgoing.read())
                incoming.write(sock.recv(65536))
        engine.write(b"good\r\n")
        sock.sendall(outgoing.read())
        engine.write(b"evil\r\n")
        record = bytearray(outgoing.read())
        record[-1] ^= 1
        sock.sendall(record)
        while sock.recv(1000):
            pass
        sock.close()

    await asyncio.to_thread(client)
    assert lines == [b"good"]


# ---- the other side may wake us ----
async def test_a_notification_ends_a_wait_and_an_event_of_the_peer_comes_first() -> None:
    seen: list[object] = []
    inside: list[Connection[bytes]] = []

    async def session(connection: Connection[bytes]) -> None:
        connection.attach(LineEngine())
        inside.append(connection)
        while (event := await connection.next_event(5)) != b"eof":
            seen.append(event)

    house = await open_house(session)
    _, writer = await house.connect()
    await eventually(lambda: inside and inside[0]._waiter is not None)
    inside[0].notify()
    inside[0].notify()
    await eventually(lambda: seen == [None])
    await eventually(lambda: inside[0]._waiter is not None)
    writer.write(b"DONE\r\n")
    await eventually(lambda: seen == [None, b"DONE"])
    writer.write_eof()
    await eventually(lambda: house.listener.open_connections == 0)
    assert seen == [None, b"DONE"]
    writer.close()


async def test_a_notification_before_the_wait_is_not_lost() -> None:
    async def session(connection: Connection[bytes]) -> None:
        connection.attach(LineEngine())
        connection.notify()
        assert await connection.next_event(5) is None
        connection.write(b"told")

    house = await open_house(session)
    reader, writer = await house.connect()
    assert await reader.read() == b"told"
    writer.close()


# ---- closing at each of many places ----
class _Cut(Exception):  # noqa: N818 - a way out, no error
    pass


class CutClient:
    """A client that has a budget of octets and leaves, in order or with a reset, when it is spent."""

    def __init__(self, port: int, budget: int, *, reset: bool) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.budget, self.reset, self.sent = budget, reset, 0

    def send(self, data: bytes) -> None:
        now = data[: self.budget - self.sent]
        self.sock.sendall(now)
        self.sent += len(now)
        if len(now) < len(data):
            if self.reset:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.sock.close()
            raise _Cut

    def play(self, *, secure: bool) -> int:
        with contextlib.suppress(_Cut):
            self._talk(secure=secure)
            self.sock.close()
        return self.sent

    def _talk(self, *, secure: bool) -> None:
        self.sock.recv(100)
        if not secure:
            self.send(b"one\r\n" + b"x" * 3000 + b"\r\nQUIT\r\n")
            return
        self.send(b"STARTTLS\r\n")
        self.sock.recv(100)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        engine = trusting().wrap_bio(incoming, outgoing, server_hostname=NAME)
        while True:
            try:
                engine.do_handshake()
                break
            except ssl.SSLWantReadError:
                self.send(outgoing.read())
                incoming.write(self.sock.recv(65536))
        engine.write(b"one\r\n" + b"x" * 3000 + b"\r\nQUIT\r\n")
        self.send(outgoing.read())


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "starttls"])
async def test_a_peer_may_leave_at_any_of_fifty_places(secure: bool) -> None:
    errors: list[BaseException] = []
    house = await open_house(catching(echo, errors))

    def play() -> None:
        whole = CutClient(house.port, 1_000_000, reset=False).play(secure=secure)
        for place in range(25):
            for reset in (False, True):
                CutClient(house.port, whole * place // 25, reset=reset).play(secure=secure)

    await asyncio.to_thread(play)
    await eventually(lambda: house.listener.open_connections == 0)
    assert house.door.inside == 0
    assert {type(error) for error in errors} <= {PeerGoneError, HandshakeFailedError}
    assert not any(event.alert for event in house.events.seen)


async def test_after_a_failed_handshake_nothing_leaves_in_clear() -> None:
    async def session(connection: Connection[bytes]) -> None:
        engine = LineEngine()
        connection.attach(engine)
        with pytest.raises(HandshakeFailedError):
            await connection.secure(serving().context)
        engine.say(b"secret")
        connection.flush()
        with pytest.raises(PeerGoneError):
            await connection.next_event(5)
        with pytest.raises(PeerGoneError):
            await connection.drain(5)

    house: House = await open_house(session)
    reader, writer = await house.connect()
    writer.write(b"GET / HTTP/1.0\r\n\r\n")
    assert b"secret" not in await reader.read()
    writer.close()
    assert not any(event.alert for event in house.events.seen)


# ---- an engine that is through with the peer ----
async def test_an_engine_that_says_farewell_by_itself_is_not_left_waiting_for_the_peer() -> None:
    """POP3's QUIT before login held the connection until the login time was over: no event came of it, and the peer waited for the end, too."""

    class Farewell(LineEngine):
        def next_event(self) -> bytes | None:
            if super().next_event() == b"QUIT":
                self.say(b"bye")
                self.closing = True
            return None

    answers: list[bytes | None] = []

    async def session(connection: Connection[bytes]) -> None:
        connection.attach(Farewell())
        answers.append(await connection.next_event(60))

    house = await open_house(session)
    reader, writer = await house.connect()
    writer.write(b"QUIT\r\n")
    assert await asyncio.wait_for(reader.read(), 20) == b"bye\r\n"
    assert answers == [None]
    writer.close()
