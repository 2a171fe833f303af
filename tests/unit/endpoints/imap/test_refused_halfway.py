# SPDX-License-Identifier: Apache-2.0
"""Commands that are refused, or fail for one message of many: afterwards client and server believe the same.

Obeys RFC 3501 §6.3.1, §6.3.8, §6.4.5, §7.4.1, RFC 2177 §3.
"""

from __future__ import annotations

import pytest

from moatmail.core.errors import TemporaryError
from moatmail.endpoints.imap import select
from moatmail.endpoints.imap.conversation import Conversation
from tests.unit.endpoints.imap.lab import HELLO, Lab

UNDECODABLE = b"Subject: x\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: x-strange\r\n\r\nbody\r\n"


async def test_an_idle_that_was_refused_is_none_and_nothing_goes_unasked(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    await lab.deliver(HELLO, HELLO)
    client = await lab.client(select="INBOX")

    async def away(_conversation: Conversation) -> None:
        raise TemporaryError("the store is away")

    with monkeypatch.context() as patch:
        patch.setattr(select, "sync", away)
        assert (await client.no("IDLE")).startswith(b"NO [UNAVAILABLE]")
    mailbox = (await client.ok("STATUS INBOX (MESSAGES)"))[0]
    assert mailbox == b"STATUS INBOX (MESSAGES 2)"
    assert not lab.door.listeners._waiting  # nobody waits to be woken: what comes is told with the next command
    other = await lab.client(select="INBOX")
    await other.ok("STORE 1 +FLAGS (\\Deleted)")
    await other.ok("EXPUNGE")
    assert await client.ok("FETCH 2 (UID)") == [b"2 FETCH (UID 2)"]  # the numbers are those that the client knows
    assert await client.ok("NOOP") == [b"1 EXPUNGE"]


@pytest.mark.parametrize("item", [pytest.param("BINARY[1]", id="a part that cannot be decoded"), pytest.param("(BINARY[1] BODY[])", id="and one that can")])
async def test_that_a_message_was_seen_is_told_though_its_content_was_not(lab: Lab, item: str) -> None:
    await lab.deliver(UNDECODABLE)
    client = await lab.client(select="INBOX")
    await client.ok("ENABLE CONDSTORE")
    told = await client.command(f"FETCH 1 {item}")
    assert client.tagged.startswith(b"NO [UNKNOWN-CTE]")
    assert told == [b"1 FETCH (UID 1 FLAGS (\\Seen \\Recent) MODSEQ (3))"]
    assert await client.ok("NOOP") == []


@pytest.mark.parametrize("name", ['""', "&", "{1+}\r\n\x7f"], ids=["of nothing", "in bad UTF-7", "with a control character"])
async def test_a_name_that_can_name_nothing_leaves_no_mailbox_selected(lab: Lab, name: str) -> None:
    client = await lab.client(select="INBOX")
    assert await client.command(f"SELECT {name}") == [b"OK [CLOSED] the other mailbox is closed"]
    assert client.tagged.startswith(b"NO [NONEXISTENT]")
    assert (await client.no("CHECK")).startswith(b"BAD")


@pytest.mark.parametrize("command", ['LIST "" (nothing*here)', 'LIST (RECURSIVEMATCH SUBSCRIBED) "" nothing%', 'LSUB "" nothing%'])
async def test_names_that_match_nothing_give_others_their_turn_too(lab: Lab, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    client = await lab.client()
    for number in range(20):
        await client.ok(f"SUBSCRIBE name{number}")
        await client.ok(f"CREATE name{number}")
    looked = 0
    pause = Conversation.pause

    async def counted(conversation: Conversation, written: int = 0) -> bool:
        nonlocal looked
        looked += 1
        return await pause(conversation, written)

    monkeypatch.setattr(Conversation, "pause", counted)
    assert await client.ok(command) == []
    assert looked >= 20
