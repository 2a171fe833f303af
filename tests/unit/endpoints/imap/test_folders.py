# SPDX-License-Identifier: Apache-2.0
"""Mailboxes by name: made, renamed, deleted, subscribed, listed."""

from __future__ import annotations

import pytest

from tests.unit.endpoints.imap.lab import HELLO, Lab

FIRST = (
    b'LIST (\\HasNoChildren) "/" INBOX',
    b'LIST (\\HasNoChildren \\Archive) "/" Archive',
    b'LIST (\\HasNoChildren \\Drafts) "/" Drafts',
    b'LIST (\\HasNoChildren \\Junk) "/" Junk',
    b'LIST (\\HasNoChildren \\Sent) "/" Sent',
    b'LIST (\\HasNoChildren \\Trash) "/" Trash',
)


async def test_a_new_account_has_six_mailboxes(lab: Lab) -> None:
    client = await lab.client()
    assert await client.ok('LIST "" *') == list(FIRST)


async def test_the_empty_pattern_asks_for_the_delimiter(lab: Lab) -> None:
    client = await lab.client()
    assert await client.ok('LIST "" ""') == [b'LIST (\\Noselect) "/" ""']
    assert await client.ok("NAMESPACE") == [b'NAMESPACE (("" "/")) NIL NIL']


async def test_create_makes_the_levels_above(lab: Lab) -> None:
    client = await lab.client()
    await client.ok("CREATE a/b/c/")
    assert await client.ok('LIST "" a*') == [
        b'LIST (\\HasChildren) "/" a',
        b'LIST (\\HasChildren) "/" a/b',
        b'LIST (\\HasNoChildren) "/" a/b/c',
    ]
    assert (await client.no("CREATE a/b")).startswith(b"NO [ALREADYEXISTS]")


@pytest.mark.parametrize(
    "name", [pytest.param('"a//b"', id="an empty level"), pytest.param("inbox", id="INBOX"), pytest.param("a/" * 40 + "a", id="too many levels")]
)
async def test_names_that_cannot_be(lab: Lab, name: str) -> None:
    client = await lab.client()
    assert (await client.no(f"CREATE {name}")).startswith((b"NO [CANNOT]", b"NO [ALREADYEXISTS]"))


async def test_a_name_in_any_script(lab: Lab) -> None:
    client = await lab.client()
    await client.ok('CREATE "&ZeVnLIqe-"')
    assert b'LIST (\\HasNoChildren) "/" &ZeVnLIqe-' in await client.ok('LIST "" *')
    await client.ok("SELECT &ZeVnLIqe-")


async def test_deleting_a_level_leaves_what_is_below(lab: Lab) -> None:
    client = await lab.client()
    await client.ok("CREATE a/b")
    await client.ok("DELETE a")
    assert await client.ok('LIST "" a*') == [b'LIST (\\Noselect \\HasChildren) "/" a', b'LIST (\\HasNoChildren) "/" a/b']
    assert (await client.no("DELETE a")).startswith(b"NO ")
    assert (await client.no("SELECT a")).startswith(b"NO [NONEXISTENT]")
    await client.ok("DELETE a/b")
    assert await client.ok('LIST "" a*') == []
    assert (await client.no("DELETE INBOX")).startswith(b"NO [CANNOT]")
    assert (await client.no("DELETE nowhere")).startswith(b"NO [NONEXISTENT]")


async def test_rename_moves_the_tree(lab: Lab) -> None:
    client = await lab.client()
    await client.ok("CREATE a/b")
    await client.append("a/b", HELLO)
    before = await client.ok("STATUS a/b (UIDVALIDITY UIDNEXT MESSAGES)")
    await client.ok("RENAME a x/y")
    assert await client.ok('LIST "" x*') == [
        b'LIST (\\HasChildren) "/" x',
        b'LIST (\\HasChildren) "/" x/y',
        b'LIST (\\HasNoChildren) "/" x/y/b',
    ]
    assert await client.ok("STATUS x/y/b (UIDVALIDITY UIDNEXT MESSAGES)") == [before[0].replace(b"a/b", b"x/y/b")]
    assert await client.ok('LIST "" a*') == []


async def test_rename_to_a_name_in_use_changes_nothing(lab: Lab) -> None:
    client = await lab.client()
    await client.ok("CREATE a/b")
    await client.ok("CREATE c/b")
    await client.ok("DELETE c")
    assert (await client.no("RENAME a c")).startswith(b"NO [ALREADYEXISTS]")
    assert (await client.no("RENAME a a/b/c")).startswith(b"NO [CANNOT]")
    assert (await client.no("RENAME nowhere d")).startswith(b"NO [NONEXISTENT]")
    assert len(await client.ok('LIST "" a*')) == 2


