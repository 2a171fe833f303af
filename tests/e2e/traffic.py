# SPDX-License-Identifier: Apache-2.0
"""Mail under marks, and whoever sends, keeps and reads it while a server is hurt: what was acknowledged is remembered, what is kept is judged.

A mark names a message and says how long it is, so that a torn one is known from the message alone.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import imaplib
import json
import os
import re
import signal
import smtplib
import socketserver
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol

import pytest

from tests.e2e.trial import Trial, descendants

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: looks into other processes")
LINE = 100
_MARK = re.compile(rb"^Subject: mark (\S+)\r\n", re.MULTILINE)


def message(mark: str, sender: str = "carol@friend.test") -> bytes:
    """Give the message of a mark ("...-z12": twelve lines of 100 octets), all of which follows from it."""
    lines = int(mark.rpartition("-z")[2])
    # Octets that no compression makes small: a large message shall be large on the disk too.
    text = base64.b64encode(hashlib.shake_128(mark.encode()).digest(lines * (LINE - 2) * 3 // 4 + 3))
    body = b"".join(text[start : start + LINE - 2] + b"\r\n" for start in range(0, lines * (LINE - 2), LINE - 2))
    return f"From: {sender}\r\nTo: all@example.test\r\nSubject: mark {mark}\r\n\r\n".encode() + body + f"end {mark}\r\n".encode()


def mark_of(kept: bytes) -> str:
    """Give the mark of a kept message, the empty text where it is torn or nobody's."""
    found = _MARK.search(kept)
    if not found:
        return ""
    mark = found[1].decode()
    body = message(mark).partition(b"\r\n\r\n")[2]
    return mark if kept.endswith(b"\r\n\r\n" + body) else ""


# ---------------------------------------------------------------- the tree


def roles(server: Trial) -> dict[str, list[int]]:
    """Give the pids of each role."""
    found: dict[str, list[int]] = {}
    for pid in descendants(server.pid):
        with contextlib.suppress(OSError):
            name = Path(f"/proc/{pid}/comm").read_text().strip()
            if name.startswith("moat:"):
                found.setdefault(name.removeprefix("moat:").partition("-")[0], []).append(pid)
    return found


def kill_role(server: Trial, role: str) -> list[int]:
    """Kill every process of a role; give their pids."""
    pids = roles(server).get(role, [])
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return pids


