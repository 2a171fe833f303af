# SPDX-License-Identifier: Apache-2.0
"""Mailbox names over sessions: the stories, and what one session tells of another's doing, of names kept before names were normalised, and of full accounts.

Obeys RFC 3501 §5.1 and §6.3.3-§6.3.10, RFC 9051 §5.1 and §6.3.4-§6.3.9, RFC 8474 §4.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from moatmail.mailbox import placements
from tests.unit.endpoints.imap.lab import HELLO, Lab
from tests.unit.endpoints.imap.stories import COMPOSED, DECOMPOSED, STORIES, tell


@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES.keys())
async def test_story(lab: Lab, story: str) -> None:
    await lab.deliver(HELLO) if " COPY " in story else None
    await tell(await lab.client(), story)
    assert not lab.events.alerts()


async def test_the_longest_name_is_found_in_utf7_too(lab: Lab) -> None:
    """No client may make what another cannot name: 1,000 octets of UTF-8 are up to 2,334 in modified UTF-7."""
    name = "&\N{LATIN SMALL LETTER E WITH ACUTE}" * 333
    one, other = await lab.client(), await lab.client()
    await one.ok("ENABLE UTF8=ACCEPT")
    await one.ok(f'CREATE "{name}"')
    seven = "&-&AOk-" * 333
    assert await other.ok(f'LIST "" "{seven}"') == [f'LIST (\\HasNoChildren) "/" {seven}'.encode()]
    await other.ok(f'SELECT "{seven}"')
    await other.ok(f'RENAME "{seven}" short')
    await one.ok("SELECT short")


@pytest.fixture
def before_the_rule(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Names are kept as they are given, until `undo`: so they were by the version before."""
    monkeypatch.setattr("moatmail.mailbox.mailboxes.canonical", lambda name: name)
    return monkeypatch


async def test_a_name_kept_before_names_were_normalised_is_found_in_every_form(lab: Lab, before_the_rule: pytest.MonkeyPatch) -> None:
    """RFC 9051 §5.1: and nothing is made beside it that looks the same."""
    client = await lab.client()
    await client.ok("CREATE e&AwE-/x")
    await client.ok("SUBSCRIBE e&AwE-")
    await client.append("e&AwE-/x", HELLO)
    before_the_rule.undo()
    await tell(
        client,
        """
        NO [ALREADYEXISTS] < CREATE &AOk-
        NO [ALREADYEXISTS] < CREATE e&AwE-
        NO [ALREADYEXISTS] < CREATE &AOk-/x
        OK < STATUS &AOk-/x (MESSAGES)
        * STATUS &AOk-/x (MESSAGES 1)
        OK < STATUS e&AwE-/x (MESSAGES)
        * STATUS e&AwE-/x (MESSAGES 1)
        OK < SELECT &AOk-
        OK < LIST "" &AOk-*
        * LIST (\\HasChildren) "/" e&AwE-
        * LIST (\\HasNoChildren) "/" e&AwE-/x
        OK < CREATE &AOk-/&AOk-
        OK < LIST "" &AOk-/&AOk-
        * LIST (\\HasNoChildren) "/" e&AwE-/&AOk-
        OK < DELETE &AOk-
        OK < LIST "" &AOk-
        * LIST (\\Noselect \\HasChildren) "/" e&AwE-
        OK < CREATE &AOk-
        OK < LIST "" &AOk-*
        * LIST (\\HasChildren) "/" e&AwE-
        * LIST (\\HasNoChildren) "/" e&AwE-/x
        * LIST (\\HasNoChildren) "/" e&AwE-/&AOk-
        NO [ALREADYEXISTS] < RENAME Sent &AOk-/x
        OK < RENAME Sent &AOk-/y
        OK < LIST "" &AOk-/y
        * LIST (\\HasNoChildren \\Sent) "/" e&AwE-/y
        OK < UNSUBSCRIBE &AOk-
        OK < LSUB "" &AOk-*
        OK < RENAME &AOk- new
        OK < RENAME new &AOk-
        OK < LIST "" e&AwE-/%
        * LIST (\\HasNoChildren) "/" &AOk-/x
        * LIST (\\HasNoChildren \\Sent) "/" &AOk-/y
        * LIST (\\HasNoChildren) "/" &AOk-/&AOk-
        """,
    )


async def test_twins_kept_before_names_were_normalised_stay_two(lab: Lab, before_the_rule: pytest.MonkeyPatch) -> None:
    """Each is found by the very name it was given."""
    client = await lab.client()
    await client.ok("CREATE e&AwE-")
    await client.ok("CREATE &AOk-")
    await client.append("e&AwE-", HELLO)
    before_the_rule.undo()
    await tell(
        client,
        """
        OK < STATUS e&AwE- (MESSAGES)
        * STATUS e&AwE- (MESSAGES 1)
        OK < STATUS &AOk- (MESSAGES)
        * STATUS &AOk- (MESSAGES 0)
        NO [ALREADYEXISTS] < CREATE &AOk-
        NO [ALREADYEXISTS] < CREATE e&AwE-
        OK < DELETE &AOk-
        OK < STATUS &AOk- (MESSAGES)
        * STATUS &AOk- (MESSAGES 1)
        """,
    )


