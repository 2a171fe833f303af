# SPDX-License-Identifier: Apache-2.0
"""R8, the store's part: the wall clock jumps a day ahead, a day back, behind 2038; what must only rise, rises."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from moatmail.store import operations as o
from moatmail.store import queries as q
from moatmail.store.local import LocalStore
from moatmail.store.writer import Writer
from tests.store_contract.given import DAY, NOW, Ear, GlassVault, House, StandingClock, arrival, box, house, new_id

BEHIND_2038 = 2.0**31 + 3 * DAY
"""A time that 32 bits with a sign cannot hold."""

JUMPS = {
    "the clock goes a day ahead": (NOW, NOW + DAY),
    "the clock goes a day back": (NOW, NOW - DAY),
    "the clock goes behind 2038 and comes back": (NOW, BEHIND_2038, NOW),
    "the clock falls to 1970": (NOW, 0.0, NOW),
}


async def remade(store: LocalStore, alice: House) -> int:
    """Make a mailbox of one name, give its UIDVALIDITY and delete it."""
    made = await store.write(o.CreateMailbox(alice.account, new_id(), b"sealed", b"t" * 16))
    row = await store.read(q.GetMailbox(alice.account, made))
    assert row is not None
    await store.write(o.DeleteMailbox(alice.account, made, NOW))
    return row.uidvalidity


@pytest.mark.parametrize("times", JUMPS.values(), ids=JUMPS.keys())
@pytest.mark.parametrize("restarted", [False, True], ids=["in one run", "with a restart at each jump"])
async def test_uidvalidity_modseq_and_uids_rise_whatever_the_clock_does(folder: Path, times: tuple[float, ...], restarted: bool) -> None:
    clock = StandingClock(times[0])
    store = LocalStore(Writer(folder, GlassVault(), clock, Ear()))
    alice = await house(store)
    validities, marks, inboxes = [], [], set()
    for time in times:
        clock.time = time
        if restarted:
            await store.close()
            store = LocalStore(Writer(folder, GlassVault(), clock, Ear()))
        for _ in range(2):
            validities.append(await remade(store, alice))
            await store.write(arrival(alice.account, size=100))
            inbox = await box(store, alice)
            marks.append((inbox.uidnext, inbox.highestmodseq))
            inboxes.add(inbox.uidvalidity)
    await store.close()
    assert validities == sorted(set(validities))
    assert all(0 < one < 2**32 for one in validities), "RFC 3501 §9: nz-number"
    assert all(before[0] < after[0] and before[1] < after[1] for before, after in itertools.pairwise(marks))
    assert len(inboxes) == 1


async def test_savedate_is_whole_behind_2038(folder: Path) -> None:
    clock = StandingClock(BEHIND_2038)
    store = LocalStore(Writer(folder, GlassVault(), clock, Ear()))
    alice = await house(store)
    await store.write(arrival(alice.account, size=100))
    ((uid, _, received_at, saved_at),) = await store.read(q.MessageSizes(alice.account, alice.inbox))
    await store.close()
    assert (uid, received_at, saved_at) == (1, NOW, BEHIND_2038)
