# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from moatmail.net import tls
from moatmail.net.drive import Connection
from tests.unit.net.lab import LineEngine, OpenDoor, certificate, eventually, open_house, secure_socket

NAME = "mx.example.test"


async def patient(connection: Connection[bytes]) -> None:
    """Wait for lines; on a wish to finish say so and end."""
    engine = LineEngine()
    connection.attach(engine)
    while (event := await connection.next_event(30)) != b"eof":
        if event is None and connection.finishing:
            engine.say(b"421 closing")
            return


async def stubborn(connection: Connection[bytes]) -> None:
    await asyncio.Event().wait()


async def test_the_refused_get_their_refusal_and_no_session() -> None:
    started: list[object] = []

    async def session(connection: Connection[Any]) -> None:
        started.append(connection)

    door = OpenDoor(refusal=b"421 4.7.0 too many connections\r\n")
    house = await open_house(session, door=door)
    reader, writer = await house.connect()
    assert await reader.read() == b"421 4.7.0 too many connections\r\n"
    assert (started, door.asked, door.inside, house.listener.open_connections) == ([], ["127.0.0.1"], 0, 0)
    writer.close()


async def test_the_refused_cost_no_handshake(monkeypatch: pytest.MonkeyPatch) -> None:
    served = tls.CertificateSet([certificate(NAME)])
    handshakes: list[object] = []
    monkeypatch.setattr(Connection, "secure", lambda *args: handshakes.append(args))
    house = await open_house(patient, door=OpenDoor(refusal=b"* BYE\r\n"), tls=served)
    reader, writer = await house.connect()
    assert await reader.read() == b""
    assert handshakes == []
    writer.close()


async def test_descriptors_in_reserve_are_not_given_to_strangers() -> None:
    door = OpenDoor()
    house = await open_house(patient, door=door, shed=b"421 4.3.2 busy\r\n")
    house.listener._descriptor_limit = 0
    reader, writer = await house.connect()
    assert await reader.read() == b"421 4.3.2 busy\r\n"
    assert (door.asked, door.inside) == ([], 0)
    writer.close()


async def test_an_unexpected_error_is_told_once_and_others_go_on() -> None:
    async def session(connection: Connection[bytes]) -> None:
        engine = LineEngine()
        connection.attach(engine)
        if await connection.next_event(5) == b"bad":
            raise ZeroDivisionError("the subject of a mail")
        engine.say(b"250 fine")

    house = await open_house(session)
    first, second = await house.connect(), await house.connect()
    first[1].write(b"bad\r\n")
    assert await first[0].read() == b""
    second[1].write(b"good\r\n")
    assert await second[0].read() == b"250 fine\r\n"
    [event] = house.events.seen
    assert (event.name, event.alert, event.facts["error"], event.facts["peer"], event.facts["door"]) == (
        "session.failed",
        True,
        "ZeroDivisionError",
        "127.0.0.1",
        "test",
    )
    assert event.facts["place"].startswith("test_listener.py:")
    assert "subject" not in str(event)
    for _, writer in (first, second):
        writer.close()
    await eventually(lambda: house.listener.open_connections == 0)


async def test_an_engine_that_breaks_while_closing_harms_nobody() -> None:
    class Broken(LineEngine):
        def take_output(self) -> bytes:
            raise ZeroDivisionError

    async def session(connection: Connection[bytes]) -> None:
        connection.attach(Broken())
        await connection.next_event(5)

    house = await open_house(session)
    reader, writer = await house.connect()
    assert await reader.read() == b""
    await eventually(lambda: house.listener.open_connections == 0)
    assert [event.name for event in house.events.seen] == ["session.failed"]
    writer.close()


async def test_draining_lets_sessions_say_goodbye() -> None:
    house = await open_house(patient)
    clients = [await house.connect() for _ in range(5)]
    await eventually(lambda: house.listener.open_connections == 5)
    drained = asyncio.create_task(house.listener.drain(5))
    for reader, writer in clients:
        assert await reader.read() == b"421 closing\r\n"
        writer.close()
    assert await drained == 0
    with pytest.raises(ConnectionRefusedError):
        await house.connect()
    assert house.door.inside == 0


async def test_draining_aborts_who_stays() -> None:
    house = await open_house(stubborn)
    reader, writer = await house.connect()
    await eventually(lambda: house.listener.open_connections == 1)
    assert await house.listener.drain(0.05) == 1
    await eventually(lambda: house.door.inside == 0)
    assert await reader.read() == b""
    writer.close()
    assert house.events.seen == []


async def test_draining_waits_for_a_session_whose_peer_has_left() -> None:
    done: list[str] = []
    go_on = asyncio.Event()

    async def session(connection: Connection[bytes]) -> None:
        connection.attach(LineEngine())
        await connection.next_event(5)
        await go_on.wait()
        done.append("committed")

    house = await open_house(session)
    _, writer = await house.connect()
    writer.write(b"one\r\n")
    await eventually(lambda: house.listener.open_connections == 1)
    writer.transport.abort()
    drained = asyncio.create_task(house.listener.drain(5))
    asyncio.get_running_loop().call_later(0.05, go_on.set)
    assert await drained == 0
    assert done == ["committed"]


async def test_draining_an_empty_listener_is_quick() -> None:
    house = await open_house(patient)
    async with asyncio.timeout(20):
        assert await house.listener.drain(30) == 0


async def test_certificates_change_while_the_listener_runs() -> None:
    served = tls.CertificateSet([certificate(NAME)])
    house = await open_house(patient, tls=served)

    def seen() -> bytes | None:
        with secure_socket(house.port, NAME) as sock:
            return sock.getpeercert(binary_form=True)

    first = await asyncio.to_thread(seen)
    fresh = certificate(NAME, "other.example.test")
    served.replace([fresh])
    second = await asyncio.to_thread(seen)
    assert first != second
    await house.listener.drain(1)


async def test_an_ipv4_peer_of_an_ipv6_socket_is_an_ipv4_peer() -> None:
    door = OpenDoor()
    sock = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    house = await open_house(patient, door=door, sockets=[sock])
    _, writer = await house.connect()
    await eventually(lambda: door.asked)
    assert door.asked == ["127.0.0.1"]
    writer.close()