async def test_select_tells_an_imap4rev2_client_the_name_that_is_kept(lab: Lab) -> None:
    """RFC 9051 §6.3.2 and §6.3.9.7."""
    client = await lab.client()
    await client.ok("ENABLE IMAP4rev2")
    await client.ok(f'CREATE "{COMPOSED}"')
    assert f'LIST () "/" "{COMPOSED}" ("OLDNAME" ("{DECOMPOSED}"))'.encode() in await client.ok(f'SELECT "{DECOMPOSED}"')
    assert f'LIST () "/" "{COMPOSED}"'.encode() in await client.ok(f'SELECT "{COMPOSED}"')


async def test_renaming_a_tree_keeps_identifiers_validities_and_what_is_selected(lab: Lab) -> None:
    """RFC 8474 §4, RFC 9051 §6.3.6."""
    client, other = await lab.client(), await lab.client()
    await client.ok("CREATE a/b/c")
    await client.append("a/b/c", HELLO)
    items = "(MESSAGES UIDNEXT UIDVALIDITY MAILBOXID)"
    before = [line.replace(b" a", b" x/y") for name in ("a", "a/b", "a/b/c") for line in await client.ok(f"STATUS {name} {items}")]
    await other.ok("SELECT a/b/c")
    await client.ok("RENAME a x/y")
    assert [line for name in ("x/y", "x/y/b", "x/y/b/c") for line in await client.ok(f"STATUS {name} {items}")] == before
    assert await other.ok("FETCH 1 (UID)") == [b"1 FETCH (UID 1)"]
    await client.ok("CREATE a/b/c")
    (told,) = await client.ok(f"STATUS a/b/c {items}")
    validity = re.compile(rb"UIDVALIDITY (\d+) MAILBOXID \((\w+)\)")
    old, new = validity.search(before[2]), validity.search(told)
    assert old
    assert new
    assert int(new[1]) > int(old[1])
    assert new[2] != old[2]


async def test_renaming_inbox_moves_what_lies_there_and_tells_who_has_it_open(lab: Lab) -> None:
    """RFC 9051 §6.3.6: INBOX is empty then, and goes on receiving; flags and dates go along."""
    await lab.deliver(HELLO, HELLO)
    client, other = await lab.client(), await lab.client(select="INBOX")
    await other.ok("STORE 2 +FLAGS (\\Flagged hot)")
    (date,) = await other.ok("FETCH 2 (INTERNALDATE)")
    await client.ok("CREATE INBOX/below")
    await client.append("INBOX/below", HELLO)
    await client.ok("RENAME INBOX INBOX/old")
    assert await other.ok("NOOP") == [b"2 EXPUNGE", b"1 EXPUNGE"]
    assert await client.ok("STATUS INBOX/below (MESSAGES)") == [b"STATUS INBOX/below (MESSAGES 1)"]
    await client.ok("SELECT INBOX/old")
    assert await client.ok("FETCH 2 (FLAGS INTERNALDATE)") == [b"2 FETCH (FLAGS (\\Flagged \\Recent hot) " + date.removeprefix(b"2 FETCH (")]
    await lab.deliver(HELLO)
    assert b"1 EXISTS" in await other.ok("NOOP")


async def test_deleting_a_level_that_is_selected_elsewhere(lab: Lab) -> None:
    """What lies below stays, and stays usable (RFC 3501 §6.3.4)."""
    client, other = await lab.client(), await lab.client()
    await client.ok("CREATE a/b")
    await client.append("a", HELLO)
    await client.append("a/b", HELLO)
    await other.ok("SELECT a/b")
    await client.ok("SELECT a")
    assert b"OK [CLOSED] the selected mailbox was deleted" in await client.ok("DELETE a")
    assert (await client.no("FETCH 1 (UID)")).startswith(b"BAD")
    assert b"1 FETCH (UID 1)" in await other.ok("FETCH 1 (UID)")
    await client.ok("CREATE a")
    assert await client.ok("STATUS a (MESSAGES UIDNEXT)") == [b"STATUS a (MESSAGES 0 UIDNEXT 1)"]


async def test_notify_knows_both_forms_of_a_name(lab: Lab) -> None:
    """RFC 9051 §5.1: a name that is not normalised is taken in every command; what a session did itself is no news to it in either form."""
    client, other = await lab.client(), await lab.client()
    await client.ok("ENABLE IMAP4rev2")
    await other.ok("ENABLE IMAP4rev2")
    await client.ok(f'NOTIFY SET (subtree "{DECOMPOSED}" (MailboxName))')
    await other.ok(f'CREATE "{COMPOSED}/a"')
    told = [await client.line(), await client.line()]
    assert set(told) == {f'* LIST (\\HasChildren) "/" "{COMPOSED}"'.encode(), f'* LIST (\\HasNoChildren) "/" "{COMPOSED}/a"'.encode()}
    assert await client.ok(f'CREATE "{DECOMPOSED}/b"') == [f'LIST () "/" "{COMPOSED}/b" ("OLDNAME" ("{DECOMPOSED}/b"))'.encode()]
    assert await client.ok("NOOP") == []


