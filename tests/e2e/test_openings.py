# SPDX-License-Identifier: Apache-2.0
"""The opening sequences of clients that people use, played against the whole server; then IDLE, as each of them ends."""

from __future__ import annotations

import base64
import re
import smtplib
import socket
import ssl

import pytest

from tests.e2e.openings import OPENINGS, Say
from tests.e2e.trial import Trial

_LITERAL = re.compile(rb"\{(\d+)\}\r\n$")


class Client:
    """One connection that says what it is told and gathers what comes."""

    def __init__(self, server: Trial, account: int) -> None:
        host, port = server.address("imaps")
        raw = socket.create_connection((host, port), 20)
        self._socket: ssl.SSLSocket = server.tls().wrap_socket(raw, server_hostname="localhost")
        self._file = self._socket.makefile("rb")
        self._number = 0
        assert self.line().startswith(b"* OK ")
        address, password = server.account(account)
        initial = base64.b64encode(f"\0{address}\0{password}".encode()).decode()
        self.play(Say(f"AUTHENTICATE PLAIN {initial}"))

    def line(self) -> bytes:
        """Read one response, its literals included."""
        whole = b""
        while True:
            piece = self._file.readline()
            assert piece, "the server closed"
            whole += piece
            found = _LITERAL.search(piece)
            if found is None:
                return whole
            whole += self._file.read(int(found[1]))

    def send(self, octets: bytes) -> None:
        self._socket.sendall(octets)

    def play(self, say: Say) -> None:
        """Say a command and look whether all is there that the client needs."""
        self._number += 1
        tag = b"A%d" % self._number
        self.send(tag + b" " + say.command.encode() + b"\r\n")
        if say.literal:
            if say.waits:
                assert self.line().startswith(b"+"), say.command
            self.send(say.literal + b"\r\n")
        told: list[str] = []
        while not (line := self.line()).startswith(tag):
            told.append(line.removeprefix(b"* ").decode("utf-8", "replace").rstrip("\r\n"))
        tagged = line.removeprefix(tag + b" ").decode()
        assert re.match(say.tagged, tagged), (say.command, tagged)
        for pattern in say.finds:
            wanted = not pattern.startswith("!")
            assert any(re.search(pattern.removeprefix("!"), one, re.DOTALL) for one in told) is wanted, (say.command, pattern, told)

    def close(self) -> None:
        self._file.close()
        self._socket.close()


def deliver(server: Trial, account: int, subject: str) -> None:
    with smtplib.SMTP(*server.address("smtp"), server.facts["helo"], timeout=20) as client:
        client.starttls(context=server.tls())
        text = f"Subject: {subject}\r\nFrom: Carol <carol@friend.test>\r\nTo: you\r\nMessage-ID: <{subject}@friend.test>\r\n\r\nhello\r\n"
        client.sendmail(server.facts["sender"], [server.account(account)[0]], text)


@pytest.mark.parametrize(("name", "account"), [pytest.param(name, number % 2, id=name) for number, name in enumerate(OPENINGS)])
def test_a_client_finds_what_it_needs(own_server: Trial, name: str, account: int) -> None:
    deliver(own_server, account, "first")
    client = Client(own_server, account)
    for say in OPENINGS[name]:
        client.play(say)
    client.close()
    # In the end each of them waits, and is told of what comes.
    client = Client(own_server, account)
    client.play(Say('SELECT "INBOX"'))
    client.send(b"I1 IDLE\r\n")
    assert client.line().startswith(b"+ ")
    deliver(own_server, account, "second")
    while not re.match(rb"\* \d+ EXISTS", client.line()):
        pass
    client.send(b"DONE\r\n")
    while not client.line().startswith(b"I1 OK"):
        pass
    client.close()
