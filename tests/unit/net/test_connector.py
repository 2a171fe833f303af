# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import socket

import pytest

from moatmail.core.errors import TemporaryError
from moatmail.core.limits import net as limits
from moatmail.core.ports.connector import Connector, Link
from moatmail.net import tls
from moatmail.net.connector import StrayOctetsError, TCPConnector
from moatmail.net.drive import Connection
from moatmail.net.stream import DeadlinePassedError, HandshakeFailedError, PeerGoneError
from tests.unit.net.lab import LineEngine, authority, certificate, eventually, open_house

MX = "mx.example.test"
CONTENT = bytes(range(256)) * 20_000


async def peer(connection: Connection[bytes]) -> None:
    """Speak just enough: STARTTLS, STRAY (octets behind the go-ahead), BIG (content), COUNT n (octets to come)."""
    engine = LineEngine()
    connection.attach(engine)
    engine.say(b"220 peer")
    while (line := await connection.next_event(5)) not in (b"eof", b"QUIT"):
        if line == b"STARTTLS":
            engine.say(b"220 go")
            await connection.start_tls(tls.CertificateSet([certificate(MX)]).context)
        elif line == b"STRAY":
            engine.say(b"220 go")
            connection.flush()
            await connection.next_event(5)
            engine.say(b"250 evil")
        elif line == b"BIG":
            connection.write(CONTENT)
            await connection.drain(5)
        elif line is not None:
            engine.say(b"250 " + line[:100])


async def read_to_end(link: Link) -> bytes:
    pieces = []
    while piece := await link.receive(5):
        pieces.append(piece)
    return b"".join(pieces)


async def linked(source_ipv4: str | None = None) -> Link:
    house = await open_house(peer)
    connector: Connector = TCPConnector(authorities=authority().root, source_ipv4=source_ipv4)
    link = await connector.open("127.0.0.1", house.port, 5)
    assert await link.receive(5) == b"220 peer\r\n"
    assert link.peer == f"127.0.0.1:{house.port}"
    return link


async def test_a_link_speaks_in_clear() -> None:
    link = await linked()
    await link.send(b"NOOP\r\n", 5)
    assert await link.receive(5) == b"250 NOOP\r\n"
    await link.send(b"QUIT\r\n", 5)
    assert await link.receive(5) == b""
    link.abort()


@pytest.mark.parametrize("verify", [False, True], ids=["any certificate", "a verified one"])
async def test_a_link_turns_to_tls_and_carries_content_whole(verify: bool) -> None:
    link = await linked()
    await link.send(b"STARTTLS\r\n", 5)
    assert await link.receive(5) == b"220 go\r\n"
    facts = await link.start_tls(MX, verify=verify, deadline=5)
    assert (facts.version, facts.server_name) == ("TLSv1.3", MX)
    await link.send(b"BIG\r\nQUIT\r\n", 5)
    assert await read_to_end(link) == CONTENT
    link.abort()


async def test_large_content_goes_out_in_slices_and_arrives_whole() -> None:
    link = await linked()
    await link.send(b"x" * 5_000_000 + b"\r\nQUIT\r\n", 10)
    assert await read_to_end(link) == b"250 " + b"x" * 100 + b"\r\n"
    link.abort()


@pytest.mark.parametrize("name", ["other.example.test", "localhost", "a..b", "x" * 300], ids=["another's", "a local one", "no name", "too long"])
async def test_a_certificate_for_another_name_is_not_verified(name: str) -> None:
    link = await linked()
    await link.send(b"STARTTLS\r\n", 5)
    await link.receive(5)
    with pytest.raises(HandshakeFailedError):
        await link.start_tls(name, verify=True, deadline=5)
    with pytest.raises(TemporaryError):
        await link.receive(5)


async def test_octets_behind_the_go_ahead_are_never_taken_for_the_peers() -> None:
    link = await linked()
    await link.send(b"STRAY\r\n", 5)
    assert await link.receive(5) == b"220 go\r\n"
    await link.send(b"now\r\n", 5)
    stream = link._stream  # type: ignore[attr-defined]
    await eventually(lambda: stream.unread)
    with pytest.raises(StrayOctetsError):
        await link.start_tls(MX, verify=False, deadline=5)
    with pytest.raises(PeerGoneError):
        await link.receive(5)


async def test_plain_octets_in_place_of_a_handshake_fail_it() -> None:
    link = await linked()
    await link.send(b"NOOP\r\n", 5)
    await link.receive(5)
    with pytest.raises(TemporaryError):
        await link.start_tls(MX, verify=False, deadline=0.3)


async def test_a_port_that_nobody_serves_is_a_temporary_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    with pytest.raises(TemporaryError) as caught:
        await TCPConnector().open("127.0.0.1", port, 5)
    assert caught.value.status == "4.4.1"


async def test_a_port_that_never_answers_is_given_up_in_time() -> None:
    sock = socket.create_server(("127.0.0.1", 0), backlog=0)
    port = sock.getsockname()[1]
    fillers = [socket.socket() for _ in range(4)]  # a full backlog: the kernel drops further calls
    for filler in fillers:
        filler.setblocking(False)
        filler.connect_ex(("127.0.0.1", port))
    with pytest.raises(DeadlinePassedError):
        await TCPConnector().open("127.0.0.1", port, 0.2)
    for one in (sock, *fillers):
        one.close()


@pytest.mark.parametrize("ip", ["localhost", "", "127.0.0.1\r\n", "::1%x%y"])
async def test_only_addresses_are_connected_to(ip: str) -> None:
    with pytest.raises(TemporaryError):
        await TCPConnector().open(ip, 25, 1)


async def test_a_silent_peer_costs_one_deadline() -> None:
    link = await linked()
    with pytest.raises(DeadlinePassedError):
        await link.receive(0.05)
    link.abort()


async def test_a_peer_that_does_not_read_costs_a_bounded_buffer_and_one_deadline() -> None:
    sock = socket.create_server(("127.0.0.1", 0))
    link = await TCPConnector().open("127.0.0.1", sock.getsockname()[1], 5)
    transport = link._stream._transport
    assert transport is not None
    with pytest.raises(DeadlinePassedError):
        await link.send(b"x" * 100_000_000, 0.5)
    assert transport.get_write_buffer_size() <= 2 * limits.OUTPUT_HIGH
    sock.close()


async def test_a_link_leaves_from_the_address_that_was_set() -> None:
    link = await linked(source_ipv4="127.0.0.9")
    assert link.local_ip == "127.0.0.9"
    link.abort()


async def test_a_reset_is_a_temporary_error() -> None:
    sock = socket.create_server(("127.0.0.1", 0))
    link = await TCPConnector().open("127.0.0.1", sock.getsockname()[1], 5)
    other, _ = await asyncio.to_thread(sock.accept)
    other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    other.close()
    with pytest.raises(PeerGoneError):
        await link.receive(5)
    with pytest.raises(PeerGoneError):
        await link.send(b"x", 5)
    sock.close()
