# SPDX-License-Identifier: Apache-2.0
"""The opening sequences of clients that people use, played against the whole server; then IDLE, as each of them ends.

Beside them: how Thunderbird finds a server by itself, and how Gmail fetches mail by POP3.
"""

from __future__ import annotations

import base64
import imaplib
import poplib
import re
import smtplib
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.openings import OPENINGS, Say
from tests.e2e.openings_more import MORE, Opening
from tests.e2e.trial import Trial

_LITERAL = re.compile(rb"\{(\d+)\}\r\n$")
ALL: dict[str, Opening] = OPENINGS | MORE


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

    def play(self, *packet: Say, before: bytes = b"") -> None:
        """Say commands in one packet, `before` in front, and look whether all is there that the client needs."""
        tags = [b"A%d" % (self._number + count) for count in range(1, len(packet) + 1)]
        self._number += len(packet)
        self.send(before + b"".join(tag + b" " + say.command.encode() + b"\r\n" for tag, say in zip(tags, packet, strict=True)))
        for tag, say in zip(tags, packet, strict=True):
            if say.literal:
                if say.waits:
                    assert self.line().startswith(b"+"), say.command
                self.send(say.literal + b"\r\n")
            self._hear(tag, say)

    def _hear(self, tag: bytes, say: Say) -> None:
        told: list[str] = []
        while not (line := self.line()).startswith(tag + b" "):
            told.append(line.removeprefix(b"* ").decode("utf-8", "replace").rstrip("\r\n"))
        tagged = line.removeprefix(tag + b" ").decode()
        assert re.match(say.tagged, tagged), (say.command, tagged, say.why)
        for pattern in say.finds:
            wanted = not pattern.startswith("!")
            assert any(re.search(pattern.removeprefix("!"), one, re.DOTALL) for one in told) is wanted, (say.command, pattern, told, say.why)

    def close(self) -> None:
        self._file.close()
        self._socket.close()


def deliver(server: Trial, account: int, subject: str) -> None:
    with smtplib.SMTP(*server.address("smtp"), server.facts["helo"], timeout=20) as client:
        client.starttls(context=server.tls())
        text = f"Subject: {subject}\r\nFrom: Carol <carol@friend.test>\r\nTo: you\r\nMessage-ID: <{subject}@friend.test>\r\n\r\nhello\r\n"
        client.sendmail(server.facts["sender"], [server.account(account)[0]], text)


@pytest.mark.parametrize(("name", "account"), [pytest.param(name, number % 2, id=name) for number, name in enumerate(ALL)])
def test_a_client_finds_what_it_needs(own_server: Trial, name: str, account: int) -> None:
    deliver(own_server, account, "first")
    client = Client(own_server, account)
    for say in ALL[name]:
        client.play(*(say if isinstance(say, tuple) else (say,)))
    client.close()
    # In the end each of them waits, and is told of what comes.
    client = Client(own_server, account)
    client.play(Say('SELECT "INBOX"'))
    client.send(b"I1 IDLE\r\n")
    assert client.line().startswith(b"+ ")
    deliver(own_server, account, "second")
    while not re.match(rb"\* \d+ EXISTS", client.line()):
        pass
    # What follows DONE comes in the same packet from some of them (iOS 18); who stopped reading at DONE kept them waiting.
    client.send(b"DONE\r\nI2 UID SEARCH ALL\r\nI3 NOOP\r\n")
    for tag in (b"I1", b"I2", b"I3"):
        while not (line := client.line()).startswith(tag):
            assert line.startswith(b"* ")
        assert line.startswith(tag + b" OK")
    client.close()


# ---------------------------------------------------------------- how Thunderbird finds a server


class Probe:
    """One of the many connections by which Thunderbird's account set-up asks what is at a port: it says the next line when an answer came."""

    def __init__(self, server: Trial, door: str, *, tls: bool) -> None:
        raw = socket.create_connection(server.address(door), 10)
        self._socket = server.tls().wrap_socket(raw, server_hostname="localhost") if tls else raw
        self._file = self._socket.makefile("rb")
        self.heard = b""

    def talk(self, lines: tuple[bytes, ...], last: tuple[bytes, ...]) -> str:
        """Say the lines, each after the line that ends the answer before it, and give all that was heard up to the end of the connection."""
        for line, end in zip((b"", *lines), last, strict=True):
            self._socket.sendall(line)
            while not (got := self._file.readline()).startswith(end):
                assert got, (line, self.heard)
                self.heard += got
            self.heard += got
        assert self._file.read() == b"", "the connection ends"
        self._file.close()
        self._socket.close()
        return self.heard.decode()


