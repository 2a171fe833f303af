# SPDX-License-Identifier: Apache-2.0
"""Special uses: given to new mailboxes, each once; they go along with a mailbox and end with it.

Obeys RFC 6154.
"""

from __future__ import annotations

import asyncio

import pytest

from tests.unit.endpoints.imap.lab import HELLO, Lab

REFUSED = {
    "a use that is taken": "(USE (\\Sent))",
    "a use that is taken, in other letters": "(USE (\\sENT))",
    "mail of all mailboxes": "(USE (\\All))",
    "flagged mail": "(USE (\\Flagged))",
    "important mail": "(USE (\\Important))",
    "a use that nobody knows": "(USE (\\Nonsense))",
    "what is no use": "(USE (\\HasChildren))",
    "two uses at once": "(USE (\\Sent \\Drafts))",
    "one that cannot be given beside one that can": "(USE (\\Archive \\All))",
}
MALFORMED = {
    "another parameter": "(IMPORTANCE (\\Sent))",
    "a use without backslash": "(USE (Sent))",
    "no parentheses": "(USE \\Sent)",
    "something behind": "(USE (\\Sent) x)",
}


@pytest.mark.parametrize("arguments", REFUSED.values(), ids=REFUSED.keys())
async def test_a_use_that_cannot_be_given_makes_no_mailbox(lab: Lab, arguments: str) -> None:
    """RFC 6154 §3: NO with USEATTR, and neither the mailbox nor a level above it."""
    client = await lab.client()
    assert (await client.no(f"CREATE a/b {arguments}")).startswith(b"NO [USEATTR]")
    assert await client.ok('LIST "" a*') == []


@pytest.mark.parametrize("arguments", MALFORMED.values(), ids=MALFORMED.keys())
async def test_what_is_no_use_is_bad(lab: Lab, arguments: str) -> None:
    client = await lab.client()
    assert (await client.no(f"CREATE a/b {arguments}")).startswith(b"BAD")
    assert await client.ok('LIST "" a*') == []


async def test_it_is_announced_and_an_empty_list_of_uses_is_none(lab: Lab) -> None:
    client = await lab.client()
    (line,) = await client.ok("CAPABILITY")
    assert {b"SPECIAL-USE", b"CREATE-SPECIAL-USE"} <= set(line.split())
    await client.ok("CREATE plain (USE ())")
    assert await client.ok('LIST "" plain') == [b'LIST (\\HasNoChildren) "/" plain']


async def test_a_name_in_use_is_said_to_be_that(lab: Lab) -> None:
    client = await lab.client()
    await client.ok("CREATE a")
    assert (await client.no("CREATE a (USE (\\Sent))")).startswith(b"NO [ALREADYEXISTS]")
    assert (await client.no("CREATE a//b (USE (\\Sent))")).startswith(b"NO [CANNOT]")


async def test_a_use_goes_along_when_its_mailbox_is_renamed(lab: Lab) -> None:
    client = await lab.client()
    await client.ok("RENAME Sent Post/Gesendet")
    await client.ok("RENAME Post Ablage")
    assert await client.ok('LIST (SPECIAL-USE) "" (Ab* Se*)') == [b'LIST (\\Sent) "/" Ablage/Gesendet']
    # Who takes its old name takes no use with it, and cannot be given the use.
    assert (await client.no("CREATE Sent (USE (\\Sent))")).startswith(b"NO [USEATTR]")
    await client.ok("CREATE Sent")
    assert await client.ok('LIST "" Sent') == [b'LIST (\\HasNoChildren) "/" Sent']


async def test_a_use_ends_with_its_mailbox_and_can_be_given_again(lab: Lab) -> None:
    client = await lab.client()
    await client.ok("DELETE Sent")
    assert await client.ok('LIST (SPECIAL-USE) "" Se*') == []
    await client.ok("CREATE a/Gesendet (USE (\\sEnT))")
    assert await client.ok('LIST "" a/% RETURN (SPECIAL-USE)') == [b'LIST (\\Sent) "/" a/Gesendet']
    assert await client.ok('LIST "" a') == [b'LIST (\\HasChildren) "/" a']
    assert (await client.no("CREATE b (USE (\\Sent))")).startswith(b"NO [USEATTR]")


async def test_junk_is_where_the_use_is(lab: Lab) -> None:
    """Renamed: there. Deleted: INBOX, for mail is never lost. Made again: there."""
    client = await lab.client()
    await client.ok("RENAME Junk Muell")
    await lab.deliver(HELLO, special_use="junk")
    assert await client.ok("STATUS Muell (MESSAGES)") == [b"STATUS Muell (MESSAGES 1)"]
    await client.ok("DELETE Muell")
    await lab.deliver(HELLO, special_use="junk")
    assert await client.ok("STATUS INBOX (MESSAGES)") == [b"STATUS INBOX (MESSAGES 1)"]
    await client.ok("CREATE Spam (USE (\\Junk))")
    await lab.deliver(HELLO, special_use="junk")
    assert await client.ok("STATUS Spam (MESSAGES)") == [b"STATUS Spam (MESSAGES 1)"]


async def test_renaming_inbox_gives_no_use_away(lab: Lab) -> None:
    client = await lab.client()
    await client.ok("RENAME INBOX old")
    await lab.deliver(HELLO)
    assert await client.ok("STATUS INBOX (MESSAGES)") == [b"STATUS INBOX (MESSAGES 1)"]
    assert await client.ok('LIST "" old') == [b'LIST (\\HasNoChildren) "/" old']


async def test_of_two_who_ask_for_a_use_at_once_one_gets_it(lab: Lab) -> None:
    """The store decides, and its refusal is USEATTR too."""
    one, other = await lab.client(), await lab.client()
    await one.ok("DELETE Archive")
    await asyncio.gather(one.command("CREATE here (USE (\\Archive))"), other.command("CREATE there (USE (\\Archive))"))
    tagged = sorted(answer.split(b"]")[0] for answer in (one.tagged, other.tagged))
    assert tagged[0] == b"NO [USEATTR"
    assert tagged[1].startswith(b"OK [MAILBOXID")
    assert len(await one.ok('LIST (SPECIAL-USE) "" (here there)')) == 1
