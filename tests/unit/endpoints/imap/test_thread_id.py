# SPDX-License-Identifier: Apache-2.0
"""THREADID over a door: given at delivery and APPEND, kept through copies, found by SEARCH, made up for in mail of before.

Obeys RFC 8474 §5.2, §6.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

import pytest

from moatmail.core.limits import mailbox as limits
from moatmail.store import operations as o
from tests.unit.endpoints.imap.lab import HELLO, Client, Lab

ROOT = HELLO
ANSWER = HELLO.replace(b"<1@sender.test>", b"<2@example.test>\r\nReferences: <1@sender.test>").replace(b"Subject: hello", b"Subject: Re: hello")
FURTHER = HELLO.replace(b"<1@sender.test>", b"<3@sender.test>\r\nIn-Reply-To: <2@example.test>").replace(b"Subject: hello", b"Subject: RE: hello")
CHANGED = ANSWER.replace(b"<2@", b"<4@").replace(b"Re: hello", b"something else")
ALONE = HELLO.replace(b"<1@sender.test>", b"<5@sender.test>")
_ID = re.compile(rb"THREADID (NIL|\((T[0-9a-f]{32})\))")
BEFORE = ("UPDATE message SET thread = NULL, links = NULL", "DELETE FROM thread_link")


async def thread_ids(client: Client, what: str = "FETCH 1:* (THREADID)") -> list[bytes]:
    """Give the identifiers told, empty where NIL."""
    found = [_ID.search(line) for line in await client.ok(what)]
    assert None not in found
    return [match[2] or b"" for match in found if match]


async def shape(client: Client, what: str = "FETCH 1:* (THREADID)") -> list[int]:
    """Give the identifiers numbered as they come; 0 is NIL."""
    seen: dict[bytes, int] = {b"": 0}
    return [seen.setdefault(one, len(seen)) for one in await thread_ids(client, what)]


async def until(client: Client, given: Callable[[list[int]], bool]) -> list[int]:
    """Wait for the round in the background."""
    for _ in range(200):
        if given(await shape(client)):
            break
        await asyncio.sleep(0.02)
    return await shape(client)


async def test_messages_are_threaded_when_they_are_delivered(lab: Lab) -> None:
    await lab.deliver(ROOT, ALONE, ANSWER, CHANGED, FURTHER)
    await lab.deliver(ROOT, to="bob")
    client = await lab.client(select="INBOX")
    assert await shape(client) == [1, 2, 1, 3, 1]
    (email,) = await client.ok("FETCH 1 (EMAILID)")
    assert email.split(b"(E")[1][:32] != (await thread_ids(client))[0][1:]
    other = await lab.client("bob", select="INBOX")
    assert not set(await thread_ids(other)) & set(await thread_ids(client))


@pytest.mark.parametrize(
    "items", ["UID THREADID", "FLAGS THREADID", "EMAILID THREADID PREVIEW", "THREADID ENVELOPE BODYSTRUCTURE", "THREADID BODY.PEEK[]", "THREADID BODY[TEXT]"]
)
async def test_it_is_told_with_whatever_else_is_asked(lab: Lab, items: str) -> None:
    await lab.deliver(ROOT, ALONE, ANSWER)
    client = await lab.client(select="INBOX")
    assert await shape(client, f"FETCH 1:* ({items})") == [1, 2, 1]
    assert await shape(client, f"UID FETCH 2:3 ({items})") == [1, 2]


async def test_it_is_told_in_long_lists(lab: Lab) -> None:
    mail = [HELLO.replace(b"<1@", b"<%d@" % (place % 7)) for place in range(limits.LISTING_FROM + 10)]
    await lab.store.write(_together(lab, mail))
    client = await lab.client(select="INBOX")
    for items in ("THREADID", "UID FLAGS ENVELOPE THREADID"):
        assert await shape(client, f"FETCH 1:* ({items})") == [1 + place % 7 for place in range(len(mail))]


def _together(lab: Lab, mail: list[bytes]) -> o.Accept:
    made = [lab.accept(one) for one in mail]
    return o.Accept(tuple([content for one in made for content in one.contents]), tuple([delivery for one in made for delivery in one.deliveries]))


async def test_appended_copied_and_moved_messages_have_it_too(lab: Lab) -> None:
    await lab.deliver(ROOT)
    client = await lab.client(select="INBOX")
    assert b"APPENDUID" in await client.append("INBOX", ANSWER)
    await client.command(b"APPEND Archive {%d+}\r\n%b {%d+}\r\n%b" % (len(FURTHER), FURTHER, len(ALONE), ALONE))
    await client.ok("NOOP")
    assert await shape(client) == [1, 1]
    thread = (await thread_ids(client))[0]
    await client.ok("COPY 1 Archive")
    await client.ok("MOVE 2 Archive")
    await client.ok("SELECT Archive")
    found = await thread_ids(client)
    assert [one == thread for one in found] == [True, False, True, True]


async def test_searching_by_thread(lab: Lab) -> None:
    await lab.deliver(ROOT, ALONE, ANSWER, CHANGED, FURTHER)
    client = await lab.client(select="INBOX")
    thread, alone = [one.decode() for one in (await thread_ids(client))[:2]]
    assert await client.ok(f"SEARCH THREADID {thread}") == [b"SEARCH 1 3 5"]
    assert await client.ok(f"UID SEARCH NOT THREADID {thread}") == [b"SEARCH 2 4"]
    assert await client.ok(f"SEARCH OR THREADID {thread} THREADID {alone}") == [b"SEARCH 1 2 3 5"]
    assert await client.ok(f"SEARCH THREADID {thread} SUBJECT re") == [b"SEARCH 3 5"]
    assert await client.ok(f"UID SORT (ARRIVAL) UTF-8 THREADID {thread}") == [b"SORT 1 3 5"]
    assert await client.ok(f"SEARCH THREADID {thread.lower()}") == [b"SEARCH"]
    for strange in ("T1", "X", thread[:-1], thread + "00", "E" + thread[1:]):
        assert await client.ok(f"SEARCH THREADID {strange}") == [b"SEARCH"]
    await client.ok("COPY 3 INBOX")
    await client.ok("MOVE 1 Archive")
    assert await client.ok(f"UID SEARCH THREADID {thread}") == [b"SEARCH 3 5 6"]
    await client.ok("SELECT Archive")
    assert await client.ok(f"UID SEARCH THREADID {thread}") == [b"SEARCH 1"]
    other = await lab.client("bob", select="INBOX")
    assert await other.ok(f"SEARCH THREADID {thread}") == [b"SEARCH"]


async def test_a_thread_of_many_pages_is_found_whole(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moatmail.endpoints.imap.search.PAGE", 3)
    await lab.deliver(*[ROOT if place % 3 else ALONE for place in range(20)])
    client = await lab.client(select="INBOX")
    alone, thread = [one.decode() for one in (await thread_ids(client))[:2]]
    for one, left in ((thread, (1, 2)), (alone, (0,))):
        wanted = b" ".join(b"%d" % (place + 1) for place in range(20) if place % 3 in left)
        assert await client.ok(f"SEARCH THREADID {one}") == [b"SEARCH " + wanted]
    await client.ok("COPY 1:20 INBOX")
    # What the client was not told of is none of its messages.
    assert await client.ok(f"SEARCH RETURN (COUNT) THREADID {thread}") == [b'ESEARCH (TAG "t%d") COUNT 26' % client._number]


async def test_mail_of_before_has_none_until_its_owner_looks_and_then_what_delivery_had_given(lab: Lab) -> None:
    await lab.deliver(ROOT, ALONE, ANSWER, CHANGED, FURTHER)
    for statement in BEFORE:
        await lab.damage(statement)
    await lab.deliver(ALONE)  # what comes meanwhile has its own at once, and what is of before joins it
    client = await lab.client(select="INBOX")
    assert await until(client, lambda found: 0 not in found) == [1, 2, 1, 3, 1, 2]
    before = await thread_ids(client)
    again = await lab.client(select="INBOX")
    assert await thread_ids(again) == before


async def test_a_message_that_does_not_open_keeps_nobody_else_from_a_thread(lab: Lab) -> None:
    await lab.deliver(ROOT, ALONE, ANSWER)
    for statement in (*BEFORE, "UPDATE message SET summary = x'00' WHERE number = 2"):
        await lab.damage(statement)
    client = await lab.client(select="INBOX")
    assert await until(client, lambda found: found.count(0) == 1) == [1, 0, 1]
    assert await client.ok("SEARCH NOT THREADID T1") == [b"SEARCH 1 2 3"]
