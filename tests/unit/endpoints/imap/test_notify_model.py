# SPDX-License-Identifier: Apache-2.0
"""A client that only listens knows in the end what one that asks is told: mailboxes, counts, messages and flags, after a storm by others."""

from __future__ import annotations

import asyncio
import re
from random import Random

import pytest

from tests.unit.endpoints.imap.lab import HELLO, Client, Lab

STATUS = re.compile(rb"STATUS (\S+) \(MESSAGES (\d+) UIDNEXT (\d+) UIDVALIDITY (\d+)(?: UNSEEN (\d+) HIGHESTMODSEQ \d+)?\)")
NAME = re.compile(rb'LIST \(([^)]*)\) "/" (\S+)(?: \("OLDNAME" \((\S+)\)\))?')
FETCH = re.compile(rb"(\d+) FETCH \(UID (\d+) FLAGS \(([^)]*)\)\)")
NUMBER = re.compile(rb"(\d+) (EXISTS|EXPUNGE|RECENT)")


class Listener:
    """What a client makes of what it is told."""

    def __init__(self) -> None:
        self.names: set[bytes] = set()
        self.counts: dict[bytes, tuple[int, ...]] = {}
        self.messages: list[tuple[int, frozenset[bytes]] | None] = []

    def take(self, line: bytes) -> None:
        if found := STATUS.fullmatch(line):
            self.counts[found[1]] = tuple(int(value) for value in found.groups()[1:] if value is not None)
        elif found := NAME.fullmatch(line):
            self._name(*found.groups())
        elif found := FETCH.fullmatch(line):
            flags = frozenset(found[3].split()) - {b"\\Recent"}
            known = self.messages[int(found[1]) - 1]
            assert known is None or known[0] == int(found[2]), "a number means another message"
            self.messages[int(found[1]) - 1] = (int(found[2]), flags)
        elif found := NUMBER.fullmatch(line):
            self._number(int(found[1]), found[2])
        else:
            assert line.startswith((b"FLAGS", b"OK")), line

    def _name(self, attributes: bytes, name: bytes, old: bytes | None) -> None:
        if old is not None:
            self.names.discard(old)
            self.counts.pop(old, None)
        if b"\\NonExistent" in attributes:
            self.names.discard(name)
            self.counts.pop(name, None)
        else:
            self.names.add(name)

    def _number(self, number: int, what: bytes) -> None:
        if what == b"EXISTS":
            assert number >= len(self.messages)
            self.messages += [None] * (number - len(self.messages))
        elif what == b"EXPUNGE":
            del self.messages[number - 1]


async def act(client: Client, random: Random, names: list[str]) -> None:
    """Do something, wherever it leads."""
    name = random.choice(names)
    what = random.randrange(12)
    if what <= 2:
        await client.command(f"CREATE {name}")
    elif what <= 4:
        await client.command(f"RENAME {name} {random.choice(names)}")
    elif what == 5:
        await client.command(f"DELETE {name}")
    elif what <= 8:
        await client.append(random.choice([name, "INBOX"]), HELLO)
    else:
        await client.command(f"SELECT {random.choice([name, 'INBOX'])}")
        if client.tagged.startswith(b"OK"):
            await client.command(f"UID STORE 1:* {random.choice('+-')}FLAGS ({random.choice(['Seen', 'Flagged', 'Deleted']).join([chr(92), ''])})")
            await client.command(random.choice(["EXPUNGE", "NOOP", f"UID COPY 1:* {random.choice(names)}", "UID MOVE * INBOX"]))
            await client.command("UNSELECT")


async def storm(lab: Lab, seed: int) -> None:
    random = Random(seed)
    client = await lab.client()
    for _ in range(40):
        try:
            await act(client, random, [f"box{number}" for number in range(6)])
        except asyncio.IncompleteReadError:
            client = await lab.client()  # another deleted what was selected


@pytest.mark.parametrize("seed", range(4))
async def test_who_listens_knows_what_is(lab: Lab, seed: int) -> None:
    ear = await lab.client(select="INBOX")
    events = "MessageExpunge FlagChange"
    await ear.ok(f"NOTIFY SET (selected (MessageNew (UID FLAGS) {events})) (personal (MessageNew {events} MailboxName))")
    listening = Listener()
    hearing = asyncio.create_task(hear(ear, listening))
    await asyncio.gather(*(storm(lab, 2 * seed + number) for number in range(2)))
    asking = await lab.client(select="INBOX")
    await asking.ok("CREATE the/end")
    await asyncio.wait_for(hearing, 20)
    # The end was heard; what is due of counts comes with it or before.
    for line in await ear.ok("NOOP"):
        listening.take(line)
    await asking.ok("NOOP")
    there = {found[2] for line in await asking.ok('LIST "" box*') if (found := NAME.fullmatch(line))}
    assert {name for name in listening.names if name.startswith(b"box")} == there
    truth = [FETCH.fullmatch(line) for line in await asking.ok("FETCH 1:* (UID FLAGS)") if b" FETCH " in line]
    assert listening.messages == [(int(found[2]), frozenset(found[3].split()) - {b"\\Recent"}) for found in truth if found]
    for name in there:
        (line,) = await asking.ok(b"STATUS %b (MESSAGES UIDNEXT UIDVALIDITY UNSEEN)" % name)
        values = tuple(int(value) for value in re.findall(rb"(\d+)", line.partition(b"(")[2]))
        if values[0]:
            assert listening.counts[name] == values


async def hear(client: Client, listening: Listener) -> None:
    """Listen until the end, and a moment longer for what is due behind it."""
    ended = False
    while not ended:
        line = (await client.line())[2:]
        listening.take(line)
        ended = line.endswith(b" the/end")
