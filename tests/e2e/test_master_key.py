# SPDX-License-Identifier: Apache-2.0
"""The master key is in one process alone; no process gives its memory away, carries a secret in its arguments, or may ask the store for what is not its own."""

from __future__ import annotations

import asyncio
import base64
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from moatmail.core.errors import NotPermittedError
from moatmail.store import frames
from moatmail.store import queries as q
from moatmail.store.channel import SOCKET, ChannelStore
from moatmail.store.frames import ASKED
from moatmail.store.operations import OpenAccount
from moatmail.store.permissions import TABLE
from tests.e2e.damaged import vault_of
from tests.e2e.traffic import Sender, kill_role, moatmail, needs_root, reader, report, roles
from tests.e2e.trial import Trial, descendants


@pytest.fixture(scope="module")
def busy(server: Trial) -> Trial:
    """A server whose every role has worked: logins, mail in and out, an account made, a store that was killed."""
    for account, to in ((None, server.account(1)[0]), (0, server.account(1)[0]), (1, "dave@elsewhere.test")):
        sender = Sender(server, "key", (to,), lambda _count: 1, account=account)
        with sender.connect() as client:
            for number in range(5):
                assert sender.send_one(client, f"key-n{number}-z20")
    with reader(server, 1) as imap:
        imap.select("INBOX")
        imap.fetch("1:*", "(BODY.PEEK[])")
    password = ["account", "add", "ann@example.test", "--password-stdin", "--dir", str(server.folder)]
    subprocess.run([sys.executable, "-m", "moatmail.app.cli", *password], input="correct horse battery staple\n", text=True, check=True, timeout=30)
    kill_role(server, "store")
    time.sleep(1.0)
    moatmail(server, "account", "list")
    return server


def processes(server: Trial) -> dict[str, list[int]]:
    """Give the processes by role, with the supervisor, and whatever else descends from it."""
    named = {**roles(server), "supervisor": [server.pid]}
    known = {pid for pids in named.values() for pid in pids}
    rest = [pid for pid in descendants(server.pid) if pid not in known]
    return {**named, "other": rest} if rest else named


def memory(pid: int) -> Iterator[bytes]:
    """Give the readable memory of a process, piece by piece."""
    with Path(f"/proc/{pid}/mem").open("rb", 0) as file:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, rights = line.split()[:2]
            if not rights.startswith("r") or "[v" in line:
                continue
            start, end = (int(one, 16) for one in span.split("-"))
            try:
                file.seek(start)
                yield file.read(end - start)
            except OSError:
                continue


def holders(server: Trial, *needles: bytes) -> set[str]:
    """Give the roles whose memory has any of the needles."""
    return {role for role, pids in processes(server).items() for pid in pids if any(needle in piece for piece in memory(pid) for needle in needles)}


def spelled(key: bytes) -> tuple[bytes, ...]:
    """Give a key as it may be written."""
    return key, key.hex().encode(), key.hex().upper().encode(), base64.b64encode(key)[:40], key[:16], key[16:]


@needs_root
def test_the_master_key_is_in_the_memory_of_the_store_alone(busy: Trial) -> None:
    key = (busy.folder / "keys" / "master.key").read_bytes()
    found = holders(busy, *spelled(key))
    report("master key", processes=sum(map(len, processes(busy).values())), holders=sorted(found))
    assert found == {"store"}


@needs_root
@pytest.mark.parametrize(
    ("name", "wanted"),
    [("mail", {"store", "access", "back"}), ("keys", {"store"}), ("soft", {"store"})],
)
def test_a_database_key_is_with_those_that_read_it(busy: Trial, name: str, wanted: set[str]) -> None:
    key = vault_of(busy.folder).database_key(name)
    assert holders(busy, key, key.hex().encode()) == wanted


