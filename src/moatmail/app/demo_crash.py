# SPDX-License-Identifier: Apache-2.0
"""`moatmail demo crash`: kills a server again and again while mail comes in, and counts what was lost.

Obeys RFC 5321 §6.1 (what was answered with 250 is kept), RFC 3501 (it is counted through IMAP, as a reader would).
Must never touch a folder that it did not make.
"""

from __future__ import annotations

import contextlib
import imaplib
import json
import os
import re
import shutil
import signal
import smtplib
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from moatmail.app.random import new_random
from moatmail.core.errors import ConfigError, TemporaryError
from moatmail.core.settings.start import USUAL_PORTS
from moatmail.net.port import claim
from moatmail.net.tls import verified

SENDERS: Final = 4
START_SECONDS: Final = 30.0
_LIVES: Final = (0.3, 1.5)
"""Seconds of traffic before a kill, from and to."""
_LOOPBACK: Final = "127.0.0.1"
_NUMBER: Final = re.compile(rb"Subject: crash (\d+-\d+-\d+)")
_RECIPIENT: Final = "bob@example.test"


@dataclass(frozen=True, slots=True)
class Round:
    """One life of the server: its number, how many messages were acknowledged in it, after how many seconds it was killed."""

    number: int
    acknowledged: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Result:
    """The end: messages acknowledged, lost, kept more than once, torn (not whole), and kept without an acknowledgement (allowed: 0 or 1 copy)."""

    rounds: int
    acknowledged: int
    lost: int
    doubled: int
    torn: int
    unacknowledged: int

    @property
    def good(self) -> bool:
        """Tell whether the promise held."""
        return not (self.lost or self.doubled or self.torn)


@dataclass(slots=True)
class _Server:
    """A trial server in a folder of ours."""

    folder: Path
    base: int
    process: subprocess.Popen[bytes] | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    def start(self) -> None:
        facts = self.folder / "try.json"
        facts.unlink(missing_ok=True)
        command = [sys.executable, "-P", "-m", "moatmail.app.cli", "try", "--dir", str(self.folder), "--base-port", str(self.base), "-q"]
        # A session of its own: one signal to the group is the power cut of all its processes.
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)  # noqa: S603 - our own program
        until = time.monotonic() + START_SECONDS
        while not facts.exists():
            if self.process.poll() is not None or time.monotonic() > until:
                raise TemporaryError(public=f"the demo's server did not start: {self._complaint()}")
            time.sleep(0.02)
        self.facts = json.loads(facts.read_bytes())

    def _complaint(self) -> str:
        if self.process is None or self.process.stderr is None or self.process.poll() is None:
            return "it took too long; is this machine very busy?"
        return self.process.stderr.read().decode(errors="replace").strip().rpartition("\n")[2]

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def port(self, service: str) -> int:
        return int(self.facts[service].rpartition(":")[2])


@dataclass(slots=True)
class _Sender:
    """One connection after the other, one message after the other, until the server is gone; remembers what got a 250."""

    port: int
    mark: str
    stop: threading.Event
    acknowledged: list[str] = field(default_factory=list)

    def run(self) -> None:
        count = 0
        while not self.stop.is_set():
            try:
                with smtplib.SMTP(_LOOPBACK, self.port, "client.example.test", timeout=5) as client:
                    while not self.stop.is_set():
                        number = f"{self.mark}-{count}"
                        count += 1
                        client.sendmail("carol@sender.test", [_RECIPIENT], _message(number))
                        self.acknowledged.append(number)
            except (OSError, smtplib.SMTPException):
                time.sleep(0.01)


def _message(number: str) -> bytes:
    body = f"whole-{number}\r\n" * 40
    return f"From: carol@sender.test\r\nTo: {_RECIPIENT}\r\nSubject: crash {number}\r\n\r\n{body}".encode()


def run(rounds: int, tell: Callable[[Round], None]) -> Result:
    """Play `rounds` lives of a server and count at the end; `tell` hears of each. Raises ConfigError, TemporaryError."""
    with _folder() as folder:
        server = _Server(folder, _free_base())
        acknowledged: list[str] = []
        try:
            for number in range(1, rounds + 1):
                acknowledged += _live(server, number, tell)
            server.start()
            kept = _read_all(server)
        finally:
            server.kill()
    return _count(rounds, acknowledged, kept)


def _live(server: _Server, number: int, tell: Callable[[Round], None]) -> list[str]:
    """Start, let the senders run, kill everything at once; give what was acknowledged."""
    server.start()
    stop = threading.Event()
    senders = [_Sender(server.port("smtp"), f"{number}-{place}", stop) for place in range(SENDERS)]
    threads = [threading.Thread(target=sender.run, daemon=True) for sender in senders]
    for thread in threads:
        thread.start()
    seconds = new_random().uniform(*_LIVES)
    time.sleep(seconds)
    server.kill()
    stop.set()
    for thread in threads:
        thread.join(10)
    got = [number for sender in senders for number in sender.acknowledged]
    tell(Round(number, len(got), seconds))
    return got


def _read_all(server: _Server) -> list[bytes]:
    """Give every message of the recipient, through IMAP."""
    authorities = Path(server.facts["ca"])
    context = verified((authorities if authorities.is_absolute() else server.folder / authorities).read_bytes())
    secret = next(one["password"] for one in server.facts["accounts"] if one["address"] == _RECIPIENT)
    with imaplib.IMAP4_SSL(_LOOPBACK, server.port("imaps"), ssl_context=context, timeout=60) as client:
        client.login(_RECIPIENT, secret)
        _, (exists,) = client.select("INBOX", readonly=True)
        if not int(exists or b"0"):
            return []
        _, answers = client.fetch("1:*", "(BODY.PEEK[])")
    return [answer[1] for answer in answers if isinstance(answer, tuple)]


def _count(rounds: int, acknowledged: list[str], kept: list[bytes]) -> Result:
    found: Counter[str] = Counter()
    torn = 0
    for message in kept:
        match = _NUMBER.search(message)
        number = match[1].decode() if match else ""
        if not message.endswith(_message(number)):
            torn += 1
        found[number] += 1
    lost = sum(1 for number in acknowledged if not found[number])
    doubled = sum(1 for number in acknowledged if found[number] > 1)
    return Result(rounds, len(acknowledged), lost, doubled, torn, len(kept) - len(acknowledged) + lost - doubled)


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    try:
        made = Path(tempfile.mkdtemp(prefix="moatmail-demo-"))
    except OSError as error:
        raise ConfigError(f"no throw-away folder can be made ({error.strerror}); free some space or set TMPDIR") from None
    try:
        yield made / "trial"
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _free_base() -> int:
    """Give a base of ports that are free now."""
    for base in range(30000, 60000, 1000):
        try:
            for offset in USUAL_PORTS.values():
                claim(_LOOPBACK, base + offset)
        except ConfigError:
            continue
        return base
    raise ConfigError("no free ports for the demo's server; stop something that listens on ports above 30000")