def moatmail(server: Trial, *arguments: str) -> str:
    """Run the command line beside the server; give what it printed."""
    command = [sys.executable, "-m", "moatmail.app.cli", *arguments, "--dir", str(server.folder)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


def settings(server: Trial, **values: str) -> None:
    """Set settings of the server; "__" stands for the dot."""
    for key, value in values.items():
        moatmail(server, "settings", "set", key.replace("__", "."), value)


def descriptors(pid: int) -> Counter[str]:
    """Give what a process holds open, numbers of sockets and pipes taken away."""
    found: Counter[str] = Counter()
    for one in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            found[re.sub(r"\[\d+\]", "", str(one.readlink()))] += 1
    return found


# ---------------------------------------------------------------- senders


@dataclass
class Sender:
    """Sends one message after the other over one connection after the other until told to stop; `acknowledged`: mark -> mailboxes it was for."""

    server: Trial
    name: str
    recipients: tuple[str, ...]
    lines: Callable[[int], int]
    account: int | None = None  # None: a stranger at port 25
    stop: threading.Event = field(default_factory=threading.Event)
    acknowledged: list[str] = field(default_factory=list)
    tried: list[str] = field(default_factory=list)
    refused: list[tuple[str, int, bytes]] = field(default_factory=list)

    def run(self) -> None:
        """Send until `stop`."""
        count = 0
        while not self.stop.is_set():
            try:
                with self._connect() as client:
                    while not self.stop.is_set():
                        count += 1
                        self.send_one(client, f"{self.name}-n{count}-z{self.lines(count)}")
            except (OSError, smtplib.SMTPException):
                self.stop.wait(0.01)

    def send_one(self, client: smtplib.SMTP, mark: str) -> bool:
        """Send one message; tells whether it was acknowledged."""
        author = self.author
        self.tried.append(mark)
        try:
            client.sendmail(author, self.recipients, message(mark, author))
        except smtplib.SMTPDataError as error:
            self.refused.append((mark, error.smtp_code, error.smtp_error if isinstance(error.smtp_error, bytes) else error.smtp_error.encode()))
            return False
        except smtplib.SMTPRecipientsRefused as error:
            code, text = next(iter(error.recipients.values()))
            self.refused.append((mark, code, text))
            return False
        self.acknowledged.append(mark)
        return True

    @property
    def author(self) -> str:
        """Give the reverse-path."""
        return "carol@friend.test" if self.account is None else self.server.account(self.account)[0]

    def _connect(self) -> smtplib.SMTP:
        if self.account is None:
            return smtplib.SMTP(*self.server.address("smtp"), "mail.friend.test", timeout=10)
        client = smtplib.SMTP_SSL(*self.server.address("submissions"), "client.test", timeout=10, context=self.server.tls())
        client.login(*self.server.account(self.account))
        return client

    connect = _connect


class Worker(Protocol):
    """Who works in a thread until told to stop."""

    stop: threading.Event

    def run(self) -> None:
        """Work until `stop`."""


@contextlib.contextmanager
def at_work(workers: Sequence[Worker]) -> Iterator[None]:
    """Have workers at work for the block, each in a thread."""
    threads = [threading.Thread(target=worker.run, daemon=True) for worker in workers]
    for worker, thread in zip(workers, threads, strict=True):
        worker.stop.clear()
        thread.start()
    try:
        yield
    finally:
        for worker in workers:
            worker.stop.set()
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive(), "a client hangs"


# ---------------------------------------------------------------- one who keeps mail


State = tuple[int, int, int, bool]
"""How often a message lies in the work mailbox, in the copies, in the archive; whether it is flagged where it lies first."""


@dataclass
class Keeper:
    """Appends, flags, copies, moves and expunges in mailboxes of its own; `allowed`: mark -> the states that its answers leave open."""

    server: Trial
    name: str
    account: int = 0
    stop: threading.Event = field(default_factory=threading.Event)
    allowed: dict[str, set[State]] = field(default_factory=dict)
    answered: Counter[str] = field(default_factory=Counter)
    uids: dict[str, int] = field(default_factory=dict)
    made: bool = False
    count: int = 0

    @property
    def boxes(self) -> tuple[str, str, str]:
        """Give its three mailboxes."""
        return f"{self.name}-work", f"{self.name}-copies", f"{self.name}-moved"

    def run(self) -> None:
        """Work until `stop`."""
        while not self.stop.is_set():
            try:
                with reader(self.server, self.account) as client:
                    self._prepare(client)
                    while not self.stop.is_set():
                        self.count += 1
                        self._one(client, f"{self.name}-n{self.count}-z{3 + self.count % 7 if self.count % 40 else 2600}")
            except (OSError, imaplib.IMAP4.error):
                self.stop.wait(0.01)

    def _prepare(self, client: imaplib.IMAP4) -> None:
        for box in self.boxes:
            if not self.made:
                client.create(box)
        self.made = True
        typed, _ = client.select(self.boxes[0])
        if typed != "OK":
            self.made = False
            raise imaplib.IMAP4.abort("cannot select")

    def _one(self, client: imaplib.IMAP4, mark: str) -> None:
        work, copies, moved = self.boxes
        state: State = (0, 0, 0, False)
        self._step(mark, state, state := (1, 0, 0, False))
        told = self._ask(client.append(work, "", "", message(mark)))
        self._done(mark, state, "append")
        uid = self.uids[mark] = int(told.split(b"APPENDUID")[1].split()[1].rstrip(b"]"))
        client.noop()
        self._step(mark, state, state := (1, 0, 0, True))
        self._ask(client.uid("STORE", str(uid), "+FLAGS.SILENT", r"(\Flagged held)"))
        self._done(mark, state, "store")
        self._step(mark, state, state := (1, 1, 0, True))
        self._ask(client.uid("COPY", str(uid), copies))
        self._done(mark, state, "copy")
        if self.count % 2:
            self._step(mark, state, state := (0, 1, 1, True))
            self._ask(client.uid("MOVE", str(uid), moved))
            self._done(mark, state, "move")
        else:
            self._ask(client.uid("STORE", str(uid), "+FLAGS.SILENT", r"(\Deleted)"))
            self._step(mark, state, state := (0, 1, 0, True))
            self._ask(client.uid("EXPUNGE", str(uid)))
            self._done(mark, state, "expunge")

    def _step(self, mark: str, before: State, after: State) -> None:
        self.allowed[mark] = {before, after}

    def _done(self, mark: str, state: State, what: str) -> None:
        self.allowed[mark] = {state}
        self.answered[what] += 1

    def _ask(self, answer: tuple[str, list[bytes]] | tuple[str, list[object]]) -> bytes:
        typed, data = answer
        if typed != "OK":
            raise imaplib.IMAP4.abort(f"{typed} {data!r}")
        first = data[0]
        return first if isinstance(first, bytes) else b""

    def judge(self) -> list[str]:
        """Give what is not as the answers say."""
        found: dict[str, list[int]] = {}
        flagged: dict[str, bool] = {}
        wrong: list[str] = []
        with reader(self.server, self.account) as client:
            for place, box in enumerate(self.boxes):
                for uid, flags, kept in all_of(client, box):
                    mark = mark_of(kept)
                    if mark not in self.allowed:
                        wrong.append(f"{box} {uid}: torn or nobody's: {kept[:200]!r}")
                        continue
                    found.setdefault(mark, [0, 0, 0])[place] += 1
                    flagged[mark] = flagged.get(mark, True) and b"\\Flagged" in flags and b"held" in flags
                    if place == 0 and mark in self.uids and self.uids[mark] != uid:
                        wrong.append(f"{mark}: UID {uid}, told as {self.uids[mark]}")
        for mark, allowed in self.allowed.items():
            one, two, three = found.get(mark, [0, 0, 0])
            if (one, two, three, flagged.get(mark, False)) not in allowed:
                wrong.append(f"{mark}: {(one, two, three, flagged.get(mark, False))}, allowed {allowed}")
        return wrong


# ---------------------------------------------------------------- readers


@contextlib.contextmanager
def reader(server: Trial, account: int = 0) -> Iterator[imaplib.IMAP4]:
    """Log in over implicit TLS."""
    client = imaplib.IMAP4_SSL(*server.address("imaps"), ssl_context=server.tls(), timeout=60)
    try:
        client.login(*server.account(account))
        yield client
        client.logout()
    finally:
        with contextlib.suppress(OSError):
            client.shutdown()


_FETCHED = re.compile(rb"UID (\d+) FLAGS \(([^)]*)\)")


def all_of(client: imaplib.IMAP4, box: str = "INBOX") -> list[tuple[int, bytes, bytes]]:
    """Give UID, flags and octets of every message of a mailbox."""
    typed, (exists,) = client.select(box, readonly=True)
    if typed != "OK" or not int(exists or b"0"):
        return []
    _, answers = client.fetch("1:*", "(UID FLAGS BODY.PEEK[])")
    found = []
    for answer in answers:
        if isinstance(answer, tuple):
            head = _FETCHED.search(answer[0])
            assert head, answer[0]
            found.append((int(head[1]), head[2], answer[1]))
    assert len(found) == int(exists or b"0"), "not every message was served"
    return found


def kept_marks(server: Trial, account: int = 0, box: str = "INBOX") -> Counter[str]:
    """Count the whole messages of a mailbox by mark; torn ones have the empty mark."""
    with reader(server, account) as client:
        return Counter(mark_of(octets) for _uid, _flags, octets in all_of(client, box))


# ---------------------------------------------------------------- the peer elsewhere


class Peer(socketserver.ThreadingTCPServer):
    """A mail host elsewhere that takes everything; `taken`: mark -> for each copy the moments (monotonic) at which it said 354 and 250.

    While it is `busy` it puts every recipient off; `tried`: how often each recipient was tried.
    """

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _PeerSession)
        self.taken: dict[str, list[tuple[float, float]]] = {}
        self.torn: list[bytes] = []
        self.busy = False
        self.tried: Counter[str] = Counter()
        self.lock = threading.Lock()
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def port(self) -> int:
        """Give its port."""
        return int(self.server_address[1])

    def take(self, content: bytes, asked: float) -> None:
        """Note that this content is about to be acknowledged."""
        with self.lock:
            mark = mark_of(content)
            if mark:
                self.taken.setdefault(mark, []).append((asked, time.monotonic()))
            else:
                self.torn.append(content)


