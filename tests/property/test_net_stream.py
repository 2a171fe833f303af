# SPDX-License-Identifier: Apache-2.0
"""However octets are cut into packets, records and turns of the loop, the engine sees the same lines; whatever a stranger sends, no session fails."""

from __future__ import annotations

import asyncio
import functools
import itertools
import socket
import ssl

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moatmail.net.drive import Connection
from moatmail.net.tls import CertificateSet
from tests.unit.net.lab import LineEngine, certificate, eventually, open_house, trusting

NAME = "mx.example.test"
QUICK = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@functools.cache
def served() -> CertificateSet:
    return CertificateSet([certificate(NAME)])


async def collect(lines: list[bytes | None], connection: Connection[bytes]) -> None:
    connection.attach(LineEngine())
    while (line := await connection.next_event(5)) != b"eof":
        lines.append(line)


async def talk(pieces: list[bytes], *, secure: bool) -> list[bytes | None]:
    lines: list[bytes | None] = []
    house = await open_house(functools.partial(collect, lines), tls=served() if secure else None)
    loop = asyncio.get_running_loop()
    sock = socket.create_connection(("127.0.0.1", house.port))
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    engine = trusting().wrap_bio(incoming, outgoing, server_hostname=NAME)
    while secure:
        try:
            engine.do_handshake()
            break
        except ssl.SSLWantReadError:
            await loop.sock_sendall(sock, outgoing.read())
            incoming.write(await loop.sock_recv(sock, 65536))
    for piece in pieces:
        if secure:
            engine.write(piece)
        await loop.sock_sendall(sock, outgoing.read() if secure else piece)
        await asyncio.sleep(0)
    sock.shutdown(socket.SHUT_WR)
    await eventually(lambda: house.door.asked and house.listener.open_connections == 0)
    sock.close()
    assert house.events.seen == []
    house.listener.stop_accepting()
    return lines


@QUICK
@given(
    content=st.lists(st.binary(max_size=40) | st.just(b"x" * 20_000), max_size=8),
    cuts=st.lists(st.integers(0, 60_000), max_size=12),
    secure=st.booleans(),
)
def test_chunking_changes_nothing(content: list[bytes], cuts: list[int], secure: bool) -> None:
    whole = b"".join(line.replace(b"\n", b" ") + b"\r\n" for line in content)
    places = sorted({0, len(whole), *(cut % (len(whole) + 1) for cut in cuts)})
    pieces = [whole[start:end] for start, end in itertools.pairwise(places)]
    assert asyncio.run(talk(pieces, secure=secure)) == [line.rstrip(b"\r") for line in whole.split(b"\n")[:-1]]


@pytest.mark.parametrize("secure", [False, True], ids=["as the first octets", "in place of a handshake"])
@QUICK
@given(garbage=st.binary(max_size=400))
def test_any_octets_end_a_session_without_an_alert(secure: bool, garbage: bytes) -> None:
    async def stranger() -> None:
        lines: list[bytes | None] = []
        house = await open_house(functools.partial(collect, lines), tls=served() if secure else None)
        reader, writer = await house.connect()
        writer.write(garbage)
        writer.write_eof()
        await reader.read()
        writer.close()
        await eventually(lambda: house.door.asked and house.listener.open_connections == 0)
        house.listener.stop_accepting()
        assert not any(event.alert for event in house.events.seen)
        assert not (secure and lines)

    asyncio.run(stranger())
