# SPDX-License-Identifier: Apache-2.0
"""Who asks for a hundred megabytes and does not read them costs a bounded buffer, is sent away in time, and nobody beside him waits (FETCH, RETR)."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.traffic import needs_root, reader, report, settings
from tests.e2e.tree import pss
from tests.e2e.trial import Trial, descendants, trial

MIB = 1024 * 1024
LARGE = 25 * MIB
COPIES = 4
READERS = 4
WRITE_SECONDS = 6.0
WATCHED = 4.0
"""Seconds for which memory is watched: less than a reader is given."""
EACH = 3 * MIB
"""What one slow reader may cost: the transport's buffer, a page of content, TLS."""


def connect(server: Trial, service: str) -> ssl.SSLSocket:
    """Connect with a small window: what waits shall wait in the server."""
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    plain.settimeout(30)
    plain.connect(server.address(service))
    return server.tls().wrap_socket(plain, server_hostname="localhost")


def ask(client: ssl.SSLSocket, line: str, end: bytes) -> bytes:
    """Send a line and read until `end` is the last line's begin."""
    client.sendall(line.encode() + b"\r\n")
    told = b""
    while not (told.endswith(b"\r\n") and told[told.rfind(b"\n", 0, -2) + 1 :].startswith(end)):
        part = client.recv(65536)
        assert part, told
        told += part
    return told


def fetching(server: Trial) -> ssl.SSLSocket:
    """Ask for everything by IMAP."""
    client = connect(server, "imaps")
    address, password = server.account()
    ask(client, f'a LOGIN {address} "{password}"', b"a OK")
    ask(client, "b SELECT INBOX", b"b OK")
    client.sendall(b"c FETCH 1:* BODY.PEEK[]\r\n")
    return client


def retrieving(server: Trial) -> ssl.SSLSocket:
    """Ask for a message by POP3."""
    client = connect(server, "pop3s")
    address, password = server.account()
    client.recv(1000)
    ask(client, f"USER {address}", b"+OK")
    ask(client, f"PASS {password}", b"+OK")
    client.sendall(b"RETR 1\r\n")
    return client


def left_over(clients: list[ssl.SSLSocket]) -> int:
    """Read what still comes until every connection is over; give the octets of the one that got most."""
    most = 0
    for client in clients:
        got = 0
        with contextlib.suppress(OSError):  # cut off, and so without TLS's own end
            while part := client.recv(MIB):
                got += len(part)
        client.close()
        most = max(most, got)
    return most


def busy(server: Trial) -> int:
    """Give the clock ticks that the process tree has worked."""
    return sum(sum(map(int, Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13])) for pid in (server.pid, *descendants(server.pid)))


def wait_until_idle(server: Trial) -> None:
    """Wait until nothing worked for two seconds (two ticks are the timers')."""
    for _ in range(30):
        before = busy(server)
        time.sleep(2)
        if busy(server) - before <= 2:
            return
    raise AssertionError("the server does not come to rest")


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    """A server with a hundred megabytes in one mailbox."""
    folder: Path = tmp_path_factory.mktemp("slow") / "moatmail-try"
    with trial(folder) as one:
        settings(one, imap__write_seconds=str(WRITE_SECONDS), pop3__write_seconds=str(WRITE_SECONDS))
        line = b"%b\r\n" % (b"x" * 76)
        message = b"Subject: large\r\n\r\n" + line * (LARGE // len(line))
        with reader(one) as client:
            for _ in range(COPIES):
                assert client.append("INBOX", "", "", message)[0] == "OK"
        # A session begins the indexing of what came; its memory is not a reader's, so it is over before anything is measured.
        with reader(one):
            wait_until_idle(one)
        yield one


@needs_root
@pytest.mark.timeout(120)
@pytest.mark.parametrize(("open_one", "readers"), [(fetching, READERS), (retrieving, 1)], ids=["IMAP: FETCH of 100 MiB", "POP3: RETR of 25 MiB"])
def test_who_does_not_read_costs_little_and_is_sent_away(filled: Trial, open_one: Callable[[Trial], ssl.SSLSocket], readers: int) -> None:
    before = pss(filled)
    begun = time.monotonic()
    clients = [open_one(filled) for _ in range(readers)]
    most, slowest = 0, 0.0
    while time.monotonic() - begun < WATCHED:
        asked = time.monotonic()
        with reader(filled, 1) as other:
            assert other.select("INBOX")[0] == "OK"
        slowest = max(slowest, time.monotonic() - asked)
        most = max(most, pss(filled) - before)
        time.sleep(0.2)
    time.sleep(max(0.0, begun + WRITE_SECONDS + 4 - time.monotonic()))
    got = left_over(clients)
    report("slow reader", readers=readers, more_mib=round(most / MIB, 1), others_slowest_ms=round(slowest * 1000), got_kib=got // 1024)
    assert most < 12 * MIB + readers * EACH
    assert slowest < 5
    assert got < 8 * MIB, "beyond what the kernel held the server went on with it after its time"
