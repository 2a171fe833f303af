# SPDX-License-Identifier: Apache-2.0
"""An SMTP peer that does exactly what it is told: octets out, replies in. For what no honest client would send.

Obeys RFC 5321 §4.2 (replies) and nothing else, on purpose.
Must never know what the server should answer.
"""

from __future__ import annotations

import base64
import contextlib
import imaplib
import re
import socket
import ssl
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from tests.e2e.trial import Trial

STRANGERS = "smtp"
USERS = ("submission", "submissions")
DOORS = (STRANGERS, *USERS)


@dataclass(frozen=True)
class Answer:
    """One reply: its code, and all of its octets."""

    code: int
    octets: bytes


class Peer:
    """One connection to a door of a trial."""

    def __init__(self, server: Trial, door: str, *, seconds: float = 20.0, in_clear: bool = False) -> None:
        """Connect; with `in_clear` nobody shakes hands at the door of implicit TLS."""
        self.server, self.door = server, door
        self.sock: socket.socket = socket.create_connection(server.address(door), timeout=seconds)
        if door == "submissions" and not in_clear:
            self.start_tls()
        self._input = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.sock.close()

    # ---------------------------------------------------------------- octets

    def send(self, octets: bytes) -> None:
        """Send octets as they are."""
        self.sock.sendall(octets)

    def answer(self) -> Answer:
        """Read one whole reply; ConnectionError when the connection ended before."""
        whole = b""
        while True:
            line, found, rest = self._input.partition(b"\r\n")
            if found:
                self._input = rest
                whole += line + found
                if line[3:4] != b"-":
                    return Answer(int(line[:3]), whole)
                continue
            if not (data := self.sock.recv(65536)):
                raise ConnectionError("closed")
            self._input += data

    def ask(self, line: bytes) -> Answer:
        """Send a line and read the reply."""
        self.send(line + b"\r\n")
        return self.answer()

    def rest(self) -> bytes:
        """Read until the server closes; gives the octets. TimeoutError when it does not."""
        with contextlib.suppress(ConnectionResetError, ssl.SSLEOFError):
            while data := self.sock.recv(65536):
                self._input += data
        return self._input

    def vanish(self) -> None:
        """Close with a reset, as a machine that lost its power and came back."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.sock.close()

    # ---------------------------------------------------------------- the way to a state

    def start_tls(self) -> None:
        """Shake hands; the 220 was read."""
        self.sock = self.server.tls().wrap_socket(self.sock, server_hostname="localhost")

    def hello(self) -> Peer:
        """Come as far as a door lets one send mail: EHLO, at submission with TLS and a login."""
        assert self.answer().code == 220
        assert self.ask(b"EHLO peer.friend.test").code == 250
        if self.door == "submission":
            assert self.ask(b"STARTTLS").code == 220
            self.start_tls()
            assert self.ask(b"EHLO peer.friend.test").code == 250
        if self.door in USERS:
            assert self.ask(b"AUTH PLAIN " + self.token()).code == 235
        return self

    def token(self) -> bytes:
        """Give the initial response of AUTH PLAIN for the first account."""
        address, password = self.server.account()
        return base64.b64encode(f"\0{address}\0{password}".encode())

    @property
    def sender(self) -> bytes:
        """Give a reverse-path that the door takes."""
        return (self.server.account()[0] if self.door in USERS else self.server.facts["sender"]).encode()

    def envelope(self, parameters: bytes = b"") -> Peer:
        """Begin a transaction to the second account."""
        assert self.ask(b"MAIL FROM:<" + self.sender + b">" + parameters).code == 250
        assert self.ask(b"RCPT TO:<" + self.server.account(1)[0].encode() + b">").code == 250
        return self

    def data(self) -> Peer:
        """Come as far as 354."""
        assert self.envelope().ask(b"DATA").code == 354
        return self

    def head(self, subject: str) -> bytes:
        """Give a header block that the door takes."""
        return b"From: " + self.sender + b"\r\nSubject: " + subject.encode() + b"\r\n\r\n"


# ---------------------------------------------------------------- what was kept


def kept(server: Trial, number: int = 1, *, mailbox: str = "INBOX") -> list[bytes]:
    """Give the messages of an account, through IMAP."""
    address, password = server.account(number)
    with imaplib.IMAP4_SSL(*server.address("imaps"), ssl_context=server.tls()) as client:
        client.login(address, password)
        client.select(mailbox, readonly=True)
        _, found = client.fetch("1:*", "(RFC822)")
    return [one[1] for one in found if isinstance(one, tuple)]


def subjects(server: Trial, number: int = 1) -> list[str]:
    """Give the subjects of an account's messages, in order."""
    return [found[1].decode() if (found := re.search(rb"^Subject: (.*)\r$", one, re.MULTILINE)) else "" for one in kept(server, number)]


def until_kept(server: Trial, subject: str, number: int = 1, *, seconds: float = 30.0) -> bytes:
    """Wait until a message is there, and give it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for one in kept(server, number):
            if f"\r\nSubject: {subject}\r\n".encode() in b"\r\n" + one:
                return one
        time.sleep(0.1)
    raise AssertionError(f"no message {subject}: {subjects(server, number)}\n" + "".join(server.log[-20:]))
