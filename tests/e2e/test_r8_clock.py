# SPDX-License-Identifier: Apache-2.0
"""R8, the whole server: the machine's wall clock jumps under all its processes; what must only rise, rises, nothing bounces early, nothing storms.

What Python tells as the wall clock is changed from outside, in every process (`jumping_clock/sitecustomize.py`); the monotonic clock is left alone. The server
knows nothing of it.
"""

from __future__ import annotations

import imaplib
import poplib
import re
import signal
import smtplib
import ssl
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509

from moatmail.certs.authority import Authority, ensure
from tests.e2e.traffic import Peer, message, reader, settings
from tests.e2e.trial import Trial

DAY = 86_400.0
NO_CHECK_TIME = 0x200000
"""OpenSSL's X509_V_FLAG_NO_CHECK_TIME: our own clock is right, the server's certificate is of another time."""
AUTHOR = 0


def at(text: str) -> float:
    """Give the distance from now to a moment."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() - time.time()


# Each a list of distances from the true time; the first is that at the start.
JUMPS: dict[str, Callable[[], list[float]]] = {
    "a day ahead and back": lambda: [0.0, DAY, 0.0],
    "a day back and ahead": lambda: [0.0, -DAY, 0.0],
    "a leap second: one second twice": lambda: [0.0, -1.0, -2.0],
    "into a leap day and out of it": lambda: [at("2028-02-28T23:59:30"), at("2028-02-28T23:59:30") + 60.0, at("2028-02-28T23:59:30") + DAY],
    "behind 2038 and back": lambda: [at("2038-01-19T03:13:00"), at("2038-01-19T03:13:00") + DAY, at("2038-01-19T03:13:00")],
}


@dataclass
class Shifted(Trial):
    """A trial whose processes have a wall clock of their own."""

    distance: float = 0.0
    file: Path = field(default_factory=Path)

    def set_clock(self, distance: float) -> None:
        """Have the clock jump, in every process at once."""
        self.distance = distance
        with self.file.open("r+b" if self.file.exists() else "wb") as file:
            file.write(struct.pack("<d", distance))

    def now(self) -> float:
        """Give the time that the server has."""
        return time.time() + self.distance

    def tls(self) -> ssl.SSLContext:
        """Give a client context to which the certificate may be of another time."""
        context = super().tls()
        context.verify_flags |= NO_CHECK_TIME  # Python has no name for it
        return context


@contextmanager
def shifted(folder: Path, distance: float) -> Iterator[Shifted]:
    """Run a trial with a clock of its own for the block."""
    environment = {"PYTHONPATH": str(Path(__file__).parent / "jumping_clock"), "MOATMAIL_JUMPING_CLOCK": str(folder / "clock")}
    server = Shifted(folder / "moatmail-try", environment=environment, file=folder / "clock")
    server.set_clock(distance)
    server.start()
    try:
        yield server
    finally:
        if server.process is not None and server.process.poll() is None:
            server.stop()


@pytest.fixture
def peer() -> Iterator[Peer]:
    """A mail host elsewhere."""
    with Peer() as one:
        yield one
        one.shutdown()


# ---------------------------------------------------------------- what is done at each time


def number(answer: bytes, name: str) -> int:
    """Give a number of a STATUS response."""
    found = re.search(rf"{name} (\d+)".encode(), answer)
    assert found is not None, answer
    return int(found[1])


@dataclass
class Mailbox:
    """What a reader saw of INBOX and of a mailbox that is made and deleted again and again; every look must be above the last."""

    server: Shifted
    marks: list[tuple[int, int]] = field(default_factory=list)
    validities: set[int] = field(default_factory=set)
    remade: list[int] = field(default_factory=list)
    ids: list[bytes] = field(default_factory=list)
    letters: int = 0

    def look(self) -> None:
        """Bring a message through each door and look."""
        self._deliver()
        with reader(self.server) as client:
            assert client.append("INBOX", "", "", b"Subject: here\r\n\r\nx\r\n")[0] == "OK"
            self.letters += 2
            assert client.select("INBOX", readonly=True)[1] == [b"%d" % self.letters]
            _, rows = client.fetch(f"{self.letters - 1}:{self.letters}", "(INTERNALDATE)")
            for row in rows:
                assert isinstance(row, bytes)
                # The server does see the clock that we set: on the day of a fault this line fails first.
                kept = imaplib.Internaldate2tuple(row)
                assert kept is not None
                assert abs(time.mktime(kept) - self.server.now()) < 60, row
            status = client.status("INBOX", "(UIDNEXT UIDVALIDITY HIGHESTMODSEQ)")[1][0]
            self.marks.append((number(status, "UIDNEXT"), number(status, "HIGHESTMODSEQ")))
            self.validities.add(number(status, "UIDVALIDITY"))
            for _ in range(2):
                client.create("Again")
                self.remade.append(number(client.status("Again", "(UIDVALIDITY)")[1][0], "UIDVALIDITY"))
                client.delete("Again")
        self._look_by_pop()

    def _deliver(self) -> None:
        with smtplib.SMTP(*self.server.address("smtp"), self.server.facts["helo"], timeout=20) as client:
            client.sendmail("carol@friend.test", [self.server.account()[0]], b"From: carol@friend.test\r\nSubject: there\r\n\r\nx\r\n")

    def _look_by_pop(self) -> None:
        client = poplib.POP3_SSL(*self.server.address("pop3s"), context=self.server.tls(), timeout=20)
        address, secret = self.server.account()
        client.user(address)
        client.pass_(secret)
        ids = [line.split()[1] for line in client.uidl()[1]]
        client.quit()
        assert ids[: len(self.ids)] == self.ids, "UIDL changed"
        self.ids = ids

    def judge(self) -> None:
        """Compare all looks."""
        for before, after in zip(self.marks, self.marks[1:], strict=False):
            assert before[0] < after[0]
            assert before[1] < after[1]
        assert len(self.validities) == 1
        assert self.remade == sorted(set(self.remade))
        assert max(self.remade) < 2**32, "RFC 3501 §9: nz-number"


@dataclass
class Outgoing:
    """Mail to a host elsewhere that puts it off: how often it was tried."""

    server: Shifted
    peer: Peer
    sent: list[str] = field(default_factory=list)

    def submit(self, *, taken: bool = False) -> None:
        """Send one more and wait until the peer saw it: what wakes the queue wakes it for all that is due."""
        mark = f"m{len(self.sent)}-z1"
        author = self.server.account(AUTHOR)[0]
        with smtplib.SMTP_SSL(*self.server.address("submissions"), "client.test", timeout=20, context=self.server.tls()) as client:
            client.login(*self.server.account(AUTHOR))
            client.sendmail(author, [f"{mark}@elsewhere.test"], message(mark, author))
        self.sent.append(mark)
        wait_until(lambda: self.peer.tried[f"{mark}@elsewhere.test"] > 0 and (not taken or mark in self.peer.taken), f"{mark} was not tried")

    def tries(self) -> Counter[str]:
        """Give how often each was tried."""
        with self.peer.lock:
            return Counter(self.peer.tried)

    def waiting(self) -> int:
        """Give how many recipients wait for their next attempt."""
        return sum("deferred from" in line for line in self.server.log)


def wait_until(held: Callable[[], bool], otherwise: str, seconds: float = 30.0) -> None:
    """Wait for something that happens elsewhere."""
    until = time.monotonic() + seconds
    while not held():
        assert time.monotonic() < until, otherwise
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("jumps", "restarted"),
    [*((jumps, False) for jumps in JUMPS.values()), (JUMPS["a day back and ahead"], True), (JUMPS["behind 2038 and back"], True)],
    ids=[*JUMPS, "a day back and ahead, killed and started at each jump", "behind 2038 and back, killed and started at each jump"],
)
def test_r8_whatever_the_clock_does_numbers_rise_and_mail_waits_its_time(tmp_path: Path, peer: Peer, jumps: Callable[[], list[float]], restarted: bool) -> None:
    first, *later = jumps()
    peer.busy = True
    with shifted(tmp_path, first) as server:
        settings(server, delivery__smart_host=f"127.0.0.1:{peer.port}", delivery__smart_host_tls="none", delivery__retry_minutes="30")
        mailbox, outgoing = Mailbox(server), Outgoing(server, peer)
        mailbox.look()
        outgoing.submit()
        with ExitStack() as stack:
            stayed = None if restarted else stack.enter_context(reader(server, 1))
            for distance in later:
                if restarted:
                    server.kill()
                server.set_clock(distance)
                if restarted:
                    server.start()
                before = outgoing.tries()
                mailbox.look()
                for _ in range(3):
                    outgoing.submit()
                assert {count - before[who] for who, count in outgoing.tries().items()} <= {0, 1}, "tried more than once after one jump"
            assert stayed is None or stayed.noop()[0] == "OK", "a session lives by the monotonic clock"
        mailbox.judge()
        assert "failed from" not in "".join(server.log), "a bounce before its time"

        # Once the host takes mail and the clock says that it is time, each goes out once.
        peer.busy = False
        wait_until(lambda: outgoing.waiting() >= len(outgoing.sent), "not every attempt was settled") if not restarted else None
        server.set_clock(max(first, *later) + DAY)
        outgoing.submit(taken=True)
        wait_until(lambda: len(peer.taken) == len(outgoing.sent), "a message stayed behind")
        assert {len(copies) for copies in peer.taken.values()} == {1}
        with reader(server) as client:
            assert client.select("INBOX", readonly=True)[1] == [b"%d" % mailbox.letters], "a bounce"


def served(server: Shifted) -> x509.Certificate:
    """Give the certificate that a new connection meets."""
    host, port = server.address("imaps")
    return x509.load_pem_x509_certificate(ssl.get_server_certificate((host, port)).encode())


def test_r8_certificates_are_renewed_after_a_jump_with_and_without_a_restart(tmp_path: Path) -> None:
    with shifted(tmp_path, 0.0) as server:
        root, first = server.folder.joinpath("ca.pem").read_bytes(), served(server)
        server.set_clock(300 * DAY)
        # Who renews them writes the files: the running server follows when it is told, without a connection refused.
        assert ensure(Authority.at(server.folder), server.now())
        assert server.process is not None
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: served(server) != first, "the renewed certificate is not served")
        second = served(server)
        server.stop()
        server.set_clock(600 * DAY)
        server.start()
        third = served(server)
        moment = datetime.fromtimestamp(server.now(), UTC)
        assert third.not_valid_before_utc < moment < third.not_valid_after_utc
        assert first.not_valid_after_utc < second.not_valid_after_utc < third.not_valid_after_utc
        assert server.folder.joinpath("ca.pem").read_bytes() == root, "the root that people imported stays"
        with reader(server) as client:
            assert client.noop()[0] == "OK"
