# SPDX-License-Identifier: Apache-2.0
"""A client that keeps its state over random changes, and breaks off wherever it is, has after QRESYNC exactly what a full FETCH gives.

Obeys RFC 7162 §3.2 and §6: how a client learns, and up to where it knows.
Must never know how the server keeps anything: it believes the responses alone.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from random import Random

import pytest

from moatmail.core.limits import store as limits
from moatmail.wire.imap.sequence import compact, parse
from tests.unit.endpoints.imap.lab import HELLO, Client, Lab, furnish, imap_lab

STEPS = 45
FETCH = re.compile(rb"([0-9]+) FETCH \((.*)\)", re.DOTALL)
FLAGS = re.compile(rb"FLAGS \(([^)]*)\)")
CODE = re.compile(rb"\[HIGHESTMODSEQ ([0-9]+)\]")
VANISHED = re.compile(rb"VANISHED (\(EARLIER\) )?([0-9:,]+)")
FLAG_NAMES = (b"\\Seen", b"\\Flagged", b"\\Answered", b"\\Deleted", b"$Work", b"$Later")
Cache = dict[int, frozenset[bytes]]


def expand(uids: bytes) -> list[int]:
    sequence = parse(uids)
    assert sequence is not None
    return [uid for first, last in sequence.ranges for uid in range(first, last + 1)]


class Sync:
    """A client with a cache: `modseq` as RFC 7162 §6 has it, `known_to` the UID up to which it has looked at everything."""

    def __init__(self, lab: Lab, random: Random) -> None:
        self._lab = lab
        self._random = random
        self.cache: Cache = {}
        self.validity = self.modseq = self.known_to = 0
        self.client: Client | None = None
        self._numbers: list[int | None] = []
        self._named: set[int] | None = None
        self._code = self._seen = 0
        self._silent: tuple[str, bytes] | None = None

    # ---- what the server says ----

    def _take(self, line: bytes) -> None:
        if found := CODE.search(line):
            self._code = int(found[1])
        if found := re.search(rb"\[UIDVALIDITY ([0-9]+)\]", line):
            assert self.validity in (0, int(found[1]))
            self.validity = int(found[1])
        if found := re.fullmatch(rb"([0-9]+) EXISTS", line):
            assert int(found[1]) >= len(self._numbers)
            self._numbers.extend([None] * (int(found[1]) - len(self._numbers)))
        elif found := VANISHED.fullmatch(line):
            self._take_vanished(expand(found[2]), earlier=found[1] is not None)
        elif found := FETCH.fullmatch(line):
            self._take_fetch(int(found[1]), found[2])
        assert not line.endswith(b" EXPUNGE")

    def _take_vanished(self, uids: list[int], *, earlier: bool) -> None:
        for uid in uids:
            if earlier:
                assert self._named is None or uid in self._named, "told of a UID that nobody asked for"
                assert uid not in self._numbers, "told as gone before it was told to be there"
            elif uid in self._numbers:
                self._numbers.remove(uid)
            else:
                # UIDs rise with numbers: it is one of those not looked at between its neighbours.
                before = max((place for place, other in enumerate(self._numbers) if other is not None and other < uid), default=-1)
                assert self._numbers[before + 1 : before + 2] == [None], "told of a message that this client does not count"
                del self._numbers[before + 1]
            self.cache.pop(uid, None)

    def _take_fetch(self, number: int, items: bytes) -> None:
        found = re.search(rb"UID ([0-9]+)", items)
        assert found, items
        uid = int(found[1])
        assert self._numbers[number - 1] in (None, uid), "another message has this number"
        self._numbers[number - 1] = uid
        if flags := FLAGS.search(items):
            self.cache[uid] = frozenset(flags[1].split()) - {b"\\Recent"}
        elif self._silent is not None and uid in self.cache:
            # RFC 3501 §6.4.6: with .SILENT the client has to do to its own copy what it asked for.
            sign, flag = self._silent
            self.cache[uid] = self.cache[uid] | {flag} if sign == "+" else self.cache[uid] - {flag}
        if modseq := re.search(rb"MODSEQ \(([0-9]+)\)", items):
            self._seen = max(self._seen, int(modseq[1]))

    def _end(self) -> None:
        """RFC 7162 §6: the code, if there was one, whatever was seen; else the highest seen."""
        self.modseq = self._code or max(self.modseq, self._seen)
        self._code = self._seen = 0

    # ---- what the client says ----

    async def command(self, text: str, *, stop: bool = False) -> bool:
        """Send a command and learn; with `stop` break off somewhere before its end. Tells whether it ended."""
        assert self.client is not None
        patience = self._random.randrange(4) if stop else -1
        self.client.send(b"s " + text.encode() + b"\r\n")
        while True:
            if patience == 0:
                await self.leave()
                return False
            patience -= 1
            line = await self.client.line()
            if line.startswith(b"s "):
                assert not line.startswith(b"s BAD"), (text, line)
                self._take(line[2:])
                self._end()
                return True
            self._take(line.removeprefix(b"* "))

    async def leave(self) -> None:
        if self.client is not None:
            await self.client.close()
        self.client = None
        self._code = self._seen = 0

    async def come_back(self, *, stop: bool = False) -> bool:
        """Connect and resync; False where it broke off."""
        await self.leave()
        self.client = await self._lab.client()
        await self.client.ok("ENABLE QRESYNC")
        # What lies beyond was looked at in part only.
        self.cache = {uid: flags for uid, flags in self.cache.items() if uid <= self.known_to}
        self._numbers, self._named = [], None
        if not await self.command(f"SELECT box{self._parameters()}", stop=stop):
            return False
        self._named = None
        return await self.look(stop=stop)

    def _parameters(self) -> str:
        if not self.modseq:
            return ""
        known = sorted(self.cache)
        words = f"{self.validity} {self.modseq}"
        way = self._random.randrange(4)
        if way and known:
            self._named = set(known)
            words += " " + compact(known).decode()
        elif way:
            self._named = set(range(1, self.known_to + 1))
            words += f" 1:{self.known_to}" if self.known_to else ""
        if way > 1 and known:
            places = sorted(self._random.sample(range(len(known)), min(len(known), self._random.randint(1, 5))))
            numbers = compact([place + 1 for place in places]).decode()
            words += f" ({numbers} {compact([known[place] for place in places]).decode()})"
        return f" (QRESYNC ({words}))"

    async def look(self, *, stop: bool = False) -> bool:
        """Fetch what is new."""
        if not await self.command(f"UID FETCH {self.known_to + 1}:* (FLAGS)", stop=stop):
            return False
        self.known_to = max(self.known_to, *self.cache) if self.cache else self.known_to
        return True

    async def act(self) -> None:
        """Do something in the open mailbox."""
        random = self._random
        choice = random.randrange(10)
        count = len(self._numbers)
        stop = random.random() < 0.15
        if choice < 2:
            await self.command("NOOP", stop=stop)
        elif choice == 2:
            await self.look(stop=stop)
        elif choice == 3 and count:
            await self.command(f"FETCH {random.randint(1, count)}:{count} (UID FLAGS)", stop=stop)
        elif choice in (4, 5) and count:
            silent = random.choice(("", ".SILENT"))
            since = f"(UNCHANGEDSINCE {self.modseq}) " if random.random() < 0.3 else ""
            sign, flag = random.choice("+-"), random.choice(FLAG_NAMES)
            self._silent = (sign, flag) if silent else None
            await self.command(f"STORE {random.randint(1, count)} {since}{sign}FLAGS{silent} ({flag.decode()})", stop=stop)
            self._silent = None
        elif choice == 6:
            await self.command(random.choice(("SEARCH ALL", "UID SEARCH ALL", "UID SEARCH 1:*")), stop=stop)
        elif choice == 7:
            await self.command(f"UID FETCH 1:* (FLAGS) (CHANGEDSINCE {max(1, self.modseq - 3)} VANISHED)", stop=stop)
        elif choice == 8:
            await self.command("EXPUNGE", stop=stop)
        elif count:
            await self.command(f"UID FETCH {random.randint(1, self.known_to + 1)} (BODY[TEXT]<0.1>)", stop=stop)
        if random.random() < 0.2:
            await self.leave()  # between two commands: what waited to be told was not


class Others:
    """Whoever else changes the mailbox: by numbers nobody sees, some of it by CONDSTORE."""

    def __init__(self, client: Client, random: Random) -> None:
        self._client = client
        self._random = random

    async def act(self) -> None:
        random, client = self._random, self._client
        choice = random.randrange(9)
        uids = [int(uid) for uid in (await client.ok("UID SEARCH ALL"))[-1].split()[1:]]
        some = compact(sorted(random.sample(uids, min(len(uids), random.randint(1, 4))))).decode() if uids else "1"
        if choice < 3 or len(uids) < 4:
            for _ in range(random.randint(1, 3)):
                await client.append("box", HELLO, f"({random.choice(FLAG_NAMES).decode()}) ")
        elif choice < 5:
            await client.ok(f"UID STORE {some} {random.choice('+-')}FLAGS ({random.choice(FLAG_NAMES).decode()})")
        elif choice == 5:
            await client.ok(f"UID STORE {some} (UNCHANGEDSINCE 999999) FLAGS.SILENT ($Later)")
        elif choice < 8:
            await client.ok(f"UID STORE {some} +FLAGS.SILENT (\\Deleted)")
            await client.ok(f"UID EXPUNGE {some}")
        else:
            await client.ok(f"UID MOVE {some} Archive")

    async def truth(self) -> Cache:
        told = await self._client.ok("UID FETCH 1:* (FLAGS)")
        rows: Cache = {}
        for line in told:
            uid, flags = re.search(rb"UID ([0-9]+)", line), FLAGS.search(line)
            if uid and flags:
                rows[int(uid[1])] = frozenset(flags[1].split()) - {b"\\Recent"}
        return rows


async def play(furnished: Path, folder: Path, seed: int) -> None:
    random = Random(seed)
    async with imap_lab(furnished, folder) as lab:
        client = await lab.client()
        await client.ok("CREATE box")
        await client.ok("SELECT box")
        others = Others(client, random)
        await others.act()
        readers = [Sync(lab, random), Sync(lab, random)]
        compared = 0
        for _ in range(STEPS):
            reader = random.choice(readers)
            if random.random() < 0.5:
                for _ in range(random.randint(1, 3)):
                    await others.act()
            elif reader.client is not None and random.random() < 0.85:
                await reader.act()
            elif await reader.come_back(stop=random.random() < 0.2):
                assert reader.cache == await others.truth()
                compared += 1
        for reader in readers:
            await reader.come_back()
            assert reader.cache == await others.truth()
            await reader.leave()
        assert compared > 1


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("furnished")
    asyncio.run(furnish(folder))
    return folder


@pytest.mark.parametrize("remembered", [10_000, 2], ids=["all that went is remembered", "nearly nothing is remembered"])
@pytest.mark.parametrize("seed", range(12))
def test_a_client_that_comes_back_has_what_a_full_fetch_gives(
    furnished: Path, tmp_path: Path, seed: int, remembered: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "VANISHED_KEPT", remembered)
    monkeypatch.setattr(limits, "VANISHED_SLACK", 1)
    asyncio.run(play(furnished, tmp_path / "data", seed))
