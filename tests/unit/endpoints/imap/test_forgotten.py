# SPDX-License-Identifier: Apache-2.0
"""Sessions that were away for longer than vanished messages are remembered: they learn by comparing, and are told nothing wrong."""

from __future__ import annotations

import random

import pytest

from moatmail.core.limits import store as limits
from moatmail.endpoints.imap.vanished import _absent
from moatmail.mailbox.numbering import Numbering
from tests.unit.endpoints.imap.lab import HELLO, Client, Lab
from tests.unit.endpoints.imap.test_qresync import news, qresync_client, state_of


@pytest.fixture(autouse=True)
def _short_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "VANISHED_KEPT", 1)
    monkeypatch.setattr(limits, "VANISHED_SLACK", 1)


async def take_away(client: Client, *uids: int) -> None:
    """Remove messages, each by an EXPUNGE of its own."""
    for uid in uids:
        await client.ok(f"UID STORE {uid} +FLAGS.SILENT (\\Deleted)")
        await client.ok(f"UID EXPUNGE {uid}")


@pytest.mark.parametrize(
    ("known", "wanted"),
    [
        pytest.param("", [b"VANISHED (EARLIER) 1:3,5:6,8"], id="who names none is told of all that are not there"),
        pytest.param(" 1:2", [b"VANISHED (EARLIER) 1:2"], id="only of the UIDs it knows"),
        pytest.param(" 3:4,6:7", [b"VANISHED (EARLIER) 3,6"], id="sets with gaps"),
        pytest.param(" 4,7", [], id="nothing went of them"),
        pytest.param(" 4:4000000000", [b"VANISHED (EARLIER) 5:6,8"], id="beyond what ever was"),
        pytest.param(" 1:8 (1 4)", [b"VANISHED (EARLIER) 5:6,8"], id="up to a number that is still right nothing went that it does not know of"),
    ],
)
async def test_a_client_from_before_what_is_remembered_is_told_of_what_is_not_there(lab: Lab, known: str, wanted: list[bytes]) -> None:
    """RFC 7162 §3.2.5.1: what was gone already when it left may be told again."""
    await lab.deliver(*[HELLO] * 8)
    other = await lab.client(select="INBOX")
    await take_away(other, 1)
    validity, modseq = await state_of(lab)
    await take_away(other, 2, 3, 5, 6, 8)
    client = await qresync_client(lab)
    assert [line for line in news(await client.ok(f"SELECT INBOX (QRESYNC ({validity} {modseq}{known}))")) if line.startswith(b"VANISHED")] == wanted
    told = await client.ok(f"UID FETCH 2:* (FLAGS) (CHANGEDSINCE {modseq} VANISHED)")
    assert [line for line in told if line.startswith(b"VANISHED")] == [b"VANISHED (EARLIER) 2:3,5:6,8"]


async def test_a_session_that_was_silent_is_told_of_each_that_went(lab: Lab) -> None:
    """Fault that pruning could have made: rows that are no more would have been taken for nothing that went."""
    await lab.deliver(*[HELLO] * 8)
    silent, other = await lab.client(select="INBOX"), await lab.client(select="INBOX")
    await take_away(other, 2, 3)
    await other.append("INBOX", HELLO)
    await take_away(other, 9)  # came and went meanwhile
    await other.append("INBOX", HELLO)
    await take_away(other, 5, 6, 8)
    told = await silent.ok("NOOP")
    assert [line for line in told if line.endswith(b"EXPUNGE")] == [b"8 EXPUNGE", b"6 EXPUNGE", b"5 EXPUNGE", b"3 EXPUNGE", b"2 EXPUNGE"]
    assert b"4 EXISTS" in told
    assert (await silent.ok("UID SEARCH ALL")) == [b"SEARCH 1 4 7 10"]
    assert (await silent.ok("FETCH 1:* (UID)")) == [b"1 FETCH (UID 1)", b"2 FETCH (UID 4)", b"3 FETCH (UID 7)", b"4 FETCH (UID 10)"]
    assert await silent.ok("NOOP") == []


async def test_a_process_that_looked_elsewhere_follows_too(lab: Lab) -> None:
    """The arrays of the account are compared, while another session goes on with its own numbers."""
    await lab.deliver(*[HELLO] * 6)
    client = await lab.client(select="INBOX")
    await client.ok("UID SEARCH ALL")
    opened = next(iter(lab.door.accounts._opened.values()))
    (mailbox,) = [view.mailbox for view in opened.views._views.values()]
    other = await lab.client()
    await other.ok("SELECT INBOX")
    view = await opened.views.current(mailbox)
    assert view is not None
    before = view.modseq, view.uidnext
    uids = view.uids
    await take_away(other, 1, 3, 4, 6)
    view.uids, view.modseq, view.uidnext = uids, *before
    again = await opened.views.current(mailbox)
    assert again is view
    assert list(view.uids) == [2, 5]


@pytest.mark.parametrize("seed", range(50))
def test_what_no_message_has_is_what_is_named_without_what_is_there(seed: int) -> None:
    chance = random.Random(seed)
    there = sorted(chance.sample(range(1, 60), chance.randint(0, 40)))
    edges = sorted(chance.sample(range(1, 80), 2 * chance.randint(1, 6)))
    ranges = list(zip(edges[::2], edges[1::2], strict=True))
    uidnext = chance.randint(max(there, default=0) + 1, 70)
    wanted = [uid for low, high in ranges for uid in range(low, high + 1) if uid not in there and uid < uidnext]
    assert [uid for low, high in _absent(Numbering(there), ranges, uidnext) for uid in range(low, high + 1)] == wanted
