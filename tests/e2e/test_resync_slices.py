# SPDX-License-Identifier: Apache-2.0
"""A client that was away while half of 100,000 messages went is told so in slices, in ranges, in lines of bounded length."""

from __future__ import annotations

import gc
import re
import statistics
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from moatmail.store import operations as o
from moatmail.store import queries as q
from tests.e2e.bigbox import big_mailbox
from tests.e2e.holds import measured
from tests.e2e.test_slices import AIM, COUNT, SPARE, UNIT, unit
from tests.unit.endpoints.imap.lab import Lab, furnish, imap_lab


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    """A door over a store."""
    for name in ("furnished", "data"):
        (tmp_path / name).mkdir()
    await furnish(tmp_path / "furnished")
    async with imap_lab(tmp_path / "furnished", tmp_path / "data") as one:
        yield one


async def _half_goes(lab: Lab, mailbox: int) -> None:
    """Take every second message away, as another session would: no UID that went is next to another."""
    for start in range(1, COUNT + 1, 1000):
        uids = tuple(range(start, start + 1000, 2))
        await lab.store.write(o.StoreFlags(b"f%015d" % start, lab.alice.id, mailbox, uids, "add", 4))
        await lab.store.write(o.Expunge(lab.alice.id, mailbox, uids, 1_900_000_000.0, b"e%015d" % start))


@pytest.mark.timeout(300)
async def test_half_of_100_000_messages_went(lab: Lab) -> None:
    client, live = await lab.client(), await lab.client()
    big = await big_mailbox(lab, client, COUNT)
    for one in (client, live):
        await one.ok("ENABLE QRESYNC")
    row = await lab.store.read(q.GetMailbox(lab.alice.id, big))
    assert row is not None
    await live.ok("SELECT Big")
    await _half_goes(lab, big)
    gc.collect()
    gc.freeze()
    known = f"{row.uidvalidity} {row.highestmodseq}"
    commands = (
        (live, "NOOP"),
        (client, f"SELECT Big (QRESYNC ({known}))"),
        (client, f"SELECT Big (QRESYNC ({known} 1:{COUNT} (1:50000 1:50000)))"),
        (client, f"SELECT Big (QRESYNC ({known} {','.join(f'{uid}:{uid + 5}' for uid in range(1, COUNT, 20))}))"),
        (client, f"UID FETCH 1:* (FLAGS) (CHANGEDSINCE {row.highestmodseq} VANISHED)"),
        (client, "UID STORE 1:* +FLAGS.SILENT ($Later)"),
        (client, f"SELECT Big (QRESYNC ({known}))"),
    )
    held: list[tuple[str, float, list[tuple[str, int]]]] = []
    units: list[float] = []
    vanished: list[bytes] = []
    try:
        with measured(sampling=True) as holds:
            for one, command in commands:
                holds.begin()
                told = await one.ok(command)
                held.append((command[:50], holds.longest, holds.where))
                units.append(unit())
                vanished.extend(line for line in told if line.startswith(b"VANISHED"))
                if command.startswith("SELECT Big (QRESYNC (" + known + "))"):
                    assert _gone(told) == set(range(1, COUNT, 2))
    finally:
        gc.unfreeze()
    assert max(map(len, vanished)) < 8192
    aim = AIM * max(1.0, statistics.median(units) / UNIT)
    slow = [f"{command}: {seconds * 1000:.1f} ms at {where[:2]}" for command, seconds, where in held if seconds > aim * SPARE]
    assert not slow, f"the aim is {aim * 1000:.1f} ms on this machine now"


def _gone(told: list[bytes]) -> set[int]:
    lines = [line.split(b" ")[-1] for line in told if line.startswith(b"VANISHED (EARLIER)")]
    spans = [re.fullmatch(rb"([0-9]+)(?::([0-9]+))?", member) for line in lines for member in line.split(b",")]
    return {uid for span in spans if span for uid in range(int(span[1]), int(span[2] or span[1]) + 1)}
