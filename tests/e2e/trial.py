# SPDX-License-Identifier: Apache-2.0
"""A trial server of its own for a test: started on free ports in an empty folder, ended by process id."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

OFFSETS = (25, 587, 465, 143, 993, 110, 995)
LOWEST_BASE, HIGHEST_BASE = 10_000, 31_000
START_SECONDS = 90.0
STOP_SECONDS = 40.0


def free_base() -> int:
    """Give a base such that base + 25, 587, 465, 143, 993, 110 and 995 can be bound now.

    All lie below the ports that the kernel gives to connections: no client of another test has one when the server binds, or binds again after a kill.
    """
    for number in range(40):
        base = LOWEST_BASE + (os.getpid() * 7 + number * 1009) % (HIGHEST_BASE - LOWEST_BASE)
        with contextlib.ExitStack() as stack:
            try:
                for offset in OFFSETS:
                    sock = stack.enter_context(socket.socket())
                    sock.bind(("127.0.0.1", base + offset))
            except OSError:
                continue
            return base
    raise RuntimeError("no free ports")


@dataclass
class Trial:
    """One `moatmail try`: `facts` is what it wrote into try.json; `log` what it printed."""

    folder: Path
    arguments: Sequence[str] = ()
    base: int = field(default_factory=free_base)
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[str] | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)

    def command(self) -> list[str]:
        """Give the command line."""
        return [sys.executable, "-m", "moatmail.app.cli", "try", "--dir", str(self.folder), "--base-port", str(self.base), *self.arguments]

    def start(self) -> Trial:
        """Start and wait until every listener accepts (try.json is written then)."""
        facts = self.folder / "try.json"
        with contextlib.suppress(FileNotFoundError):
            facts.replace(self.folder / "keys" / "try.json")  # as the next start does itself: its presence says that all listeners accept
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", **self.environment}
        self.process = subprocess.Popen(self.command(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
        threading.Thread(target=self._read, args=(self.process,), daemon=True).start()
        until = time.monotonic() + START_SECONDS
        while not facts.exists():
            if self.process.poll() is not None or time.monotonic() > until:
                raise RuntimeError("the trial server did not start:\n" + "".join(self.log))
            time.sleep(0.02)
        self.facts = json.loads(facts.read_text())
        return self

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self.log.extend(process.stdout)

    def stop(self) -> int:
        """End it as Ctrl-C does and give its exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def kill(self) -> None:
        """Kill the whole tree at once, as a power cut would end it."""
        assert self.process is not None
        for pid in (self.process.pid, *descendants(self.process.pid)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(STOP_SECONDS)

    @property
    def pid(self) -> int:
        """Give the supervisor's process id."""
        assert self.process is not None
        return self.process.pid

    def address(self, service: str) -> tuple[str, int]:
        """Give host and port of "smtp", "submission", "submissions", "imap", "imaps", "pop3" or "pop3s"."""
        host, _, port = self.facts[service].rpartition(":")
        return host, int(port)

    def account(self, number: int = 0) -> tuple[str, str]:
        """Give address and password of an account."""
        one = self.facts["accounts"][number]
        return one["address"], one["password"]

    @property
    def ca(self) -> str:
        """Give the path of the trial's CA certificate."""
        path = Path(self.facts["ca"])
        return str(path if path.is_absolute() else self.folder / path)

    def tls(self) -> ssl.SSLContext:
        """Give a client context that trusts the trial's CA alone."""
        return ssl.create_default_context(cafile=self.ca)


def descendants(pid: int) -> list[int]:
    """Give all living descendants of a process."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, IndexError, ValueError):
            children.setdefault(int(stat.read_text().rsplit(")", 1)[1].split()[1]), []).append(int(stat.parent.name))
    found: list[int] = []
    todo = [pid]
    while todo:
        found.extend(mine := children.get(todo.pop(), []))
        todo.extend(mine)
    return found


@contextlib.contextmanager
def trial(folder: Path, *arguments: str, **environment: str) -> Iterator[Trial]:
    """Run a trial server for the block; it is ended in order, or killed when that takes too long."""
    server = Trial(folder, arguments, environment=environment).start()
    try:
        yield server
    finally:
        if server.process is not None and server.process.poll() is None:
            server.stop()