async def test_renaming_inbox_moves_its_messages(lab: Lab) -> None:
    await lab.deliver(HELLO, HELLO)
    client = await lab.client()
    await client.ok("CREATE INBOX/below")
    await client.ok("RENAME INBOX old")
    assert await client.ok("STATUS old (MESSAGES)") == [b"STATUS old (MESSAGES 2)"]
    assert await client.ok("STATUS INBOX (MESSAGES UIDNEXT)") == [b"STATUS INBOX (MESSAGES 0 UIDNEXT 3)"]
    assert await client.ok('LIST "" old*') == [b'LIST (\\HasNoChildren) "/" old']


async def test_a_new_mailbox_of_an_old_name_has_another_validity(lab: Lab) -> None:
    client = await lab.client()
    await client.ok("CREATE a")
    old = await client.ok("STATUS a (UIDVALIDITY)")
    await client.ok("DELETE a")
    await client.ok("CREATE a")
    assert await client.ok("STATUS a (UIDVALIDITY)") > old


async def test_subscriptions_outlive_mailboxes(lab: Lab) -> None:
    client = await lab.client()
    known = len(await client.ok('LSUB "" *'))
    await client.ok("SUBSCRIBE work/new")
    assert b'LSUB () "/" work/new' in await client.ok('LSUB "" *')
    assert b'LSUB (\\Noselect) "/" work' in await client.ok('LSUB "" %')
    assert await client.ok('LIST (SUBSCRIBED) "" work*') == [b'LIST (\\NonExistent \\Subscribed) "/" work/new']
    await client.ok("UNSUBSCRIBE work/new")
    assert len(await client.ok('LSUB "" *')) == known


async def test_recursive_match_tells_the_level_above(lab: Lab) -> None:
    client = await lab.client()
    await client.ok("CREATE a/b")
    await client.ok("CREATE a2/a")
    await client.ok("SUBSCRIBE a/b")
    await client.ok("SUBSCRIBE a2/a")
    assert await client.ok('LIST (SUBSCRIBED RECURSIVEMATCH) "" a% RETURN (CHILDREN)') == [
        b'LIST (\\HasChildren) "/" a ("CHILDINFO" ("SUBSCRIBED"))',
        b'LIST (\\HasChildren) "/" a2 ("CHILDINFO" ("SUBSCRIBED"))',
    ]
    # What the pattern shows by itself is not told a second time.
    assert await client.ok('LIST (SUBSCRIBED RECURSIVEMATCH) "" (a2 a2/a)') == [b'LIST (\\Subscribed) "/" a2/a']


async def test_extended_list(lab: Lab) -> None:
    await lab.deliver(HELLO)
    client = await lab.client()
    assert await client.ok('LIST (SPECIAL-USE) "" (Tr* Se*)') == [b'LIST (\\Sent) "/" Sent', b'LIST (\\Trash) "/" Trash']
    assert await client.ok('LIST "" (INBOX) RETURN (CHILDREN STATUS (MESSAGES UNSEEN))') == [
        b'LIST (\\HasNoChildren) "/" INBOX',
        b"STATUS INBOX (MESSAGES 1 UNSEEN 1)",
    ]


async def test_status(lab: Lab) -> None:
    await lab.deliver(HELLO, HELLO)
    client = await lab.client()
    told = await client.ok("STATUS inbox (MESSAGES RECENT UIDNEXT UNSEEN)")
    assert told == [b"STATUS INBOX (MESSAGES 2 RECENT 2 UIDNEXT 3 UNSEEN 2)"]
    assert (await client.no("STATUS nowhere (MESSAGES)")).startswith(b"NO [NONEXISTENT]")


async def test_accounts_see_their_own_only(lab: Lab) -> None:
    await lab.deliver(HELLO)
    alice, bob = await lab.client(), await lab.client("bob")
    await alice.ok("CREATE secret")
    assert await bob.ok('LIST "" *') == list(FIRST)
    assert (await bob.no("SELECT secret")).startswith(b"NO [NONEXISTENT]")
    assert b"0 EXISTS" in await bob.ok("SELECT INBOX")


async def test_a_damaged_name_hides_itself_only(lab: Lab) -> None:
    client = await lab.client()
    await client.ok("CREATE work")
    lab.writer.db.connection.execute("UPDATE mailbox SET sealed_name = zeroblob(length(sealed_name)) WHERE id = (SELECT max(id) FROM mailbox)")
    assert await client.ok('LIST "" *') == list(FIRST)
    assert any(event.name == "seal.broken" for event in lab.events.alerts())
    await client.ok("SELECT work")  # who knows the name finds the mailbox by the tag of it
    assert (await client.no("CREATE work")).startswith(b"NO [ALREADYEXISTS]")