class _PeerSession(socketserver.StreamRequestHandler):
    _ANSWERS: ClassVar = {b"EHLO": b"250-peer.test\r\n250 8BITMIME\r\n", b"DATA": b"354 go on\r\n", b"QUIT": b"221 bye\r\n"}

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            self._talk()

    def _talk(self) -> None:
        self.wfile.write(b"220 peer.test ESMTP\r\n")
        while line := self.rfile.readline():
            verb, asked = line[:4].upper(), time.monotonic()
            self.wfile.write(self._recipient(line) if verb == b"RCPT" else self._ANSWERS.get(verb, b"250 ok\r\n"))
            if verb == b"QUIT":
                return
            if verb == b"DATA" and not self._content(asked):
                return

    def _recipient(self, line: bytes) -> bytes:
        peer = self.server
        assert isinstance(peer, Peer)
        with peer.lock:
            peer.tried[line.partition(b"<")[2].partition(b">")[0].decode()] += 1
        return b"451 4.2.1 come again\r\n" if peer.busy else b"250 ok\r\n"

    def _content(self, asked: float) -> bool:
        lines = []
        while (line := self.rfile.readline()) != b".\r\n":
            if not line:
                return False
            lines.append(line.removeprefix(b"."))
        peer = self.server
        assert isinstance(peer, Peer)
        peer.take(b"".join(lines), asked)
        self.wfile.write(b"250 taken\r\n")
        return True


