# SPDX-License-Identifier: Apache-2.0
"""The store fails now and then, before or after it did what was asked: a client that believes only what it is told ends up with what is there.

Obeys RFC 3501 §7.3.1, §7.4.1 (numbers), §7.4.2 (flags), RFC 7162 §3.2.5, §6 (a client that comes back misses nothing), RFC 5530 §3 (UNAVAILABLE).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest

from moatmail.core.errors import StoreUnavailableError
from moatmail.store.local import LocalStore
from tests.unit.endpoints.imap.lab import HELLO, Client, Lab

SEEDS = range(6)
STEPS = 30
_FLAGS = re.compile(rb"FLAGS \(([^)]*)\)")
_UID = re.compile(rb"UID (\d+)")
_MODSEQ = re.compile(rb"MODSEQ \((\d+)\)")
_HIGHEST = re.compile(rb"OK \[HIGHESTMODSEQ (\d+)\]")
_QUIET = ("FETCH", "STORE", "SEARCH")  # RFC 3501 §7.4.1: no EXPUNGE while one of these is at work


@dataclass
class Message:
    """What a client knows of a message."""

    uid: int = 0
    flags: frozenset[bytes] | None = None


@dataclass
class Believer:
    """A client and what it believes."""

    client: Client
    qresync: bool = False
    messages: list[Message] = field(default_factory=list)
    modseq: int = 1
    refused: int = 0

    async def command(self, text: str) -> bytes:
        """Give a command and believe its answers."""
        lines = await self.client.command(text)
        self.believe(lines, self.client.tagged, quiet=text.startswith(_QUIET))
        return self.client.tagged

    async def idle(self, meanwhile: Any) -> None:  # noqa: ANN401 - a coroutine function of a test
        """Idle while something happens."""
        lines: list[bytes] = []
        self.client.send(b"i IDLE\r\n")
        while not (line := await self.client.line()).startswith((b"+", b"i ")):
            lines.append(line[2:])
        if line.startswith(b"+"):
            await meanwhile()
            self.client.send(b"DONE\r\n")
            lines += await self.client.rest(b"i")
        self.believe(lines, line)

    def believe(self, lines: list[bytes], tagged: bytes, *, quiet: bool = False) -> None:
        told, seen = 0, 0
        for line in [*lines, tagged]:
            words = line.split(b" ")
            if words[1:2] == [b"EXISTS"]:
                assert int(words[0]) >= len(self.messages)
                self.messages += [Message() for _ in range(int(words[0]) - len(self.messages))]
            elif words[1:2] == [b"EXPUNGE"]:
                assert not quiet
                assert not self.qresync
                del self.messages[int(words[0]) - 1]
            elif words[0] == b"VANISHED" and words[1] != b"(EARLIER)":
                assert not quiet
                for uid in _numbers(words[1]):
                    del self.messages[self._place(uid)]
            elif words[1:2] == [b"FETCH"]:
                self._fetched(self.messages[int(words[0]) - 1], line)
                seen = max(seen, *map(int, _MODSEQ.findall(line)), 0)
            if found := _HIGHEST.search(line):
                told = int(found[1])
        # RFC 7162 §6: what the server tells goes before what the client saw.
        self.modseq = told or max(self.modseq, seen)
        self.refused += tagged.startswith(b"NO [UNAVAILABLE]")

    def _place(self, uid: int) -> int:
        """Find a message that went; one whose UID was never told stands where all others leave room."""
        for place, message in enumerate(self.messages):
            if message.uid == uid:
                return place
        return next(
            place
            for place, message in enumerate(self.messages)
            if not message.uid and all(one.uid < uid for one in self.messages[:place]) and all(not one.uid or one.uid > uid for one in self.messages[place:])
        )

    def _fetched(self, message: Message, line: bytes) -> None:
        if found := _UID.search(line):
            assert message.uid in (0, int(found[1]))
            message.uid = int(found[1])
        if found := _FLAGS.search(line):
            message.flags = _flags(found[1])

    def agrees_with(self, truth: dict[int, frozenset[bytes]]) -> None:
        """Compare with what is there."""
        assert len(self.messages) == len(truth)
        for message, (uid, flags) in zip(self.messages, truth.items(), strict=True):
            assert message.uid in (0, uid)
            assert message.flags in (None, flags)

    async def returns(self, lab: Lab) -> None:
        """Come back as one whose connection broke just now, and miss nothing."""
        known = {message.uid: message.flags for message in self.messages if message.uid}
        if not self.qresync or not known:
            return
        client = await lab.client()
        await client.ok("ENABLE QRESYNC")
        valid = (await client.ok("STATUS INBOX (UIDVALIDITY)"))[0].split()[-1][:-1].decode()
        for line in await client.ok(f"SELECT INBOX (QRESYNC ({valid} {self.modseq} {','.join(map(str, sorted(known)))}))"):
            if line.startswith(b"VANISHED (EARLIER)"):
                for uid in _numbers(line.split()[2]):
                    known.pop(uid, None)
            elif b" FETCH (" in line and (uid := int(_UID.findall(line)[0])) in known:
                known[uid] = _flags(_FLAGS.findall(line)[0])
        await client.close()
        truth = await what_is_there(lab)
        assert {uid: truth.get(uid) if flags is not None else None for uid, flags in known.items()} == known
        assert truth.keys() >= known.keys()


def _numbers(ranges: bytes) -> list[int]:
    pairs = [one.partition(b":") for one in ranges.split(b",")]
    return [uid for first, _, last in pairs for uid in range(int(first), int(last or first) + 1)]


def _flags(text: bytes) -> frozenset[bytes]:
    return frozenset(text.split()) - {b"\\Recent"}


async def what_is_there(lab: Lab) -> dict[int, frozenset[bytes]]:
    client = await lab.client(select="INBOX")
    lines = [line for line in await client.ok("UID FETCH 1:* (FLAGS)") if b" FETCH (" in line]
    await client.close()
    return {int(_UID.findall(line)[0]): _flags(_FLAGS.findall(line)[0]) for line in lines}


class Weather:
    """Lets the n-th call of the store from now on fail, before it or after it was carried out."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._left = 0
        self._done = False
        for name in ("read", "write"):
            monkeypatch.setattr(LocalStore, name, self._failing(getattr(LocalStore, name)))

    def _failing(self, call: Any) -> Any:  # noqa: ANN401 - as the store has it
        async def failing(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401
            self._left -= 1
            if self._left:
                return await call(*arguments, **named)
            if self._done:
                await call(*arguments, **named)
            raise StoreUnavailableError

        return failing

    def storm(self, call: int, *, done: bool) -> None:
        self._left, self._done = call, done

    def calm(self) -> None:
        self._left = 0


def something(random: Random, count: int) -> str:
    one, other = random.randint(1, count), random.randint(1, count)
    message = f"{{{len(HELLO)}+}}\r\n{HELLO.decode()}"
    return random.choice(
        (
            f"STORE {one}:{other} +FLAGS (\\Flagged)",
            f"STORE {one} -FLAGS (\\Flagged)",
            f"STORE {one} FLAGS (\\Deleted)",
            f"STORE {one} +FLAGS ($Label{random.randint(1, 3)})",
            f"UID STORE {one}:* +FLAGS (\\Seen)",
            "EXPUNGE",
            "UID EXPUNGE 1:*",
            f"FETCH {one}:{other} (FLAGS BODY[TEXT])",
            f"UID FETCH {one}:* (FLAGS)",
            f"COPY {one} INBOX",
            f"MOVE {one} Archive",
            f"UID MOVE {one} INBOX",
            f"APPEND INBOX (\\Draft) {message}",
            f"REPLACE {one} INBOX {message}",
            "SEARCH SUBJECT hello",
            "NOOP",
        )
    )


@pytest.mark.parametrize("seed", SEEDS)
async def test_whatever_fails_client_and_server_believe_the_same_afterwards(lab: Lab, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    random = Random(seed)
    await lab.deliver(*[HELLO] * 4)
    weather = Weather(monkeypatch)
    believers = []
    for qresync in (True, False):
        client = await lab.client()
        await client.ok("ENABLE QRESYNC" if qresync else "NOOP")
        believers.append(one := Believer(client, qresync))
        await one.command("SELECT INBOX")
        await one.command("FETCH 1:* (UID FLAGS)")
    for _ in range(STEPS):
        one, other = random.sample(believers, 2)
        if random.random() < 0.5:
            weather.storm(random.randint(1, 6), done=random.random() < 0.4)
        if random.random() < 0.1:
            await one.idle(lambda: other.command(f"STORE 1:{max(1, len(other.messages))} +FLAGS (\\Answered)"))  # noqa: B023 - awaited at once
        else:
            await one.command(something(random, max(1, len(one.messages))))
        weather.calm()
        await random.choice(believers).returns(lab)
        if random.random() < 0.3:
            for one in believers:
                assert (await one.command("NOOP")).startswith(b"OK")
            truth = await what_is_there(lab)
            for one in believers:
                one.agrees_with(truth)
    assert sum(one.refused for one in believers)  # the weather was bad
