# SPDX-License-Identifier: Apache-2.0
"""REPLACE over a door: a draft saved again is one message before and one after, whatever happens in between.

Obeys RFC 8508.
"""

from __future__ import annotations

import re

import pytest

from moatmail.store import operations as o
from tests.unit.endpoints.imap.lab import HELLO, NOW, Client, Lab

NEW = b"Subject: again\r\n\r\nthe same, but better\r\n"
_UID = re.compile(rb"OK \[APPENDUID [0-9]+ ([0-9]+)\] replaced")


async def replace(client: Client, words: str, content: bytes = NEW) -> list[bytes]:
    return await client.command(f"{words} {{{len(content)}+}}\r\n".encode() + content)


async def subjects(client: Client, mailbox: str = "INBOX") -> list[bytes]:
    if b"0 EXISTS" in await client.ok(f"SELECT {mailbox}"):
        return []
    return [line.split(b'"')[3] if b'("Tue' in line else line.split(b'"')[1] for line in await client.ok("FETCH 1:* (ENVELOPE)")]


@pytest.mark.parametrize(
    ("words", "gone"),
    [
        pytest.param("REPLACE 2 INBOX", b"2 EXPUNGE", id="by number"),
        pytest.param("REPLACE * INBOX", b"3 EXPUNGE", id="the last"),
        pytest.param("UID REPLACE 1 INBOX", b"1 EXPUNGE", id="by UID"),
        pytest.param('REPLACE 1 INBOX (\\Seen \\Draft) "01-Feb-2020 10:00:00 +0000"', b"1 EXPUNGE", id="with flags and a date"),
    ],
)
async def test_where_the_new_one_is_comes_first_then_what_went(lab: Lab, words: str, gone: bytes) -> None:
    await lab.deliver(*[HELLO] * 3)
    client = await lab.client(select="INBOX")
    told = await replace(client, words)
    assert client.tagged == b"OK replaced"
    assert _UID.fullmatch(told[0])[1] == b"4"  # type: ignore[index]  # else it fails
    assert told.index(gone) > 0
    assert b"3 EXISTS" in told
    assert sorted(await subjects(client)) == [b"again", b"hello", b"hello"]
    if "Draft" in words:
        assert await client.ok("FETCH 3 (FLAGS INTERNALDATE)") == [b'3 FETCH (FLAGS (\\Seen \\Draft) INTERNALDATE " 1-Feb-2020 10:00:00 +0000")']


async def test_into_another_mailbox(lab: Lab) -> None:
    await lab.deliver(HELLO)
    client = await lab.client(select="INBOX")
    told = await replace(client, "REPLACE 1 Drafts (\\Draft)")
    assert client.tagged == b"OK replaced"
    assert _UID.fullmatch(told[0])[1] == b"1"  # type: ignore[index]
    assert told[1] == b"1 EXPUNGE"
    assert await subjects(client) == []
    assert await subjects(client, "Drafts") == [b"again"]


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        pytest.param("REPLACE 9 INBOX", b"BAD no such message number", id="no such number"),
        pytest.param("UID REPLACE 9 INBOX", b"NO [EXPUNGEISSUED]", id="no such UID"),
        pytest.param("REPLACE 1 nowhere", b"NO [TRYCREATE]", id="no such mailbox"),
        pytest.param("REPLACE 1:2 INBOX", b"BAD", id="not several"),
        pytest.param("UID REPLACE * INBOX", b"BAD", id="no star among UIDs"),
        pytest.param("REPLACE 0 INBOX", b"BAD", id="no message has the number 0"),
    ],
)
async def test_what_cannot_be_replaced_stays_and_nothing_comes(lab: Lab, words: str, answer: bytes) -> None:
    await lab.deliver(HELLO)
    client = await lab.client(select="INBOX")
    await replace(client, words)
    assert client.tagged.startswith(answer), client.tagged
    assert await subjects(client) == [b"hello"]


async def test_two_messages_are_too_many(lab: Lab) -> None:
    await lab.deliver(HELLO)
    client = await lab.client(select="INBOX")
    octets = b"{%d+}\r\n%b" % (len(NEW), NEW)
    await client.command(b"REPLACE 1 INBOX " + octets + b" " + octets)
    assert client.tagged.startswith(b"BAD one message is replaced by one")
    assert await subjects(client) == [b"hello"]


async def test_one_that_another_session_removed_meanwhile_is_not_replaced(lab: Lab) -> None:
    await lab.deliver(HELLO, HELLO)
    client, other = await lab.client(select="INBOX"), await lab.client(select="INBOX")
    await other.ok("STORE 1 +FLAGS.SILENT (\\Deleted)")
    await other.ok("EXPUNGE")
    await replace(client, "REPLACE 1 INBOX")
    assert client.tagged.startswith(b"NO [EXPUNGEISSUED]")
    assert await subjects(client) == [b"hello"]


async def test_it_needs_a_mailbox_that_may_be_changed(lab: Lab) -> None:
    await lab.deliver(HELLO)
    client = await lab.client()
    await replace(client, "REPLACE 1 INBOX")
    assert client.tagged.startswith(b"BAD")
    await client.ok("EXAMINE INBOX")
    await replace(client, "REPLACE 1 INBOX")
    assert client.tagged.startswith(b"NO [NOPERM]")


async def test_the_room_of_the_old_one_counts_for_the_new_one(lab: Lab) -> None:
    await lab.deliver(HELLO)
    await lab.store.write(o.Change("admin", "cli", NOW, (o.SetAccount("alice@example.test", "active", 450),)))
    client = await lab.client(select="INBOX")
    size = int((await client.ok("FETCH 1 RFC822.SIZE"))[0].split(b" ")[-1][:-1])
    await replace(client, "REPLACE 1 INBOX", b"Subject: again\r\n\r\n" + b"x" * (380 - 20))
    assert size > 100
    assert client.tagged == b"OK replaced", client.tagged
    await replace(client, "REPLACE 1 INBOX", b"Subject: again\r\n\r\n" + b"x" * 500)
    assert client.tagged.startswith(b"NO [OVERQUOTA]")
    assert await subjects(client) == [b"again"]


async def test_with_qresync_and_with_uids_only(lab: Lab) -> None:
    await lab.deliver(HELLO, HELLO)
    client = await lab.client()
    await client.ok("ENABLE QRESYNC")
    await client.ok("SELECT INBOX")
    told = await replace(client, "REPLACE 1 INBOX")
    assert b"VANISHED 1" in told
    assert client.tagged.startswith(b"OK [HIGHESTMODSEQ ")
    only = await lab.client()
    await only.ok("ENABLE UIDONLY")
    await only.ok("SELECT INBOX")
    await replace(only, "REPLACE 1 INBOX")
    assert only.tagged.startswith(b"BAD [UIDREQUIRED]")
    assert b"VANISHED 2" in await replace(only, "UID REPLACE 2 INBOX")