# ---------------------------------------------------------------- strace


@contextlib.contextmanager
def strace(pids: Sequence[int], arguments: Sequence[str], log: Path) -> Iterator[None]:
    """Have strace on processes and all their threads for the block; entered when it is attached."""
    log.unlink(missing_ok=True)
    command = ["strace", "-f", "-y", "-o", str(log), *arguments, *[part for pid in pids for part in ("-p", str(pid))]]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    wanted = {str(thread.name) for pid in pids for thread in Path(f"/proc/{pid}/task").iterdir()}
    for line in process.stderr:
        # "strace: Process 12 attached" or "... attached with 3 threads"
        found = re.search(r"Process (\d+) attached", line)
        assert found, line
        wanted -= {found[1]} if "with" not in line else {thread.name for thread in Path(f"/proc/{found[1]}/task").iterdir()}
        if not wanted:
            break
    drain = threading.Thread(target=process.stderr.read, daemon=True)
    drain.start()
    try:
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(20)
        drain.join(5)


def report(name: str, **figures: object) -> None:
    """Print the figures of a proof, and add them to the file that MOATMAIL_FIGURES names."""
    line = json.dumps({"proof": name, **figures})
    print(line)  # noqa: T201 - pytest shows it with -s
    if path := os.environ.get("MOATMAIL_FIGURES"):
        with Path(path).open("a") as file:
            file.write(line + "\n")
