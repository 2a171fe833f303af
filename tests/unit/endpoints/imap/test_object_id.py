# SPDX-License-Identifier: Apache-2.0
"""Identifiers over a door: a mailbox keeps its own through every renaming, a message through every copy.

Obeys RFC 8474.
"""

from __future__ import annotations

import re

from tests.unit.endpoints.imap.lab import HELLO, Client, Lab

_ID = re.compile(rb"MAILBOXID \((M[0-9a-f]+)\)")


async def mailbox_id(client: Client, name: str) -> bytes:
    (line,) = await client.ok(f"STATUS {name} (MAILBOXID)")
    found = _ID.search(line)
    assert found
    return found[1]


async def email_ids(client: Client) -> list[bytes]:
    return [line.split(b"(")[2].split(b")")[0] for line in await client.ok("FETCH 1:* (EMAILID)")]


async def test_a_mailbox_has_one_identifier_wherever_it_is_told(lab: Lab) -> None:
    # RFC 8474 §4.1-§4.3, LIST-STATUS included.
    client = await lab.client()
    await client.ok("CREATE a/b")
    found = re.fullmatch(rb"OK \[MAILBOXID \((M[0-9a-f]{32})\)\] created", client.tagged)
    assert found
    known = found[1]
    assert await mailbox_id(client, "a/b") == known
    assert b"OK [MAILBOXID (%b)] kept when it is renamed" % known in await client.ok("SELECT a/b")
    assert b"OK [MAILBOXID (%b)] kept when it is renamed" % known in await client.ok("EXAMINE a/b")
    assert (await client.ok('LIST "" a/b RETURN (STATUS (MAILBOXID))'))[1] == b"STATUS a/b (MAILBOXID (%b))" % known
    listed = b" ".join(await client.ok('LIST "" * RETURN (STATUS (MAILBOXID))'))
    assert len(set(_ID.findall(listed))) == len(_ID.findall(listed)) == 8


async def test_renaming_keeps_it_and_deleting_ends_it(lab: Lab) -> None:
    # RFC 8474 §4.
    client = await lab.client()
    await client.ok("CREATE a/b")
    above, below = await mailbox_id(client, "a"), await mailbox_id(client, "a/b")
    await client.ok("RENAME a c")
    assert (await mailbox_id(client, "c"), await mailbox_id(client, "c/b")) == (above, below)
    await client.ok("CREATE a")
    assert await mailbox_id(client, "a") != above
    await client.ok("DELETE c")
    await client.ok("CREATE c")
    assert await mailbox_id(client, "c") not in (above, below)


async def test_renaming_inbox_makes_a_new_mailbox_and_keeps_inbox(lab: Lab) -> None:
    # RFC 3501 §6.3.5, RFC 8474 §4: the messages go, INBOX stays.
    await lab.deliver(HELLO)
    client = await lab.client(select="INBOX")
    inbox, emails = await mailbox_id(client, "INBOX"), await email_ids(client)
    await client.ok("CLOSE")
    await client.ok("RENAME INBOX old")
    assert await mailbox_id(client, "INBOX") == inbox != await mailbox_id(client, "old")
    await client.ok("SELECT old")
    assert await email_ids(client) == emails


async def test_a_message_keeps_its_identifier_through_copy_and_move(lab: Lab) -> None:
    # RFC 8474 §5.1.
    await lab.deliver(HELLO, HELLO)
    client = await lab.client(select="INBOX")
    one, two = await email_ids(client)
    assert one != two
    await client.ok("COPY 1 Archive")
    await client.ok("MOVE 2 Archive")
    await client.ok("SELECT Archive")
    assert await email_ids(client) == [one, two]
    other = await lab.client("bob", select="INBOX")
    assert await other.ok("FETCH 1:* (EMAILID)") == []


async def test_searching_by_identifier(lab: Lab) -> None:
    # RFC 8474 §6.
    await lab.deliver(HELLO, HELLO, HELLO)
    client = await lab.client(select="INBOX")
    one, two, three = [email.decode() for email in await email_ids(client)]
    assert await client.ok(f"SEARCH EMAILID {two}") == [b"SEARCH 2"]
    assert await client.ok(f"UID SEARCH OR EMAILID {three} EMAILID {one}") == [b"SEARCH 1 3"]
    assert await client.ok(f"SEARCH NOT EMAILID {two}") == [b"SEARCH 1 3"]
    assert await client.ok(f"SEARCH EMAILID {two.lower()}") == [b"SEARCH"]
    assert await client.ok("SEARCH EMAILID X-of-another-server") == [b"SEARCH"]
    await client.ok("COPY 2 INBOX")
    await client.ok("NOOP")
    assert await client.ok(f"SEARCH EMAILID {two}") == [b"SEARCH 2 4"]
    # What lies in another mailbox, or in another account, is not here.
    await client.ok("MOVE 1 Archive")
    assert await client.ok(f"SEARCH EMAILID {one}") == [b"SEARCH"]
    other = await lab.client("bob", select="INBOX")
    assert await other.ok(f"SEARCH EMAILID {two}") == [b"SEARCH"]


async def test_a_uid_search_that_counts_is_told_of_no_expunge(lab: Lab) -> None:
    # RFC 3501 §7.4.1, RFC 7162 §3.2.10.2: numbers mean what they meant when the command was sent.
    await lab.deliver(HELLO, HELLO, HELLO)
    one, two = await lab.client(select="INBOX"), await lab.client(select="INBOX")
    await one.ok("STORE 1 +FLAGS.SILENT (\\Deleted)")
    await one.ok("EXPUNGE")
    assert await two.ok("UID SEARCH 2:3") == [b"SEARCH 2 3"]
    assert await two.ok("UID SEARCH UID 2:3") == [b"1 EXPUNGE", b"SEARCH 2 3"]
