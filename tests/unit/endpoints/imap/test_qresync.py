# SPDX-License-Identifier: Apache-2.0
"""Quick resynchronization over a door: a client that was away is told what it missed, and nothing else.

Obeys RFC 7162 §3.2, RFC 8514 (save dates, the last test).
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field

import pytest

from tests.unit.endpoints.imap.lab import HELLO, Client, Lab

_MODSEQ = re.compile(rb"HIGHESTMODSEQ ([0-9]+)")
_VALIDITY = re.compile(rb"UIDVALIDITY ([0-9]+)")
_FETCH = re.compile(rb"([0-9]+) FETCH \(UID ([0-9]+) FLAGS \(([^)]*)\) MODSEQ \(([0-9]+)\)\)")


async def qresync_client(lab: Lab) -> Client:
    client = await lab.client()
    assert await client.ok("ENABLE QRESYNC") == [b"ENABLED QRESYNC"]
    return client


async def state_of(lab: Lab, mailbox: str = "INBOX") -> tuple[int, int]:
    """Give UIDVALIDITY and HIGHESTMODSEQ."""
    client = await lab.client()
    (line,) = await client.ok(f"STATUS {mailbox} (UIDVALIDITY HIGHESTMODSEQ)")
    await client.close()
    return int(_VALIDITY.search(line)[1]), int(_MODSEQ.search(line)[1])  # type: ignore[index]  # both were asked for


def news(lines: list[bytes]) -> list[bytes]:
    """Give what is told beyond what every SELECT tells."""
    return [line for line in lines if b"FETCH" in line or line.startswith(b"VANISHED")]


async def test_who_comes_back_is_told_what_went_and_what_changed(lab: Lab) -> None:
    await lab.deliver(*[HELLO] * 6)
    validity, modseq = await state_of(lab)
    other = await lab.client(select="INBOX")
    await other.ok("STORE 2,3,5 +FLAGS (\\Deleted)")
    await other.ok("EXPUNGE")
    await other.ok("STORE 1 +FLAGS (\\Flagged)")
    client = await qresync_client(lab)
    told = await client.ok(f"SELECT INBOX (QRESYNC ({validity} {modseq}))")
    vanished, changed = news(told)
    assert vanished == b"VANISHED (EARLIER) 2:3,5"
    assert re.fullmatch(rb"1 FETCH \(UID 1 FLAGS \(\\Flagged(?: \\Recent)?\) MODSEQ \([0-9]+\)\)", changed)
    assert client.tagged == b"OK [READ-WRITE] selected"
    assert news(await client.ok(f"SELECT INBOX (QRESYNC ({(await state_of(lab))[0]} {(await state_of(lab))[1]}))")) == []


@pytest.mark.parametrize(
    ("known", "wanted"),
    [
        pytest.param("1:2", [b"VANISHED (EARLIER) 2"], id="only of the UIDs it knows"),
        pytest.param("3:4,6", [b"VANISHED (EARLIER) 3"], id="sets with gaps"),
        pytest.param("4,6", [], id="nothing went of them"),
        pytest.param("1:6 (1,3 1,3)", [b"VANISHED (EARLIER) 2:3,5"], id="message numbers and their UIDs narrow nothing we know"),
        pytest.param("1:4000000000", [b"VANISHED (EARLIER) 2:3,5"], id="beyond what ever was"),
    ],
)
async def test_only_what_the_client_knows_is_told(lab: Lab, known: str, wanted: list[bytes]) -> None:
    await lab.deliver(*[HELLO] * 6)
    validity, modseq = await state_of(lab)
    other = await lab.client(select="INBOX")
    await other.ok("STORE 2,3,5 +FLAGS.SILENT (\\Deleted)")
    await other.ok("EXPUNGE")
    client = await qresync_client(lab)
    assert news(await client.ok(f"EXAMINE INBOX (QRESYNC ({validity} {modseq} {known}))")) == wanted


async def test_another_uidvalidity_tells_nothing_and_a_modseq_of_the_future_too(lab: Lab) -> None:
    await lab.deliver(HELLO)
    validity, modseq = await state_of(lab)
    client = await qresync_client(lab)
    assert news(await client.ok(f"SELECT INBOX (QRESYNC ({validity + 1} 1))")) == []
    assert news(await client.ok(f"SELECT INBOX (QRESYNC ({validity} {modseq + 100}))")) == []


@pytest.mark.parametrize(
    "command",
    [
        pytest.param("SELECT INBOX (QRESYNC (1 1))", id="before it was enabled"),
        pytest.param("UID FETCH 1:* (FLAGS) (CHANGEDSINCE 1 VANISHED)", id="VANISHED before it was enabled"),
    ],
)
async def test_it_has_to_be_enabled(lab: Lab, command: str) -> None:
    client = await lab.client(select="INBOX")
    assert (await client.no(command)).startswith(b"BAD")


@pytest.mark.parametrize(
    "command",
    [
        pytest.param("SELECT INBOX (QRESYNC (0 1))", id="no UIDVALIDITY"),
        pytest.param("SELECT INBOX (QRESYNC (1 0))", id="no mod-sequence"),
        pytest.param("SELECT INBOX (QRESYNC (1 1 1:*))", id="a star among known UIDs"),
        pytest.param("SELECT INBOX (QRESYNC (1 1 1:5 (2,1 1,2)))", id="numbers that do not ascend"),
        pytest.param("SELECT INBOX (QRESYNC (1 1 1:5 (1:2 1:3)))", id="more UIDs than numbers"),
        pytest.param("UID FETCH 1 (FLAGS) (VANISHED)", id="VANISHED without CHANGEDSINCE"),
        pytest.param("FETCH 1 (FLAGS) (CHANGEDSINCE 1 VANISHED)", id="VANISHED with message numbers"),
    ],
)
async def test_what_cannot_be_is_refused(lab: Lab, command: str) -> None:
    client = await qresync_client(lab)
    await client.ok("SELECT INBOX")
    assert (await client.no(command)).startswith(b"BAD")


async def test_expunges_are_told_by_uid_and_up_to_where_all_is_known(lab: Lab) -> None:
    await lab.deliver(*[HELLO] * 5)
    client, other = await qresync_client(lab), await lab.client(select="INBOX")
    await client.ok("SELECT INBOX")
    await client.ok("STORE 1,2 +FLAGS.SILENT (\\Deleted)")
    assert await client.ok("EXPUNGE") == [b"VANISHED 1:2"]
    assert client.tagged == b"OK [HIGHESTMODSEQ %d] expunged" % (await state_of(lab))[1]
    assert await client.ok("EXPUNGE") == []
    assert client.tagged == b"OK expunged"
    told = await other.ok("NOOP")
    assert b"2 EXPUNGE" in told
    assert not any(line.startswith(b"VANISHED") for line in told)
    await client.ok("UID STORE 4 +FLAGS.SILENT (\\Deleted)")
    assert await client.ok("UID EXPUNGE 4") == [b"VANISHED 4"]
    assert client.tagged.startswith(b"OK [HIGHESTMODSEQ ")
    told = await client.ok("UID MOVE 5 Trash")
    assert told[-1] == b"VANISHED 5"


async def test_uid_fetch_tells_what_went_of_its_set(lab: Lab) -> None:
    await lab.deliver(*[HELLO] * 6)
    _validity, modseq = await state_of(lab)
    client, other = await qresync_client(lab), await lab.client(select="INBOX")
    await other.ok("STORE 2,5,6 +FLAGS.SILENT (\\Deleted)")
    await other.ok("EXPUNGE")
    await client.ok("SELECT INBOX")
    assert (await client.ok(f"UID FETCH 1:3 (FLAGS) (CHANGEDSINCE {modseq} VANISHED)")) == [b"VANISHED (EARLIER) 2"]
    # What came last is gone; * means up to there all the same.
    assert (await client.ok(f"UID FETCH 3:* (FLAGS) (CHANGEDSINCE {modseq} VANISHED)")) == [b"VANISHED (EARLIER) 5:6"]
    assert (await client.ok(f"UID FETCH 1:3 (FLAGS) (CHANGEDSINCE {(await state_of(lab))[1]} VANISHED)")) == []


# ---------------------------------------------------------------- a client that keeps its state


@dataclass
class Mirror:
    """What a client knows of its mailbox: UIDs with their flags, and up to which modseq."""

    validity: int = 0
    modseq: int = 0
    flags: dict[int, bytes] = field(default_factory=dict)

    def hear(self, lines: list[bytes]) -> None:
        for line in lines:
            if line.startswith(b"VANISHED"):
                for part in line.split(b" ")[-1].split(b","):
                    first, _, last = part.partition(b":")
                    for uid in range(int(first), int(last or first) + 1):
                        self.flags.pop(uid, None)
            elif (found := _FETCH.fullmatch(line)) is not None:
                self.flags[int(found[2])] = b" ".join(sorted(set(found[3].split()) - {b"\\Recent"}))
            elif (highest := _MODSEQ.search(line)) is not None:
                self.modseq = int(highest[1])
            elif (valid := _VALIDITY.search(line)) is not None:
                self.validity = int(valid[1])


async def whole(lab: Lab) -> dict[int, bytes]:
    """Give what a full FETCH tells now."""
    client = await lab.client()
    await client.ok("EXAMINE INBOX")
    mirror = Mirror()
    mirror.hear(await client.ok("UID FETCH 1:* (UID FLAGS MODSEQ)"))
    await client.close()
    return mirror.flags


async def disturb(rnd: random.Random, other: Client) -> None:
    """Have another session change something."""
    (line,) = await other.ok("STATUS INBOX (UIDNEXT)")
    highest = int(line.split(b"UIDNEXT ")[1].split(b")")[0])
    uid = rnd.randrange(1, highest + 1)
    some = f"{uid}:{uid + rnd.randrange(3)}"
    choice = rnd.randrange(6)
    if choice == 0:
        await other.append("INBOX", HELLO, rnd.choice(["", "(\\Seen) ", "($Work) "]))
    elif choice == 1:
        mode, flag = rnd.choice(["+FLAGS", "-FLAGS", "FLAGS"]), rnd.choice(["\\Seen", "\\Flagged", "$Work", "x"])
        await other.ok(f"UID STORE {some} {mode} ({flag})")
    elif choice == 2:
        await other.ok(f"UID STORE {some} +FLAGS.SILENT (\\Deleted)")
        await other.ok(rnd.choice(["EXPUNGE", f"UID EXPUNGE {some}"]))
    elif choice == 3:
        await other.ok(f"UID MOVE {some} Trash")
    elif choice == 4:
        await other.ok(f"UID COPY {some} INBOX")
    else:
        await other.append("INBOX", HELLO)


@pytest.mark.parametrize("seed", range(6))
async def test_a_client_that_comes_and_goes_always_knows_what_a_full_fetch_tells(lab: Lab, seed: int) -> None:
    rnd = random.Random(seed)
    await lab.deliver(*[HELLO] * 8)
    other = await lab.client(select="INBOX")
    mirror = Mirror()
    for _ in range(12):
        client = await qresync_client(lab)
        known = f" (QRESYNC ({mirror.validity} {mirror.modseq}{rnd.choice(['', f' 1:{max(mirror.flags)}']) if mirror.flags else ''}))" if mirror.modseq else ""
        lines = await client.ok(f"SELECT INBOX{known}")
        mirror.hear(lines)
        if not known:
            mirror.hear(await client.ok("UID FETCH 1:* (UID FLAGS MODSEQ)"))
        elif mirror.flags:
            # What came since is not among the UIDs it said it knew.
            mirror.hear(await client.ok(f"UID FETCH {max(mirror.flags) + 1}:* (UID FLAGS MODSEQ)"))
        assert mirror.flags == await whole(lab)
        for _ in range(rnd.randrange(4)):  # for a while it stays
            for _ in range(rnd.randrange(3)):
                await disturb(rnd, other)
            before = mirror.modseq
            mirror.hear([line for line in await client.ok("NOOP") if line.startswith(b"VANISHED")])
            mirror.hear(await client.ok(f"UID FETCH 1:* (FLAGS) (CHANGEDSINCE {before} VANISHED)"))
            mirror.modseq = (await state_of(lab))[1]
            assert mirror.flags == await whole(lab)
        await client.close()
        for _ in range(rnd.randrange(5)):  # for a while it is away
            await disturb(rnd, other)


async def test_thousands_that_went_are_told_in_lines_of_bounded_length(lab: Lab) -> None:
    client = await qresync_client(lab)
    other = await lab.client(select="INBOX")
    for _ in range(30):
        await other.command("APPEND INBOX " + " ".join(f"{{{len(HELLO)}+}}\r\n{HELLO.decode()}" for _ in range(32)))
    validity, modseq = await state_of(lab)
    await other.ok("NOOP")
    for start in range(1, 960, 200):
        await other.ok("UID STORE " + ",".join(str(uid) for uid in range(start, min(start + 200, 960), 2)) + " +FLAGS.SILENT (\\Deleted)")
    await other.ok("EXPUNGE")
    lines = news(await client.ok(f"SELECT INBOX (QRESYNC ({validity} {modseq}))"))
    mirror = Mirror(flags=dict.fromkeys(range(1, 961), b""))
    mirror.hear(lines)
    assert sorted(mirror.flags) == list(range(2, 961, 2))
    assert max(map(len, lines)) < 8192


# ---------------------------------------------------------------- save dates


async def test_messages_are_found_by_the_day_on_which_they_came_here(lab: Lab) -> None:
    # RFC 8514 §4.3; the clock of the lab stands in January 2027.
    client = await lab.client(select="INBOX")
    await client.append("INBOX", HELLO, '"01-Feb-2020 10:00:00 +0000" ')
    await client.ok("NOOP")
    (told,) = await client.ok("FETCH 1 (SAVEDATE INTERNALDATE)")
    assert b'SAVEDATE "15-Jan-2027 ' in told
    assert b'INTERNALDATE " 1-Feb-2020 10:00:00 +0000"' in told
    for key, found in (("SAVEDON 15-Jan-2027", True), ("SAVEDSINCE 15-Jan-2027", True), ("SAVEDBEFORE 15-Jan-2027", False), ("SAVEDBEFORE 16-Jan-2027", True)):
        assert await client.ok(f"SEARCH {key}") == [b"SEARCH 1" if found else b"SEARCH"], key
    assert await client.ok("SEARCH SAVEDATESUPPORTED NOT SAVEDSINCE 1-Jan-2030") == [b"SEARCH 1"]
