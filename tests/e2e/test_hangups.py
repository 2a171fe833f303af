# SPDX-License-Identifier: Apache-2.0
"""Peers that leave: at fifty places of a session, every border of a state among them; and peers that bring very much at once.

Afterwards nothing is held for them: no descriptor, no memory, no half message.
"""

from __future__ import annotations

import base64
import contextlib
import imaplib
import os
import re
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Self

import pytest

from tests.e2e.raw_smtp import DOORS, Peer, kept, subjects, until_kept
from tests.e2e.traffic import settings
from tests.e2e.tree import descriptors, pss, unfinished, until_descriptors
from tests.e2e.trial import Trial, trial

MIB = 1024 * 1024
ROUNDS = 6  # the first makes the server warm

HELLO = b"EHLO peer.friend.test\r\n"
MAIL = b"MAIL FROM:<carol@friend.test>\r\n"
RCPT = b"RCPT TO:<bob@example.test>\r\n"
OWN = b"MAIL FROM:<alice@example.test>\r\n"
LETTER = b"From: alice@example.test\r\nSubject: hung up\r\n\r\nhalf a word\r\n"
LARGE = LETTER + (b"x" * 98 + b"\r\n") * 20_000  # so much that it lies in a temporary file

Act = Callable[[Peer], object]


def go_on(peer: Peer, lines: tuple[bytes, ...], last: bytes) -> None:
    """Send lines, each after the reply to the one before, and then octets whose reply nobody waits for."""
    for line in lines:
        peer.send(line)
        peer.answer()
    if last:
        peer.send(last)


def said(*lines: bytes, last: bytes = b"") -> Act:
    """Take the greeting, then go on."""

    def act(peer: Peer) -> None:
        peer.answer()
        go_on(peer, lines, last)

    return act


def in_tls(*lines: bytes, last: bytes = b"") -> Act:
    """Go on after STARTTLS."""

    def act(peer: Peer) -> None:
        said(HELLO, b"STARTTLS\r\n")(peer)
        peer.start_tls()
        go_on(peer, lines, last)

    return act


