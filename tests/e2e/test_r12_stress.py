# SPDX-License-Identifier: Apache-2.0
"""R12: many clients on the same mailboxes, each keeping its state as a strict client does, with processes killed in between."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
import signal
import time
from collections.abc import Iterable
from pathlib import Path

from tests.e2e.trial import Trial, descendants

CLIENTS = int(os.environ.get("MOATMAIL_STRESS_CLIENTS", "12"))
SECONDS = float(os.environ.get("MOATMAIL_STRESS_SECONDS", "20"))
BOXES = ("INBOX", "Archive")
FLAGS = ("\\Seen", "\\Flagged", "\\Answered", "\\Deleted", "$Work")
_EXISTS = re.compile(rb"\* (\d+) EXISTS\r\n")
_EXPUNGE = re.compile(rb"\* (\d+) EXPUNGE\r\n")
_VANISHED = re.compile(rb"\* VANISHED (\(EARLIER\) )?([\d:,]+)\r\n")
_FETCH = re.compile(rb"\* (\d+) FETCH \((.*)\)\r\n", re.DOTALL)
_UID = re.compile(rb"\bUID (\d+)")
_FLAGS = re.compile(rb"FLAGS \(([^)]*)\)")
_MODSEQ = re.compile(rb"MODSEQ \((\d+)\)")
_HIGHEST = re.compile(rb"\[HIGHESTMODSEQ (\d+)\]")
_VALIDITY = re.compile(rb"\[UIDVALIDITY (\d+)\]")
_NAMED = re.compile(rb"Message-ID: <([^>]+)>", re.IGNORECASE)
_LITERAL = re.compile(rb"\{(\d+)\}\r\n$")


class Shared:
    """What all clients together know: which message a UID is, and which names were kept for certain."""

    def __init__(self) -> None:
        self.names: dict[tuple[str, int, int], bytes] = {}
        self.validity: dict[str, int] = {}
        self.commands = self.reconnects = 0


class Strict:
    """A client that believes what it is told and nothing else."""

    def __init__(self, server: Trial, shared: Shared, number: int) -> None:
        self.server, self.shared, self.number = server, shared, number
        self.random = random.Random(number)
        self.qresync = number % 2 == 0
        self.box = ""
        self.uids: list[int | None] = []
        self.flags: dict[int, frozenset[bytes]] = {}
        self.modseq = 0
        self.tag = 0
        self.appended = 0
        self.trace: list[str] = []

    async def connect(self) -> None:
        host, port = self.server.address("imaps")
        self.reader, self.writer = await asyncio.open_connection(host, port, ssl=self.server.tls(), server_hostname="localhost", limit=2**24)
        await self.reader.readuntil(b"\r\n")
        address, password = self.server.account(0)
        await self.say(f'LOGIN {address} "{password}"')
        await self.say("ENABLE QRESYNC" if self.qresync else "ENABLE CONDSTORE")
        await self.select(self.random.choice(BOXES))

    async def response(self) -> bytes:
        whole = b""
        while True:
            piece = await asyncio.wait_for(self.reader.readuntil(b"\r\n"), 30)
            whole += piece
            found = _LITERAL.search(piece)
            if found is None:
                return whole
            whole += await asyncio.wait_for(self.reader.readexactly(int(found[1])), 30)

    async def say(self, command: str, *, literal: bytes = b"") -> bytes:
        """Say a command, take in what comes, give the tagged line."""
        self.tag += 1
        tag = b"c%d" % self.tag
        self.writer.write(tag + b" " + command.encode() + b"\r\n" + (literal + b"\r\n" if literal else b""))
        self.shared.commands += 1
        self.trace.append(command[:60])
        while not (line := await self.response()).startswith(tag + b" "):
            self.trace.append(f"{line[:70]!r} {len(self.uids)}")
            self.hear(line, command)
        assert not line.startswith(tag + b" BAD"), (command, line)
        self.highest(line)
        return line

    def hear(self, line: bytes, command: str) -> None:
        if (found := _EXISTS.fullmatch(line)) is not None:
            count = int(found[1])
            assert count >= len(self.uids), ("EXISTS fell without EXPUNGE", line, len(self.uids))
            self.uids += [None] * (count - len(self.uids))
        elif (found := _EXPUNGE.fullmatch(line)) is not None:
            assert not command.startswith(("FETCH", "STORE", "SEARCH")), ("EXPUNGE during", command)
            assert not self.qresync, "EXPUNGE where VANISHED was asked for"
            number = int(found[1])
            assert 1 <= number <= len(self.uids), (line, len(self.uids))
            gone = self.uids.pop(number - 1)
            if gone is not None:
                self.flags.pop(gone, None)
        elif (found := _VANISHED.fullmatch(line)) is not None:
            assert not command.startswith(("FETCH", "STORE", "SEARCH")), ("VANISHED during", command)
            self.vanish(found[2])
        elif (found := _FETCH.fullmatch(line)) is not None:
            self.fetched(int(found[1]), found[2])
        else:
            self.highest(line)

    def vanish(self, ranges: bytes) -> None:
        gone: set[int] = set()
        for part in ranges.split(b","):
            first, _, last = part.partition(b":")
            gone.update(range(int(first), int(last or first) + 1))
        for uid in sorted(gone.difference(self.uids)):  # it came and went before its UID was asked for: it stood behind the lower ones
            place = max((place for place, known in enumerate(self.uids) if known is not None and known < uid), default=-1) + 1
            assert place < len(self.uids), ("VANISHED of a message that was never told", ranges)
            assert self.uids.pop(place) is None, ("VANISHED of a message that was never told", ranges)
        self.uids = [uid for uid in self.uids if uid not in gone]
        for uid in gone:
            self.flags.pop(uid, None)

    def fetched(self, number: int, items: bytes) -> None:
        assert 1 <= number <= len(self.uids), (number, len(self.uids), items[:80])
        if (found := _UID.search(items)) is not None:
            uid = int(found[1])
            known = self.uids[number - 1]
            assert known in (None, uid), ("a number is another message", number, known, uid, self.trace[-20:])
            self.uids[number - 1] = uid
            key = self.box, self.shared.validity[self.box], uid
            if (named := _NAMED.search(items)) is not None:
                assert self.shared.names.setdefault(key, named[1]) == named[1], ("a UID was given twice", key)
        known = self.uids[number - 1]
        if known is not None and (told := _FLAGS.search(items)) is not None:
            self.flags[known] = frozenset(told[1].split()) - {b"\\Recent"}

    def highest(self, line: bytes) -> None:
        if (found := _HIGHEST.search(line)) is not None:
            assert int(found[1]) >= self.modseq, ("HIGHESTMODSEQ went back", line, self.modseq)
            self.modseq = int(found[1])
        if (found := _VALIDITY.search(line)) is not None:
            assert self.shared.validity.setdefault(self.box, int(found[1])) == int(found[1]), ("UIDVALIDITY changed", line)

    async def select(self, box: str) -> None:
        self.box, self.uids, self.flags, self.modseq = box, [], {}, 0
        await self.say(f"SELECT {box}")
        await self.learn()

    async def learn(self) -> None:
        """Ask for UIDs of numbers that came without."""
        if self.uids:
            await self.say("UID FETCH 1:* (UID FLAGS BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])")
            rising = [uid for uid in self.uids if uid is not None]
            assert rising == sorted(set(rising)), "UIDs do not rise with numbers"

    async def act(self) -> None:
        rnd, count = self.random, len(self.uids)
        number = rnd.randrange(1, count + 1) if count else 0
        choice = rnd.randrange(12)
        if choice < 3 or count < 5:
            self.appended += 1
            name = f"{self.number}-{self.appended}-{time.monotonic_ns()}@stress.test"
            message = f"Subject: s\r\nMessage-ID: <{name}>\r\n\r\nx\r\n".encode()
            await self.say(f"APPEND {rnd.choice(BOXES)} {{{len(message)}+}}", literal=message)
        elif choice == 3:
            await self.say(f"STORE {number} {rnd.choice(['+FLAGS', '-FLAGS', '+FLAGS.SILENT'])} ({rnd.choice(FLAGS)})")
        elif choice == 4:
            await self.say(f"UID STORE 1:* {rnd.choice(['+FLAGS', '-FLAGS'])} ({rnd.choice(FLAGS[:3])})")
        elif choice == 5:
            await self.say("EXPUNGE")
        elif choice == 6:
            await self.say(f"FETCH {number} (UID FLAGS)")
        elif choice == 7:
            await self.say(f"SEARCH {rnd.choice(['ALL', 'DELETED', 'SUBJECT s', 'UNSEEN'])}")
        elif choice == 8:
            await self.say(f"COPY {number} {rnd.choice(BOXES)}")
        elif choice == 9:
            await self.say(f"MOVE {number} {BOXES[self.box == BOXES[0]]}")
        elif choice == 10:
            await self.select(rnd.choice(BOXES))
        else:
            await self.say("NOOP")
            await self.learn()

    async def run(self, until: float) -> None:
        await self.connect()
        while time.monotonic() < until:
            try:
                await self.act()
            except (ConnectionError, asyncio.IncompleteReadError, OSError):
                self.shared.reconnects += 1
                await self.again()

    async def again(self) -> None:
        for _ in range(100):
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, OSError):
                await self.connect()
                return
            await asyncio.sleep(0.1)
        raise AssertionError("the server did not come back")

    async def settle(self) -> dict[int, frozenset[bytes]]:
        """Give what this client knows in the end, after a last NOOP, by what it was told alone."""
        await self.say("NOOP")
        await self.learn()
        return dict(self.flags)


def _roles(server: Trial, name: str) -> list[int]:
    return [pid for pid in descendants(server.pid) if Path(f"/proc/{pid}/comm").read_text().startswith(name)]


async def _kill(server: Trial, roles: Iterable[str]) -> None:
    for name in roles:
        await asyncio.sleep(SECONDS / 4)
        os.kill(_roles(server, name)[0], signal.SIGKILL)


async def _stress(server: Trial) -> Shared:
    shared = Shared()
    clients = [Strict(server, shared, number) for number in range(CLIENTS)]
    until = time.monotonic() + SECONDS
    await asyncio.gather(_kill(server, ("moat:access", "moat:store")), *(client.run(until) for client in clients))
    known = [(client.box, await client.settle()) for client in clients]
    fresh = Strict(server, shared, 1000)
    await fresh.connect()
    for box in BOXES:
        await fresh.select(box)
        for of, flags in known:
            assert of != box or flags == fresh.flags, box
    return shared


def test_strict_clients_never_lose_their_state(own_server: Trial) -> None:
    shared = asyncio.run(_stress(own_server))
    assert shared.commands > 200, shared.commands
    assert shared.reconnects >= 1