_IMAP = ((b"1 CAPABILITY\r\n", b"2 LOGOUT\r\n"), (b"* OK", b"1 OK", b"2 OK"))
_POP3 = ((b"CAPA\r\n", b"QUIT\r\n"), (b"+OK", b".\r\n", b"+OK"))
_SMTP = ((b"EHLO we-guess.mozilla.org\r\n", b"QUIT\r\n"), (b"220 ", b"250 ", b"221 "))
# Door, TLS from the first octet, what is said, what the set-up looks for (and what must not be there).
PROBES = {
    "IMAP with TLS": ("imaps", True, _IMAP, (r"AUTH=PLAIN", r"AUTH=SCRAM-SHA-256", "!LOGINDISABLED", "!STARTTLS")),
    "IMAP with STARTTLS": ("imap", False, _IMAP, (r"STARTTLS", r"LOGINDISABLED", "!AUTH=PLAIN")),
    "POP3 with TLS": ("pop3s", True, _POP3, (r"SASL .*\bPLAIN\b", r"USER", "!STLS")),
    "POP3 with STLS": ("pop3", False, _POP3, (r"STLS", "!USER", "!SASL")),
    "submission with TLS": ("submissions", True, _SMTP, (r"AUTH .*\bPLAIN\b", "!STARTTLS")),
    "submission with STARTTLS": ("submission", False, _SMTP, (r"STARTTLS", "!AUTH")),
    "port 25": ("smtp", False, _SMTP, (r"STARTTLS", "!AUTH")),
}


def test_thunderbird_finds_the_server_by_asking_at_every_port(server: Trial) -> None:
    """All of it at once and for three guessed host names, as it does; a password is never asked for where it would travel in clear."""
    jobs = [(name, probe) for _host in range(3) for name, probe in PROBES.items()]
    with ThreadPoolExecutor(len(jobs)) as pool:
        heard = list(pool.map(lambda job: Probe(server, job[1][0], tls=job[1][1]).talk(*job[1][2]), jobs))
    for (name, (_door, _tls, _talk, finds)), answer in zip(jobs, heard, strict=True):
        for pattern in finds:
            wanted = not pattern.startswith("!")
            assert (re.search(pattern.removeprefix("!"), answer) is not None) is wanted, (name, pattern, answer)


def test_thunderbird_tries_the_local_part_before_the_address(server: Trial) -> None:
    """The first guess fails without ending the connection, and the second one is heard on it."""
    address, password = server.account(0)
    client = imaplib.IMAP4_SSL(*server.address("imaps"), ssl_context=server.tls(), timeout=20)
    with pytest.raises(imaplib.IMAP4.error, match=r"\[AUTHENTICATIONFAILED\]"):
        client.login(address.partition("@")[0], password)
    assert client.login(address, password)[0] == "OK"
    client.logout()


# ---------------------------------------------------------------- how Gmail fetches by POP3


def test_gmail_fetches_by_pop3_and_leaves_or_removes(own_server: Trial) -> None:
    """Gmail's *check mail from other accounts*: USER and PASS within TLS, UIDL to know what is new, RETR, and DELE only where no copy is to be left.

    Without unique-ids it refuses the account; where they changed it would fetch everything again.
    """
    for subject in ("one", "two"):
        deliver(own_server, 0, subject)
    known: dict[bytes, bytes] = {}
    for visit in range(3):
        client = poplib.POP3_SSL(*own_server.address("pop3s"), context=own_server.tls(), timeout=20)
        capabilities = client.capa()
        assert {"UIDL", "TOP", "USER"} <= capabilities.keys(), "the account is refused"
        address, password = own_server.account(0)
        client.user(address)
        client.pass_(password)
        count, octets = client.stat()
        sizes = dict(line.split() for line in client.list()[1])
        assert (count, octets) == (len(sizes), sum(map(int, sizes.values())))
        unique = dict(line.split() for line in client.uidl()[1])
        new = [number for number in unique if unique[number] not in known]
        assert len(new) == (2, 0, 1)[visit], "messages come twice, or never"
        for number in new:
            _answer, lines, size = client.retr(int(number))
            known[unique[number]] = b"\n".join(lines)
            assert size == int(sizes[number])
            if visit == 2:
                client.dele(int(number))
        client.quit()
        if visit == 1:
            deliver(own_server, 0, "three")
    assert [next(line for line in text.split(b"\n") if line.startswith(b"Subject")) for text in known.values()] == [
        b"Subject: one", b"Subject: two", b"Subject: three"
    ]  # fmt: skip
    with imaplib.IMAP4_SSL(*own_server.address("imaps"), ssl_context=own_server.tls(), timeout=20) as reader:
        reader.login(*own_server.account(0))
        assert reader.select()[1] == [b"2"], "what was to be left is there"