def hello_of_tls(peer: Peer) -> bytes:
    """Give the first flight of a client, so that parts of it can be sent."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    half = peer.server.tls().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        half.do_handshake()
    return outgoing.read()


def in_handshake(share: float, *, read: bool = False) -> Act:
    """Send a part of the client's hello; with `read` the server's answer is taken and not replied to."""

    def act(peer: Peer) -> None:
        if peer.door == "smtp":
            said(HELLO, b"STARTTLS\r\n")(peer)
        hello = hello_of_tls(peer)
        peer.send(hello[: int(len(hello) * share)])
        if read:
            peer.sock.recv(64)

    return act


def plain(peer: Peer) -> bytes:
    return b"AUTH PLAIN " + peer.token() + b"\r\n"


def user(*lines: bytes, last: bytes = b"") -> Act:
    """Log in, then go on."""

    def act(peer: Peer) -> None:
        said(HELLO, plain(peer))(peer)
        go_on(peer, lines, last)

    return act


def unanswered_login(peer: Peer) -> None:
    said(HELLO, last=plain(peer))(peer)


CLIENT_FIRST = base64.b64encode(b"n,,n=alice@example.test,r=fyko+d2lbbFgONRv9qkxdawL")

PLACES: dict[str, tuple[str, Act]] = {
    "before the greeting": ("smtp", lambda _peer: None),
    "after the greeting": ("smtp", said()),
    "early talk": ("smtp", lambda peer: peer.send(HELLO + MAIL)),
    "in EHLO": ("smtp", said(last=b"EHL")),
    "EHLO without its LF": ("smtp", said(last=HELLO[:-1])),
    "EHLO unanswered": ("smtp", said(last=HELLO)),
    "after EHLO": ("smtp", said(HELLO)),
    "after HELO": ("smtp", said(b"HELO peer\r\n")),
    "in STARTTLS": ("smtp", said(HELLO, last=b"STARTT")),
    "STARTTLS unanswered": ("smtp", said(HELLO, last=b"STARTTLS\r\n")),
    "after 220 to STARTTLS": ("smtp", said(HELLO, b"STARTTLS\r\n")),
    "an octet into the handshake": ("smtp", in_handshake(0.002)),
    "in the client's hello": ("smtp", in_handshake(0.5)),
    "after the client's hello": ("smtp", in_handshake(1.0)),
    "after the server's hello": ("smtp", in_handshake(1.0, read=True)),
    "garbage for a handshake": ("smtp", said(HELLO, b"STARTTLS\r\n", last=b"EHLO again\r\n")),
    "after the handshake": ("smtp", in_tls()),
    "in a command inside TLS": ("smtp", in_tls(HELLO, last=b"MAIL F")),
    "in content inside TLS": ("smtp", in_tls(HELLO, MAIL, RCPT, b"DATA\r\n", last=LETTER)),
    "in a chunk inside TLS": ("smtp", in_tls(HELLO, MAIL, RCPT, last=b"BDAT 10000 LAST\r\n" + LETTER)),
    "between chunks inside TLS": ("smtp", in_tls(HELLO, MAIL, RCPT, b"BDAT %d\r\n" % len(LETTER) + LETTER)),
    "in MAIL": ("smtp", said(HELLO, last=MAIL[:12])),
    "MAIL unanswered": ("smtp", said(HELLO, last=MAIL)),
    "after MAIL": ("smtp", said(HELLO, MAIL)),
    "in RCPT": ("smtp", said(HELLO, MAIL, last=RCPT[:12])),
    "RCPT unanswered": ("smtp", said(HELLO, MAIL, last=RCPT)),
    "after RCPT": ("smtp", said(HELLO, MAIL, RCPT)),
    "in DATA": ("smtp", said(HELLO, MAIL, RCPT, last=b"DA")),
    "DATA unanswered": ("smtp", said(HELLO, MAIL, RCPT, last=b"DATA\r\n")),
    "a whole transaction unanswered": ("smtp", said(last=HELLO + MAIL + RCPT + b"DATA\r\n")),
    "after 354": ("smtp", said(HELLO, MAIL, RCPT, b"DATA\r\n")),
    "in the header": ("smtp", said(HELLO, MAIL, RCPT, b"DATA\r\n", last=LETTER[:30])),
    "in the body": ("smtp", said(HELLO, MAIL, RCPT, b"DATA\r\n", last=LETTER[:-7])),
    "in a large body": ("smtp", said(HELLO, MAIL, RCPT, b"DATA\r\n", last=LARGE)),
    "before the end": ("smtp", said(HELLO, MAIL, RCPT, b"DATA\r\n", last=LETTER)),
    "after the dot": ("smtp", said(HELLO, MAIL, RCPT, b"DATA\r\n", last=LETTER + b".")),
    "before the last LF": ("smtp", said(HELLO, MAIL, RCPT, b"DATA\r\n", last=LETTER + b".\r")),
    "before the last LF of a large body": ("smtp", said(HELLO, MAIL, RCPT, b"DATA\r\n", last=LARGE + b".\r")),
    "in refused content": ("smtp", said(HELLO, MAIL, RCPT, b"DATA\r\n", last=b"a\nb" + LARGE)),
    "in BDAT": ("smtp", said(HELLO, MAIL, RCPT, last=b"BDAT 10")),
    "after BDAT's line": ("smtp", said(HELLO, MAIL, RCPT, last=b"BDAT 1000 LAST\r\n")),
    "in a chunk": ("smtp", said(HELLO, MAIL, RCPT, last=b"BDAT 1000 LAST\r\n" + LETTER)),
    "in a large chunk": ("smtp", said(HELLO, MAIL, RCPT, last=b"BDAT 9999999 LAST\r\n" + LARGE)),
    "an octet before the last chunk's end": ("smtp", said(HELLO, MAIL, RCPT, last=b"BDAT %d LAST\r\n" % len(LETTER) + LETTER[:-1])),
    "between chunks": ("smtp", said(HELLO, MAIL, RCPT, b"BDAT %d\r\n" % len(LETTER) + LETTER)),
    "in the second chunk": ("smtp", said(HELLO, MAIL, RCPT, b"BDAT %d\r\n" % len(LETTER) + LETTER, last=b"BDAT 10 LAST\r\nx")),
    "in a refused chunk": ("smtp", said(HELLO, last=b"BDAT 100000\r\n" + LETTER)),
    "after RSET": ("smtp", said(HELLO, MAIL, RCPT, b"RSET\r\n")),
    "QUIT unanswered": ("smtp", said(HELLO, MAIL, last=b"QUIT\r\n")),
    "after QUIT": ("smtp", said(HELLO, b"QUIT\r\n")),
    "implicit TLS: nothing said": ("submissions", lambda _peer: None),
    "implicit TLS: in the client's hello": ("submissions", in_handshake(0.5)),
    "implicit TLS: after the server's hello": ("submissions", in_handshake(1.0, read=True)),
    "in AUTH": ("submissions", said(HELLO, last=b"AUTH PL")),
    "AUTH unanswered": ("submissions", unanswered_login),
    "AUTH PLAIN without its response": ("submissions", said(HELLO, b"AUTH PLAIN\r\n")),
    "AUTH LOGIN, before the name": ("submissions", said(HELLO, b"AUTH LOGIN\r\n")),
    "AUTH LOGIN, before the password": ("submissions", said(HELLO, b"AUTH LOGIN\r\n", b"YWxpY2U=\r\n")),
    "AUTH LOGIN, in the password": ("submissions", said(HELLO, b"AUTH LOGIN\r\n", b"YWxpY2U=\r\n", last=b"cGFz")),
    "SCRAM, after the first message": ("submissions", said(HELLO, b"AUTH SCRAM-SHA-256 " + CLIENT_FIRST + b"\r\n")),
    "SCRAM, in the second message": ("submissions", said(HELLO, b"AUTH SCRAM-SHA-256 " + CLIENT_FIRST + b"\r\n", last=b"Yz1iaXdz")),
    "after a failed login": ("submissions", said(HELLO, b"AUTH PLAIN AGFsaWNlAHdyb25n\r\n")),
    "logged in": ("submissions", user()),
    "a user's MAIL unanswered": ("submissions", user(last=OWN)),
    "in a user's content": ("submissions", user(OWN, RCPT, b"DATA\r\n", last=LARGE)),
    "before a user's last LF": ("submissions", user(OWN, RCPT, b"DATA\r\n", last=LETTER + b".\r")),
}
"""Where a peer leaves: the door, and what it does before."""


def leave(server: Trial, place: str, number: int) -> None:
    door, act = PLACES[place]
    raw = place.startswith("implicit TLS: ")
    with Peer(server, door, in_clear=raw) as peer:
        act(peer)
        if number % 2:
            peer.vanish()
        elif number % 4 == 0 and isinstance(peer.sock, ssl.SSLSocket):
            with contextlib.suppress(OSError):
                peer.sock.unwrap()  # close_notify and then the end; without it the end alone


def test_the_places_are_as_many_as_promised() -> None:
    assert len(PLACES) >= 50


@pytest.mark.timeout(200)
def test_who_leaves_anywhere_leaves_nothing_behind(own_server: Trial) -> None:
    weights = []
    held: dict[int, int] = {}
    for number in range(ROUNDS):
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda place, number=number: leave(own_server, place, number), PLACES))
        if number == 0:
            held = _settled(own_server)
        else:
            now = until_descriptors(own_server, held)
            assert {pid: count for pid, count in now.items() if count > held.get(pid, 0)} == {}, held
        weights.append(pss(own_server))
    assert weights[-1] - weights[1] < 3 * MIB, [weight // 1024 for weight in weights]
    assert unfinished(own_server) == []
    assert "hung up" not in subjects(own_server)
    assert not [line for line in own_server.log if "ALERT" in line or "Traceback" in line], own_server.log
    for door in DOORS:
        with Peer(own_server, door) as peer:
            peer.hello().data().send(peer.head(f"well {door}") + b"x\r\n.\r\n")
            assert peer.answer().code == 250
        until_kept(own_server, f"well {door}")


def _settled(server: Trial) -> dict[int, int]:
    """Wait until the number of descriptors stands still for a while; give it."""
    before, since = descriptors(server), time.monotonic()
    end = time.monotonic() + 20
    while time.monotonic() < end and time.monotonic() - since < 1.0:
        time.sleep(0.05)
        now = descriptors(server)
        if now != before:
            before, since = now, time.monotonic()
    return before


@pytest.mark.parametrize("large", [False, True], ids=["small", "in a file"])
def test_who_leaves_right_behind_the_end_is_kept_whole_or_not_at_all(own_server: Trial, large: bool) -> None:
    # In a stranger's name: what a stranger writes in ours goes to Junk.
    letter = (LARGE if large else LETTER).replace(b"alice@example.test", b"carol@friend.test")
    for number in range(20):
        with Peer(own_server, "smtp") as peer:
            said(HELLO, MAIL, RCPT, b"DATA\r\n", last=letter + b".\r\n")(peer)
            if number % 2:
                peer.vanish()
    with Peer(own_server, "smtp") as peer:
        peer.hello().data().send(peer.head("after them") + b"x\r\n.\r\n")
        assert peer.answer().code == 250
    until_kept(own_server, "after them")
    whole = [one for one in kept(own_server) if b"Subject: hung up\r\n" in one]
    assert len(whole) >= 10  # those who closed in order had sent everything
    assert all(one.endswith(letter) for one in whole)
    assert unfinished(own_server) == []


# ---------------------------------------------------------------- four times a hundred megabytes

HUNDRED = 100 * 1000 * 1000
SENDERS = 4


class Scale:
    """Weighs the tree again and again."""

    def __init__(self, server: Trial) -> None:
        self.server, self.heaviest, self.over = server, 0, threading.Event()
        self._thread = threading.Thread(target=self._weigh, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self._thread.join()

    def _weigh(self) -> None:
        while not self.over.is_set():
            self.heaviest = max(self.heaviest, pss(self.server))
            self.over.wait(0.05)


@pytest.fixture(scope="module")
def roomy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    """A server that takes messages of 200 MiB."""
    with trial(tmp_path_factory.mktemp("roomy") / "moatmail-try") as one:
        one.stop()
        settings(one, smtp__max_message_octets=str(200 * MIB))
        yield one.start()


def pour(server: Trial, door: str, number: int, *, chunked: bool) -> None:
    """Send a hundred megabytes, in lines, that no compression makes small."""
    block = b"".join(base64.b64encode(os.urandom(57)) + b"\r\n" for _ in range(13_000))
    subject = f"hundred {door} {chunked} {number}"
    with Peer(server, door, seconds=120) as peer:
        peer.hello()
        if door == "smtp":
            assert peer.ask(b"STARTTLS").code == 220
            peer.start_tls()
            peer.ask(b"EHLO peer")
        peer.envelope()
        head, sent = peer.head(subject), 0
        if not chunked:
            assert peer.ask(b"DATA").code == 354
        peer.send(b"BDAT %d\r\n" % len(head) + head if chunked else head)
        while sent < HUNDRED:
            peer.send(b"BDAT %d\r\n" % len(block) + block if chunked else block)
            sent += len(block)
            if chunked:
                assert peer.answer().code == 250
        peer.send(b"BDAT 0 LAST\r\n" if chunked else b".\r\n")
        if chunked:
            assert peer.answer().code == 250
        assert peer.answer().code == 250


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: weighs other processes")
@pytest.mark.timeout(280)
@pytest.mark.parametrize(("door", "chunked"), [("smtp", False), ("smtp", True), ("submissions", False)], ids=["DATA", "BDAT", "submitted"])
def test_four_senders_of_a_hundred_megabytes_weigh_little(roomy: Trial, door: str, chunked: bool, record_property: Callable[[str, object], None]) -> None:
    for _ in range(16):  # every worker has hashed a password before it is weighed
        with Peer(roomy, door) as peer:
            peer.hello().data().send(peer.head("warm") + b"x\r\n.\r\n")
            assert peer.answer().code == 250
    before = pss(roomy)
    begun = time.monotonic()
    with Scale(roomy) as scale, ThreadPoolExecutor(SENDERS) as pool:
        list(pool.map(lambda number: pour(roomy, door, number, chunked=chunked), range(SENDERS)))
    seconds = time.monotonic() - begun
    each = (scale.heaviest - before) / SENDERS / MIB
    record_property("mib_per_sender", each)
    print(f"{door} {'BDAT' if chunked else 'DATA'}: {each:.2f} MiB more for each of {SENDERS} senders; {SENDERS * HUNDRED / seconds / 1e6:.0f} MB/s")  # noqa: T201
    assert each <= 8.0
    assert sorted(size for size in sizes(roomy) if size > HUNDRED)[-SENDERS:][0] > HUNDRED
    assert unfinished(roomy) == []


def sizes(server: Trial) -> list[int]:
    """Give the sizes of the messages of the second account."""
    address, password = server.account(1)
    with imaplib.IMAP4_SSL(*server.address("imaps"), ssl_context=server.tls()) as client:
        client.login(address, password)
        client.select(readonly=True)
        _, found = client.fetch("1:*", "(RFC822.SIZE)")
    return [int(size[1]) for one in found if isinstance(one, bytes) and (size := re.search(rb"RFC822.SIZE (\d+)", one))]