@needs_root
def test_the_search_of_memory_finds_what_is_there() -> None:
    words = os.urandom(32)
    process = subprocess.Popen(
        [sys.executable, "-c", "import sys; kept = sys.stdin.buffer.read(); print(flush=True); sys.stdout.close(); import time; time.sleep(60)"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(words)
    process.stdin.close()
    process.stdout.readline()
    try:
        assert any(words in piece for piece in memory(process.pid))
    finally:
        process.kill()
        process.wait()


@needs_root
def test_no_secret_is_in_arguments_or_environment(busy: Trial) -> None:
    secrets = [*spelled((busy.folder / "keys" / "master.key").read_bytes()), *(account["password"].encode() for account in busy.facts["accounts"])]
    for name in ("mail", "keys", "soft"):
        secrets += spelled(vault_of(busy.folder).database_key(name))
    for pids in processes(busy).values():
        for pid in pids:
            said = Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes()
            assert [secret for secret in secrets if secret in said] == []


@needs_root
def test_no_process_may_write_a_core_file(busy: Trial) -> None:
    for role, pids in processes(busy).items():
        for pid in pids:
            limits = Path(f"/proc/{pid}/limits").read_text()
            (line,) = [line for line in limits.splitlines() if line.startswith("Max core file size")]
            assert line.split()[4:6] == ["0", "0"], role


PLAIN = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
READER = """
import sys
for pid in sys.argv[1:]:
    try:
        open(f"/proc/{pid}/mem", "rb").close()
        print("read")
    except OSError as error:
        print(error.strerror)
"""


class Unprivileged(Trial):
    """A trial started as an ordinary user's would be: without any capability."""

    def command(self) -> list[str]:
        """Give the command line."""
        return [*PLAIN, *super().command()]


@needs_root
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv")
def test_no_process_can_be_read_by_another_of_its_user(tmp_path: Path) -> None:
    """Without privileges a process of our user reads its plain neighbour's memory, and none of ours."""
    server = Unprivileged(tmp_path / "moatmail-try").start()
    neighbour = subprocess.Popen([*PLAIN, "sleep", "60"])
    try:
        ours = {pid: role for role, pids in processes(server).items() for pid in pids}
        asked = [str(pid) for pid in (neighbour.pid, *ours)]
        told = subprocess.run([*PLAIN, sys.executable, "-c", READER, *asked], capture_output=True, text=True, check=True, timeout=20).stdout.splitlines()
    finally:
        neighbour.kill()
        neighbour.wait()
        server.stop()
    assert told[0] == "read", "the proof needs a neighbour that can be read"
    assert dict(zip(ours.values(), told[1:], strict=True)) == dict.fromkeys(ours.values(), "Permission denied")


@needs_root
def test_no_role_can_gain_a_privilege(busy: Trial) -> None:
    for role, pids in roles(busy).items():
        for pid in pids:
            assert "NoNewPrivs:\t1" in Path(f"/proc/{pid}/status").read_text().splitlines(), role


# ---------------------------------------------------------------- role × operation, asked on a role's own channel


def blank(kind: Any) -> Any:  # noqa: ANN401 - a value of any type
    """Give a value of a type that decodes: empty, nought, none."""
    match msgspec.inspect.type_info(kind) if not isinstance(kind, msgspec.inspect.Type) else kind:
        case msgspec.inspect.StructType() as struct:
            return struct.cls(*[blank(one.type) for one in struct.fields])
        case msgspec.inspect.UnionType() as union:
            return None if any(isinstance(one, msgspec.inspect.NoneType) for one in union.types) else blank(union.types[0])
        case msgspec.inspect.VarTupleType():
            return ()
        case msgspec.inspect.TupleType() as fixed:
            return tuple(map(blank, fixed.item_types))
        case msgspec.inspect.DictType():
            return {}
        case found:
            return {"IntType": 0, "FloatType": 0.0, "BytesType": b"", "StrType": "", "BoolType": False}[type(found).__name__]


class Hijacked:
    """A role's own connection to the store, taken over while the role is stopped: the store still sees the role's pid at its end."""

    def __init__(self, pid: int) -> None:
        os.kill(pid, signal.SIGSTOP)
        self.pid = pid
        self._pidfd = os.pidfd_open(pid)
        self.socket = next(found for found in map(self._take, self._sockets()) if found is not None)
        self._number = 1 << 40
        self._unpacker = frames.Unpacker()

    def _sockets(self) -> list[int]:
        return [int(one.name) for one in Path(f"/proc/{self.pid}/fd").iterdir() if str(one.readlink()).startswith("socket:")]

    def _take(self, number: int) -> socket.socket | None:
        """Take a descriptor of the process (pidfd_getfd is call 438); None for any other than the channel."""
        taken = ctypes.CDLL(None, use_errno=True).syscall(438, self._pidfd, number, 0)
        assert taken >= 0, os.strerror(ctypes.get_errno())
        found = socket.socket(fileno=taken)
        if found.family == socket.AF_UNIX and found.type == socket.SOCK_STREAM and str(found.getpeername()).endswith(SOCKET):
            return found
        found.close()
        return None

    def ask(self, asked: object) -> object:
        """Ask the store in the role's name; give its answer's octets, or raise what it answers."""
        self._number += 1
        self.socket.setblocking(True)
        self.socket.settimeout(5)
        self.socket.sendall(frames.pack(self._number, frames.ASK, asked))
        while True:
            octets = self.socket.recv(65536)
            if not octets:
                raise ConnectionResetError("the store closed the channel")
            for frame in self._unpacker.feed(octets):
                if frame.number == self._number:
                    if frame.kind == frames.ANSWER:
                        return bytes(frame.body)
                    raise frames.read_failure(frame.body)

    def release(self) -> None:
        """Let the role go on."""
        self.socket.setblocking(False)
        self.socket.close()
        os.close(self._pidfd)
        os.kill(self.pid, signal.SIGCONT)


async def journal(server: Trial) -> list[str]:
    """Give the journal's entries as the command line's role may read them."""
    store = ChannelStore(server.folder / "run")
    try:
        return [f"{row.who}: {row.what}" for row in await store.read(q.ListJournal(500))]
    finally:
        await store.close()


@needs_root
@pytest.mark.parametrize("role", ["mx", "access", "back"])
def test_a_role_that_asks_outside_its_row_is_refused_and_journaled_on_the_live_server(own_server: Trial, role: str) -> None:
    """Every operation outside the row, asked on the role's own connection; the role itself goes on afterwards."""
    outside = [kind for kind in ASKED if kind.__name__ not in TABLE[role]]
    hijacked = Hijacked(roles(own_server)[role][0])
    try:
        for kind in outside:
            with pytest.raises(NotPermittedError):
                hijacked.ask(blank(kind))
        if role == "mx":
            with pytest.raises(NotPermittedError):
                hijacked.ask(OpenAccount(1, "curious", time.time()))
        if role != "back":
            with pytest.raises(NotPermittedError):
                hijacked.ask(q.GetQueueKeys(private=True))
        assert hijacked.ask(q.GetSettings())
    finally:
        hijacked.release()
    missing, end = ["all"], time.monotonic() + 3
    while missing and time.monotonic() < end:  # the refusal does not wait for its journal entry
        entries = asyncio.run(journal(own_server))
        missing = [kind.__name__ for kind in outside if not any(f"{role}: asked for {kind.__name__}," in entry for entry in entries)]
    assert missing == []
    report("role × operation", role=role, refused=len(outside), journaled=len(outside) - len(missing))
    assert sum(f"role {role} asked for" in line and "ALERT" in line for line in own_server.log) >= len(outside)
    sender = Sender(own_server, "role", (own_server.account(1)[0],), lambda _count: 1, account=None if role == "mx" else 0)
    with sender.connect() as client:
        assert sender.send_one(client, "role-after-z4")


@needs_root
def test_a_child_of_a_role_is_nobody_and_a_stranger_of_the_machine_is_the_command_line(busy: Trial) -> None:
    async def ask(asked: q.Query[Any]) -> object:
        store = ChannelStore(busy.folder / "run")
        try:
            return await store.read(asked)
        finally:
            await store.close()

    assert asyncio.run(ask(q.ListAccounts()))
    for forbidden in (q.GetDatabaseKey(), q.GetQueueKeys(private=True)):
        with pytest.raises(NotPermittedError):
            asyncio.run(ask(forbidden))
