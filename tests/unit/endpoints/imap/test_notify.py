# SPDX-License-Identifier: Apache-2.0
"""NOTIFY over several sessions: who is told what, when, and what is never told (RFC 5465)."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from moatmail.core.limits import mailbox as mailbox_limits
from moatmail.endpoints.imap.watch import Watch
from moatmail.store.queries import ListMailboxes
from moatmail.wire.imap import notify_grammar
from moatmail.wire.imap.grammar import Cursor
from moatmail.wire.imap.notify import EventGroup
from tests.unit.endpoints.imap.lab import HELLO, Client, Lab

EVERYTHING = "MessageNew MessageExpunge FlagChange"


async def status(client: Client) -> tuple[bytes, dict[bytes, int]]:
    """Read a STATUS response: which mailbox, and its values."""
    line = await client.line()
    found = re.fullmatch(rb"\* STATUS (\S+) \((.*)\)", line)
    assert found is not None, line
    words = found[2].split(b" ")
    return found[1], {name: int(value) for name, value in zip(words[::2], words[1::2], strict=True)}


# ---------------------------------------------------------------- the selected mailbox


async def test_new_messages_flags_and_expunges_are_told_between_commands(lab: Lab) -> None:
    await lab.deliver(HELLO, HELLO)
    one, two = await lab.client(select="INBOX"), await lab.client(select="INBOX")
    await one.ok(f"NOTIFY SET (selected ({EVERYTHING}))")
    await two.ok("STORE 1 +FLAGS (\\Deleted)")
    assert await one.line() == b"* 1 FETCH (UID 1 FLAGS (\\Deleted \\Recent))"
    await two.ok("EXPUNGE")
    assert await one.line() == b"* 1 EXPUNGE"
    await lab.deliver(HELLO)
    assert await one.line() == b"* 2 EXISTS"


async def test_expunges_wait_for_a_command_with_selected_delayed(lab: Lab) -> None:
    await lab.deliver(HELLO, HELLO)
    one, two = await lab.client(select="INBOX"), await lab.client(select="INBOX")
    await one.ok(f"NOTIFY SET (selected-delayed ({EVERYTHING}))")
    await two.ok("STORE 1 +FLAGS (\\Deleted)")
    assert (await one.line()).startswith(b"* 1 FETCH (UID 1 FLAGS (\\Deleted")
    await two.ok("EXPUNGE")
    await lab.deliver(HELLO)
    assert await one.line() == b"* 3 EXISTS"  # number 1 is there still
    assert await one.line() == b"* 3 RECENT"
    assert await one.ok("FETCH 2:3 (UID)") == [b"2 FETCH (UID 2)", b"3 FETCH (UID 3)"]
    assert await one.ok("NOOP") == [b"1 EXPUNGE"]


async def test_expunges_are_told_while_a_client_with_selected_delayed_idles(lab: Lab) -> None:
    await lab.deliver(HELLO, HELLO)
    one, two = await lab.client(select="INBOX"), await lab.client(select="INBOX")
    await one.ok("NOTIFY SET (selected-delayed (MessageNew MessageExpunge))")
    one.send(b"i IDLE\r\n")
    assert (await one.line()).startswith(b"+")
    await two.ok("STORE 1 +FLAGS.SILENT (\\Deleted)")
    await two.ok("EXPUNGE")
    assert await one.line() == b"* 1 EXPUNGE"  # of the flag nothing was wanted


async def test_what_is_wanted_of_new_messages_follows_exists_and_nothing_becomes_seen(lab: Lab) -> None:
    client = await lab.client(select="INBOX")
    await client.ok("NOTIFY SET (selected (MessageNew (FLAGS BODY[HEADER.FIELDS (SUBJECT)]) MessageExpunge))")
    await lab.deliver(HELLO)
    assert await client.line() == b"* 1 EXISTS"
    assert await client.line() == b"* 1 RECENT"
    assert await client.line() == b"* 1 FETCH (UID 1 FLAGS (\\Recent) BODY[HEADER.FIELDS (SUBJECT)] {18}\r\nSubject: hello\r\n\r\n)"
    assert (await client.ok("UID FETCH 1 FLAGS"))[0] == b"1 FETCH (UID 1 FLAGS (\\Recent))"


async def test_what_came_during_a_command_is_fetched_behind_it(lab: Lab) -> None:
    one, two = await lab.client(select="INBOX"), await lab.client()
    await one.ok("NOTIFY SET (selected (MessageNew (UID) MessageExpunge))")
    assert (await two.append("INBOX", HELLO)).startswith(b"OK")
    lines = await one.ok("NOOP")
    while b"1 FETCH (UID 1)" not in lines:
        lines.append((await one.line())[2:])
    assert lines == [b"1 EXISTS", b"1 RECENT", b"1 FETCH (UID 1)"]


async def test_what_a_session_appended_itself_is_not_fetched_for_it(lab: Lab) -> None:
    client = await lab.client(select="INBOX")
    await client.ok("NOTIFY SET (selected (MessageNew (UID) MessageExpunge))")
    await client.append("INBOX", HELLO)
    assert await client.ok("NOOP") == []
    await lab.deliver(HELLO)
    assert await client.line() == b"* 2 EXISTS"
    await client.line()
    assert await client.line() == b"* 2 FETCH (UID 2)"


async def test_uidonly_is_told_uids(lab: Lab) -> None:
    await lab.deliver(HELLO)
    one, two = await lab.client(), await lab.client(select="INBOX")
    await one.ok("ENABLE UIDONLY IMAP4rev2")
    await one.ok("SELECT INBOX")
    await one.ok("NOTIFY SET (selected (MessageNew (FLAGS) MessageExpunge FlagChange))")
    await two.ok("STORE 1 +FLAGS.SILENT (\\Deleted)")
    assert await one.line() == b"* 1 UIDFETCH (FLAGS (\\Deleted))"
    await two.ok("EXPUNGE")
    assert await one.line() == b"* VANISHED 1"
    await lab.deliver(HELLO)
    assert await one.line() == b"* 1 EXISTS"
    assert await one.line() == b"* 2 UIDFETCH (FLAGS ())"


async def test_with_qresync_what_went_is_told_by_uid(lab: Lab) -> None:
    await lab.deliver(HELLO, HELLO)
    one, two = await lab.client(), await lab.client(select="INBOX")
    await one.ok("ENABLE QRESYNC")
    await one.ok("SELECT INBOX")
    await one.ok(f"NOTIFY SET (selected ({EVERYTHING}))")
    await two.ok("STORE 2 +FLAGS.SILENT (\\Deleted)")
    assert re.fullmatch(rb"\* 2 FETCH \(UID 2 FLAGS \(\\Deleted[^)]*\) MODSEQ \(\d+\)\)", await one.line())
    await two.ok("EXPUNGE")
    assert await one.line() == b"* VANISHED 2"
    await one.ok("NOTIFY NONE")
    await one.ok("UID STORE 1 +FLAGS.SILENT (\\Deleted)")
    assert b"VANISHED 1" in await one.ok("EXPUNGE")


@pytest.mark.parametrize("wishes", ["NOTIFY NONE", "NOTIFY SET (selected NONE)", "NOTIFY SET (inboxes (MessageNew MessageExpunge))"])
async def test_a_snapshot_stays_until_more_is_wanted(lab: Lab, wishes: str) -> None:
    await lab.deliver(HELLO, HELLO, HELLO)
    one, two = await lab.client(select="INBOX"), await lab.client(select="INBOX")
    await one.ok(wishes)
    await two.ok("STORE 1 +FLAGS.SILENT (\\Deleted)")
    await two.ok("EXPUNGE")
    await two.ok("STORE 2 +FLAGS.SILENT (\\Flagged)")
    await lab.deliver(HELLO)
    assert await one.ok("NOOP") == []
    assert await one.ok("FETCH 2 (UID)") == [b"2 FETCH (UID 2)"]  # its numbers are as they were
    one.send(b"i IDLE\r\nDONE\r\n")
    assert [line[:1] for line in await one.rest(b"i")] == [b"+"]  # RFC 5465 §4: IDLE tells no more than NOTIFY wants
    told = await one.ok(f"NOTIFY SET (selected ({EVERYTHING}))")
    assert [line for line in told if b"RECENT" not in line or b"FETCH" in line] == [
        b"1 EXPUNGE",
        b"3 EXISTS",
        b"2 FETCH (UID 3 FLAGS (\\Flagged \\Recent))",
    ]


async def test_each_wish_begins_with_all_that_happened_before_it(lab: Lab) -> None:
    await lab.deliver(HELLO)
    one, two = await lab.client(select="INBOX"), await lab.client(select="INBOX")
    for wishes in ("selected NONE", "personal (MailboxName)", "selected-delayed (MessageNew MessageExpunge)", "selected NONE"):
        await two.ok("STORE 1 -FLAGS.SILENT (\\Answered \\Deleted)")
        await two.ok("STORE 1 +FLAGS.SILENT (\\Answered \\Deleted)")
        assert (await one.ok(f"NOTIFY SET ({wishes})"))[0].startswith(b"1 FETCH (UID 1 FLAGS (\\Answered \\Deleted")
    await two.ok("EXPUNGE")
    await lab.deliver(HELLO)
    assert await one.ok("NOOP") == []
    assert (await one.ok("NOTIFY SET (selected NONE)"))[:2] == [b"1 EXPUNGE", b"1 EXISTS"]
    assert await one.ok("NOTIFY NONE") == []


async def test_an_expunge_of_its_own_is_told_in_a_snapshot_too(lab: Lab) -> None:
    await lab.deliver(HELLO, HELLO)
    client = await lab.client(select="INBOX")
    await client.ok("NOTIFY NONE")
    await client.ok("STORE 1 +FLAGS (\\Deleted)")
    assert await client.ok("EXPUNGE") == [b"1 EXPUNGE"]
    assert await client.ok("FETCH 1 (UID)") == [b"1 FETCH (UID 2)"]
    await client.ok("STORE 1 +FLAGS (\\Deleted)")
    assert await client.ok("EXPUNGE") == [b"1 EXPUNGE"]
    assert await client.ok(f"NOTIFY SET (selected ({EVERYTHING}))") == []


async def test_flags_hidden_for_a_while_are_told_when_they_are_wanted(lab: Lab) -> None:
    await lab.deliver(HELLO)
    one, two = await lab.client(select="INBOX"), await lab.client(select="INBOX")
    await one.ok("NOTIFY SET (selected (MessageNew MessageExpunge))")
    await two.ok("STORE 1 +FLAGS.SILENT (\\Answered)")
    await lab.deliver(HELLO)
    assert await one.line() == b"* 2 EXISTS"
    await one.line()
    assert (await one.ok(f"NOTIFY SET (selected ({EVERYTHING}))"))[0] == b"1 FETCH (UID 1 FLAGS (\\Answered \\Recent))"
    assert await one.ok(f"NOTIFY SET (selected ({EVERYTHING}))") == []


async def test_a_mailbox_selected_later_is_watched_too(lab: Lab) -> None:
    one, two = await lab.client(), await lab.client()
    await one.ok("NOTIFY SET (selected (MessageNew MessageExpunge))")
    await one.ok("SELECT Drafts")
    await two.append("Drafts", HELLO)
    assert await one.line() == b"* 1 EXISTS"
    await one.line()
    await one.ok("SELECT Sent")
    await two.append("Drafts", HELLO)
    await two.append("Sent", HELLO)
    assert await one.line() == b"* 1 EXISTS"
    assert lab.door.listeners._waiting.keys() == {lab_number(await rows(lab), "sent")}
    await one.ok("UNSELECT")
    assert not lab.door.listeners._waiting


async def rows(lab: Lab) -> dict[str | None, int]:
    answer = await lab.store.read(ListMailboxes(lab.alice.id))
    return {row.special_use: row.id for row in answer.mailboxes}


def lab_number(numbers: dict[str | None, int], use: str) -> int:
    return numbers[use]


# ---------------------------------------------------------------- other mailboxes


async def test_other_mailboxes_are_told_by_status(lab: Lab) -> None:
    one, two = await lab.client(select="INBOX"), await lab.client(select="Drafts")
    await one.ok(f"NOTIFY SET (personal ({EVERYTHING}))")
    await two.append("Drafts", HELLO)
    name, values = await status(one)
    assert (name, values[b"MESSAGES"], values[b"UIDNEXT"], values[b"UNSEEN"]) == (b"Drafts", 1, 2, 1)
    await two.ok("STORE 1 +FLAGS (\\Seen)")
    name, after = await status(one)
    assert (name, after[b"MESSAGES"], after[b"UNSEEN"]) == (b"Drafts", 1, 0)
    assert after[b"HIGHESTMODSEQ"] > values[b"HIGHESTMODSEQ"]
    await two.ok("STORE 1 +FLAGS (\\Deleted)")
    await status(one)
    await two.ok("EXPUNGE")
    name, after = await status(one)
    assert (name, after[b"MESSAGES"], after[b"UIDNEXT"]) == (b"Drafts", 0, 2)


async def test_flags_of_other_mailboxes_are_told_only_where_wanted(lab: Lab) -> None:
    one, two = await lab.client(), await lab.client()
    await two.append("Drafts", HELLO)
    await two.ok("SELECT Drafts")
    await one.ok("NOTIFY SET (mailboxes Drafts (MessageNew MessageExpunge))")
    await two.ok("STORE 1 +FLAGS (\\Seen)")
    await asyncio.sleep(2 * mailbox_limits.GATHER_SECONDS)
    await two.append("Drafts", HELLO)
    assert await status(one) == (b"Drafts", {b"MESSAGES": 2, b"UIDNEXT": 3, b"UIDVALIDITY": (await status_of(two, "Drafts"))[b"UIDVALIDITY"]})


async def status_of(client: Client, name: str) -> dict[bytes, int]:
    line = next(line for line in await client.ok(f"STATUS {name} (UIDVALIDITY MESSAGES)") if line.startswith(b"STATUS"))
    words = line.split(b"(")[1].rstrip(b")").split(b" ")
    return {name: int(value) for name, value in zip(words[::2], words[1::2], strict=True)}


@pytest.mark.parametrize("enabled", ["CONDSTORE", "QRESYNC"])
async def test_with_condstore_the_modseq_is_told_too(lab: Lab, enabled: str) -> None:
    one, two = await lab.client(), await lab.client()
    await one.ok(f"ENABLE {enabled}")
    await one.ok("NOTIFY SET (mailboxes Drafts (MessageNew MessageExpunge))")
    await two.append("Drafts", HELLO)
    assert set((await status(one))[1]) == {b"MESSAGES", b"UIDNEXT", b"UIDVALIDITY", b"HIGHESTMODSEQ"}


async def test_the_selected_mailbox_has_no_status(lab: Lab) -> None:
    one, two = await lab.client(select="Drafts"), await lab.client()
    await one.ok("NOTIFY SET (selected (MessageNew MessageExpunge)) (personal (MessageNew MessageExpunge))")
    await two.append("Drafts", HELLO)
    await two.append("Sent", HELLO)
    assert {await one.line() for _ in range(2)} == {b"* 1 EXISTS", b"* 1 RECENT"}
    assert (await status(one))[0] == b"Sent"
    await one.ok("UNSELECT")
    await two.append("Drafts", HELLO)
    assert (await status(one))[0] == b"Drafts"


async def test_what_was_told_of_the_selected_mailbox_is_not_told_again_behind_it(lab: Lab) -> None:
    one, two = await lab.client(), await lab.client()
    await two.append("Drafts", HELLO)
    await one.ok("SELECT Drafts")
    await one.ok(f"NOTIFY SET (selected ({EVERYTHING})) (personal ({EVERYTHING}))")
    await one.ok("STORE 1 +FLAGS (\\Seen)")
    await one.ok("UNSELECT")
    await asyncio.sleep(2 * mailbox_limits.GATHER_SECONDS)
    assert await one.ok("NOOP") == []
    await two.append("Drafts", HELLO)
    assert (await status(one))[1][b"MESSAGES"] == 2


async def test_many_changes_at_once_are_one_status(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moatmail.mailbox.watching.GATHER_SECONDS", 0.5)
    client = await lab.client()
    await client.ok("NOTIFY SET (inboxes (MessageNew MessageExpunge))")
    await asyncio.gather(*(lab.deliver(HELLO) for _ in range(20)))
    name, values = await status(client)
    assert (name, values[b"MESSAGES"]) == (b"INBOX", 20)
    await lab.deliver(HELLO, special_use="junk")
    assert (await status(client))[0] == b"Junk"


async def test_status_is_told_at_once_where_asked_for(lab: Lab) -> None:
    await lab.deliver(HELLO)
    client = await lab.client(select="Drafts")
    told = await client.ok("NOTIFY SET STATUS (personal (MessageNew MessageExpunge)) (mailboxes nowhere (MessageNew MessageExpunge))")
    assert sorted(line.split(b" ")[1] for line in told) == [b"Archive", b"INBOX", b"Junk", b"Sent", b"Trash"]  # not the selected one
    assert any(line.startswith(b"STATUS INBOX (MESSAGES 1 UIDNEXT 2 UIDVALIDITY ") for line in told)
    assert await client.ok("NOTIFY SET STATUS (personal (MailboxName))") == []


SCOPES = {
    "inboxes": ("inboxes", {"INBOX", "Junk"}),
    "all": ("personal", {"INBOX", "Drafts", "Sent", "Junk", "Trash", "Archive", "Lists", "Lists/a", "Lists/a/b", "Listsx"}),
    "subscribed": ("subscribed", {"Lists/a", "Sent"}),
    "a tree": ("subtree Lists", {"Lists", "Lists/a", "Lists/a/b"}),
    "two trees": ("subtree (Lists/a Sent)", {"Lists/a", "Lists/a/b", "Sent"}),
    "by name": ("mailboxes (Lists inbox nothing *)", {"Lists", "INBOX"}),
}


@pytest.mark.parametrize("case", SCOPES)
async def test_each_kind_of_mailboxes_means_those_it_names(lab: Lab, case: str) -> None:
    scope, names = SCOPES[case]
    client = await lab.client()
    for command in (
        "CREATE Lists/a/b",
        "CREATE Listsx",
        "SUBSCRIBE Lists/a",
        "SUBSCRIBE nowhere",
        *(f"UNSUBSCRIBE {name}" for name in ("INBOX", "Drafts", "Junk", "Trash", "Archive")),
    ):
        await client.ok(command)
    told = await client.ok(f"NOTIFY SET STATUS ({scope.replace('*', chr(34) + '*' + chr(34))} (MessageNew MessageExpunge))")
    assert {line.split(b" ")[1].decode() for line in told} == names


async def test_none_takes_mailboxes_out_of_the_groups_behind_it(lab: Lab) -> None:
    client = await lab.client()
    told = await client.ok("NOTIFY SET STATUS (mailboxes (Junk Trash) NONE) (personal (MessageNew MessageExpunge))")
    assert sorted(line.split(b" ")[1] for line in told) == [b"Archive", b"Drafts", b"INBOX", b"Sent"]


async def test_a_session_is_not_told_of_what_it_did_itself(lab: Lab) -> None:
    await lab.deliver(HELLO, HELLO)
    one, two = await lab.client(select="INBOX"), await lab.client()
    await one.ok(f"NOTIFY SET (personal ({EVERYTHING} MailboxName SubscriptionChange))")
    append = f"APPEND Drafts {{{len(HELLO)}+}}\r\n".encode() + HELLO
    told: list[bytes] = []
    for command in (append, "COPY 1:2 Sent", "MOVE 1 Trash", "CREATE Mine/x", "RENAME Mine Yours", "SUBSCRIBE Yours", "UNSUBSCRIBE Yours", "DELETE Yours/x"):
        told += await one.ok(command)
        await asyncio.sleep(2 * mailbox_limits.GATHER_SECONDS)
    assert [line for line in told if line.startswith((b"STATUS", b"LIST"))] == []
    await two.append("Archive", HELLO)
    assert (await status(one))[0] == b"Archive"
    await two.append("Drafts", HELLO)
    name, values = await status(one)
    assert (name, values[b"MESSAGES"]) == (b"Drafts", 2)


async def test_what_happened_while_a_message_came_is_told_behind_it(lab: Lab) -> None:
    one, two = await lab.client(), await lab.client()
    await one.ok("NOTIFY SET (personal (MessageNew MessageExpunge))")
    one.send(b"a APPEND Drafts {%d}\r\n" % len(HELLO))
    assert (await one.line()).startswith(b"+")
    one.send(HELLO[:9])
    await two.append("Sent", HELLO)
    await asyncio.sleep(2 * mailbox_limits.GATHER_SECONDS)
    one.send(HELLO[9:] + b"\r\n")
    assert (await one.line()).startswith(b"a OK [APPENDUID ")
    assert (await status(one))[0] == b"Sent"


async def test_what_another_did_at_the_same_time_is_told(lab: Lab) -> None:
    one, two = await lab.client(), await lab.client()
    await one.ok("NOTIFY SET (personal (MessageNew MessageExpunge))")
    await asyncio.gather(one.append("Drafts", HELLO), two.append("Drafts", HELLO))
    name, values = await status(one)
    assert name == b"Drafts"
    assert values[b"MESSAGES"] in {1, 2}  # one, where the other's was seen before its own came


# ---------------------------------------------------------------- names


async def test_names_that_are_made_renamed_and_deleted_are_told(lab: Lab) -> None:
    one, two = await lab.client(select="INBOX"), await lab.client()
    await one.ok("NOTIFY SET (personal (MailboxName))")
    await two.ok("CREATE Lists/Lemonade")
    assert {await one.line(), await one.line()} == {
        b'* LIST (\\HasChildren) "/" Lists',
        b'* LIST (\\HasNoChildren) "/" Lists/Lemonade',
    }
    await two.ok("RENAME Lists Liste")
    assert {await one.line(), await one.line()} == {
        b'* LIST (\\HasChildren) "/" Liste ("OLDNAME" (Lists))',
        b'* LIST (\\HasNoChildren) "/" Liste/Lemonade ("OLDNAME" (Lists/Lemonade))',
    }
    await two.ok("DELETE Liste")
    assert await one.line() == b'* LIST (\\NonExistent \\HasChildren) "/" Liste'
    await two.ok("CREATE &AMQ-pfel")
    assert await one.line() == b'* LIST (\\HasNoChildren) "/" &AMQ-pfel'


@pytest.mark.parametrize("enabled", ["IMAP4rev2", "UTF8=ACCEPT"])
async def test_names_are_in_utf_8_for_who_enabled_it(lab: Lab, enabled: str) -> None:
    one, two = await lab.client(), await lab.client()
    await one.ok(f"ENABLE {enabled}")
    await one.ok("NOTIFY SET (personal (MailboxName MessageNew MessageExpunge))")
    await two.ok("CREATE &AMQ-pfel")
    assert await one.line() == '* LIST (\\HasNoChildren) "/" "Äpfel"'.encode()
    await two.append("&AMQ-pfel", HELLO)
    assert (await status(one))[0] == '"Äpfel"'.encode()


async def test_subscriptions_are_told(lab: Lab) -> None:
    one, two = await lab.client(), await lab.client()
    await one.ok("NOTIFY SET (personal (SubscriptionChange))")
    await two.ok("UNSUBSCRIBE Drafts")
    assert await one.line() == b'* LIST (\\HasNoChildren \\Drafts) "/" Drafts'
    await two.ok("SUBSCRIBE Drafts")
    assert await one.line() == b'* LIST (\\HasNoChildren \\Subscribed \\Drafts) "/" Drafts'
    await two.ok("SUBSCRIBE gone")
    assert await one.line() == b'* LIST (\\NonExistent \\HasNoChildren \\Subscribed) "/" gone'


async def test_subscribing_brings_a_mailbox_under_the_eyes_of_who_watches_the_subscribed(lab: Lab) -> None:
    one, two = await lab.client(), await lab.client()
    await two.ok("UNSUBSCRIBE Drafts")
    await one.ok("NOTIFY SET (subscribed (MessageNew MessageExpunge SubscriptionChange))")
    await two.append("Drafts", HELLO)
    await two.ok("SUBSCRIBE Drafts")
    assert b"\\Subscribed" in await one.line()
    await two.append("Drafts", HELLO)
    assert (await status(one))[0] == b"Drafts"
    await two.ok("UNSUBSCRIBE Drafts")
    assert b"\\Subscribed" not in await one.line()


async def test_a_tree_is_told_of_what_is_renamed_out_of_it_and_into_it(lab: Lab) -> None:
    one, two = await lab.client(), await lab.client()
    await two.ok("CREATE in/x")
    await one.ok("NOTIFY SET (subtree in (MailboxName))")
    await two.ok("RENAME in/x out")
    assert await one.line() == b'* LIST (\\HasNoChildren) "/" out ("OLDNAME" (in/x))'
    await two.ok("CREATE elsewhere")
    await two.ok("RENAME out in/y")
    assert await one.line() == b'* LIST (\\HasNoChildren) "/" in/y ("OLDNAME" (out))'


async def test_a_new_mailbox_is_watched_at_once(lab: Lab) -> None:
    one, two = await lab.client(), await lab.client()
    await one.ok("NOTIFY SET (personal (MessageNew MessageExpunge))")
    await two.ok("CREATE new")
    await two.append("new", HELLO)
    name, values = await status(one)
    assert (name, values[b"MESSAGES"]) == (b"new", 1)
    await two.append("new", HELLO)
    assert (await status(one))[1][b"MESSAGES"] == 2


async def test_a_mailbox_made_anew_under_its_old_name_has_another_uidvalidity(lab: Lab) -> None:
    one, two = await lab.client(), await lab.client()
    await two.ok("CREATE again")
    await two.append("again", HELLO)
    first = await one.ok("NOTIFY SET STATUS (mailboxes again (MessageNew MessageExpunge MailboxName))")
    await two.ok("DELETE again")
    await two.ok("CREATE again")
    await two.append("again", HELLO)
    while (line := await one.line()).startswith(b"* LIST"):
        assert line.endswith(b" again")
    assert line.startswith(b"* STATUS again (MESSAGES 1 UIDNEXT 2 UIDVALIDITY ")
    assert line[2:] != first[0]


# ---------------------------------------------------------------- the selected mailbox goes, or gets another name


@pytest.mark.parametrize("before", ["", "NOTIFY SET (selected (MessageNew MessageExpunge FlagChange))", "IDLE"])
async def test_who_has_a_mailbox_selected_that_is_deleted_is_sent_away(lab: Lab, before: str) -> None:
    one, two = await lab.client(), await lab.client()
    await two.ok("CREATE gone")
    await two.append("gone", HELLO)
    await one.ok("SELECT gone")
    if before == "IDLE":
        one.send(b"i IDLE\r\n")
        await one.line()
    elif before:
        await one.ok(before)
    await two.ok("DELETE gone")
    if not before:
        one.send(b"x NOOP\r\n")
    assert await one.line() == b"* BYE the mailbox was deleted"  # RFC 2180 §3.3
    with pytest.raises(asyncio.IncompleteReadError):
        await one.line()
    assert not lab.door.listeners._waiting


async def test_in_a_snapshot_a_deleted_mailbox_is_not_there_any_more(lab: Lab) -> None:
    one, two = await lab.client(), await lab.client()
    await two.ok("CREATE gone")
    await two.append("gone", HELLO)
    await one.ok("SELECT gone")
    await one.ok("NOTIFY NONE")
    await two.ok("DELETE gone")
    assert b"NONEXISTENT" in await one.no("FETCH 1 (FLAGS)")


async def test_who_has_a_mailbox_selected_that_is_renamed_goes_on(lab: Lab) -> None:
    one, two = await lab.client(), await lab.client()
    await two.ok("CREATE old")
    await one.ok("SELECT old")
    await one.ok("NOTIFY SET (selected (MessageNew (UID) MessageExpunge)) (personal (MailboxName))")
    await two.ok("RENAME old new")
    assert await one.line() == b'* LIST (\\HasNoChildren) "/" new ("OLDNAME" (old))'
    await two.append("new", HELLO)
    assert await one.line() == b"* 1 EXISTS"
    await one.line()
    assert await one.line() == b"* 1 FETCH (UID 1)"


# ---------------------------------------------------------------- bounds, and hints that are lost


async def test_an_event_we_do_not_have_changes_nothing(lab: Lab) -> None:
    one, two = await lab.client(), await lab.client()
    await one.ok("NOTIFY SET (personal (MessageNew MessageExpunge))")
    refusal = await one.no("NOTIFY SET (personal (MessageNew MessageExpunge AnnotationChange))")
    assert refusal.startswith(b"NO [BADEVENT (MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange)]")
    await two.append("Drafts", HELLO)
    assert (await status(one))[0] == b"Drafts"


async def test_more_mailboxes_than_a_session_may_watch_are_refused(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moatmail.endpoints.imap.notify.NOTIFY_WATCHED", 5)
    client = await lab.client()
    assert (await client.no("NOTIFY SET (personal (MessageNew MessageExpunge))")).startswith(b"NO [NOTIFICATIONOVERFLOW]")
    assert lab.door.listeners.watched == 0
    await client.ok("NOTIFY SET (mailboxes (INBOX Sent) (MessageNew MessageExpunge))")
    assert lab.door.listeners.watched == 6


async def test_more_mailboxes_than_a_process_may_watch_are_refused(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moatmail.mailbox.watching.WATCHED_MAILBOXES", 8)
    alice, bob = await lab.client(), await lab.client("bob")
    await alice.ok("NOTIFY SET (personal (MailboxName MessageNew MessageExpunge))")
    assert (await bob.no("NOTIFY SET (inboxes (MessageNew MessageExpunge))")).startswith(b"NO [NOTIFICATIONOVERFLOW]")
    other = await lab.client()
    for number in range(3):  # two have room
        await other.ok(f"CREATE more{number}")
    lines = [await alice.line()]
    while not lines[-1].startswith(b"* OK [NOTIFICATIONOVERFLOW]"):
        lines.append(await alice.line())
    assert lab.door.listeners.watched == 0
    await bob.ok("NOTIFY SET (inboxes (MessageNew MessageExpunge))")
    await other.append("Drafts", HELLO)
    assert await alice.ok("NOOP") == []  # as after NOTIFY NONE


async def test_who_reads_too_slowly_is_told_of_the_overflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moatmail.endpoints.imap.watch.NOTIFY_DUE", 10)
    woken: list[None] = []
    watch = Watch(parsed("(personal (MailboxName SubscriptionChange))"), lambda: woken.append(None))
    for number in range(11):
        watch.subscribed(f"m{number}")
    assert watch.overflowed
    assert not watch.names
    watch.subscribed("one more")
    assert not watch.names
    assert woken


def parsed(groups: str) -> tuple[EventGroup, ...]:
    return notify_grammar.notify(Cursor([f"SET {groups}".encode()]), b"a").groups


async def test_nothing_is_kept_of_a_session_that_left(lab: Lab) -> None:
    one, two = await lab.client(select="INBOX"), await lab.client()
    for client in (one, two):
        await client.ok("NOTIFY SET (selected (MessageNew MessageExpunge)) (personal (MessageNew MessageExpunge))")
    assert lab.door.listeners.watched == 6
    await one.ok("LOGOUT")
    assert lab.door.listeners.watched == 6
    await two.ok("NOTIFY NONE")
    assert (lab.door.listeners.watched, lab.door.listeners._waiting, lab.door.listeners._accounts) == (0, {}, {})


async def test_a_change_costs_one_row_and_not_a_listing(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = await lab.client(), await lab.client()
    for number in range(40):
        await two.ok(f"CREATE m{number}")
    await one.ok("NOTIFY SET (personal (MessageNew MessageExpunge FlagChange))")
    asked: list[str] = []
    read = lab.store.read

    async def counting(query: Any) -> Any:  # noqa: ANN401 - as the store has it
        asked.append(type(query).__name__)
        return await read(query)

    monkeypatch.setattr(lab.store, "read", counting)
    await lab.deliver(HELLO)
    assert (await status(one))[0] == b"INBOX"
    assert asked.count("GetMailbox") == 1
    assert "ListMailboxes" not in asked


async def test_lost_hints_are_made_good(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = await lab.client(), await lab.client()
    await one.ok("NOTIFY SET (personal (MailboxName MessageNew MessageExpunge))")
    listeners = lab.door.listeners
    monkeypatch.setattr(listeners, "tell", lambda mailboxes: None)
    monkeypatch.setattr(listeners, "tell_names", lambda accounts: None)
    await two.ok("CREATE unheard")
    await two.append("Drafts", HELLO)
    monkeypatch.undo()
    listeners.resync()
    assert await one.line() == b'* LIST (\\HasNoChildren) "/" unheard'
    assert (await status(one))[0] == b"Drafts"