async def test_a_full_account_may_rename_but_not_add(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rename that makes no level was refused, as if it made a mailbox."""
    client = await lab.client()
    await client.ok("CREATE a/b")
    monkeypatch.setattr("moatmail.mailbox.mailboxes.MAILBOXES", 8)
    assert (await client.no("CREATE c")).startswith(b"NO [LIMIT]")
    await client.ok("RENAME a c")
    assert (await client.no("RENAME c d/e")).startswith(b"NO [LIMIT]")
    assert (await client.no("RENAME INBOX old")).startswith(b"NO [LIMIT]")
    await client.ok("DELETE c/b")
    assert (await client.no("CREATE d/e")).startswith(b"NO [LIMIT]")
    assert await client.ok('LIST "" d*') == []
    await client.ok("CREATE d")


async def test_a_full_list_of_subscriptions_takes_what_is_on_it_already(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    client = await lab.client()
    monkeypatch.setattr("moatmail.mailbox.mailboxes.SUBSCRIPTIONS", 6)
    assert (await client.no("SUBSCRIBE new")).startswith(b"NO [LIMIT]")
    await client.ok("SUBSCRIBE Sent")
    await client.ok("UNSUBSCRIBE Sent")
    await client.ok("SUBSCRIBE new")


async def test_mail_that_comes_while_inbox_is_renamed_stays_in_it(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """An INBOX that gets mail without end was moved without end."""
    await lab.deliver(HELLO, HELLO, HELLO)
    client = await lab.client()
    move = placements.move

    async def busy(*arguments: Any) -> Any:  # noqa: ANN401 - as it is
        await lab.deliver(HELLO)
        return await move(*arguments)

    monkeypatch.setattr(placements, "move", busy)
    monkeypatch.setattr(placements, "MOVED", 2)
    await client.ok("RENAME INBOX old")
    assert await client.ok("STATUS old (MESSAGES)") == [b"STATUS old (MESSAGES 3)"]
    assert await client.ok("STATUS INBOX (MESSAGES)") == [b"STATUS INBOX (MESSAGES 2)"]


async def test_trees_that_differ_in_the_form_of_their_names_are_not_joined(lab: Lab, before_the_rule: pytest.MonkeyPatch) -> None:
    """What would stand side by side after a rename is looked for in either form."""
    client = await lab.client()
    await client.ok("CREATE a/e&AwE-")
    await client.ok("CREATE b/&AOk-")
    await client.ok("DELETE b")
    before_the_rule.undo()
    assert (await client.no("RENAME a b")).startswith(b"NO [ALREADYEXISTS]")
    await client.ok("DELETE b/&AOk-")
    await client.ok("RENAME a b")
    assert await client.ok('LIST "" b/%') == [b'LIST (\\HasNoChildren) "/" b/e&AwE-']


async def test_notify_watches_a_name_kept_before_names_were_normalised(lab: Lab, before_the_rule: pytest.MonkeyPatch) -> None:
    client, other = await lab.client(), await lab.client()
    await client.ok("CREATE e&AwE-/x")
    await client.ok("CREATE e&AwE-2")
    before_the_rule.undo()
    await client.ok("NOTIFY SET (subtree &AOk- (MailboxName)) (mailboxes &AOk-2 (MailboxName))")
    await other.ok("DELETE e&AwE-/x")
    assert await client.line() == b'* LIST (\\NonExistent \\HasNoChildren) "/" e&AwE-/x'
    await other.ok("DELETE &AOk-2")
    assert await client.line() == b'* LIST (\\NonExistent \\HasNoChildren) "/" e&AwE-2'


async def test_a_name_in_another_form_is_found_without_a_listing(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Mac that writes all accents in two parts asks for each mailbox by such a name: no listing of thousands for each SELECT."""
    client = await lab.client()
    await client.ok("CREATE &AOk-")
    monkeypatch.setattr("moatmail.mailbox.mailboxes.list_mailboxes", None)
    await client.ok("SELECT e&AwE-")
    await client.ok("STATUS e&AwE- (MESSAGES)")


async def test_a_rename_of_many_mailboxes_lets_others_have_their_turn(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five thousand names sealed in one go held the loop for more than a tenth of a second."""
    client = await lab.client()
    for number in range(30):
        await client.ok(f"CREATE a/{number}")
    turns: list[float] = []
    sleep = asyncio.sleep

    async def counting(seconds: float) -> None:
        turns.append(seconds)
        await sleep(seconds)

    monkeypatch.setattr("moatmail.mailbox.mailboxes.SEALED_NAMES", 10)
    monkeypatch.setattr("moatmail.mailbox.mailboxes.LISTED", 10)
    monkeypatch.setattr("moatmail.mailbox.mailboxes.asyncio.sleep", counting)
    await client.ok("RENAME a b")
    monkeypatch.undo()
    assert turns.count(0) >= 10  # 31 names listed, looked at, sealed
    assert len(await client.ok('LIST "" b/*')) == 30
