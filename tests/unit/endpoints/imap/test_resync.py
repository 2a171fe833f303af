# SPDX-License-Identifier: Apache-2.0
"""QRESYNC over a door: a client that comes back is told what it missed, no less, and of no message that it never knew.

Obeys RFC 7162 §3.2.
"""

from __future__ import annotations

import re

import pytest

from tests.unit.endpoints.imap.lab import HELLO, Client, Lab


async def qresync_client(lab: Lab, *, select: str = "") -> Client:
    client = await lab.client()
    assert await client.ok("ENABLE QRESYNC") == [b"ENABLED QRESYNC"]
    if select:
        await client.ok(f"SELECT {select}")
    return client


async def validity(client: Client) -> int:
    return int(re.findall(rb"[0-9]+", (await client.ok("STATUS INBOX (UIDVALIDITY)"))[0])[0])


async def modseq(client: Client) -> int:
    return int(re.findall(rb"[0-9]+", (await client.ok("STATUS INBOX (HIGHESTMODSEQ)"))[0])[0])


async def expunge(client: Client, uids: str) -> None:
    await client.ok(f"UID STORE {uids} +FLAGS.SILENT (\\Deleted)")
    await client.ok(f"UID EXPUNGE {uids}")


def news(told: list[bytes]) -> list[bytes]:
    return [line for line in told if b"VANISHED" in line or b"FETCH" in line]


async def test_it_has_to_be_enabled(lab: Lab) -> None:
    # RFC 7162 §3.2.3, §3.2.6.
    client = await lab.client(select="INBOX")
    assert b"QRESYNC" in (await client.ok("CAPABILITY"))[0]
    assert (await client.no("SELECT INBOX (QRESYNC (1 1))")).startswith(b"BAD")
    assert (await client.no("UID FETCH 1:* (FLAGS) (CHANGEDSINCE 1 VANISHED)")).startswith(b"BAD")
    # The mailbox stays selected, and late is not too late.
    assert (await client.ok("ENABLE QRESYNC"))[0] == b"ENABLED QRESYNC"
    assert await client.ok("UID FETCH 1:* (FLAGS) (CHANGEDSINCE 1 VANISHED)") == []


async def test_what_happened_since_is_told_when_the_mailbox_is_opened(lab: Lab) -> None:
    # RFC 7162 §3.2.5.1.
    await lab.deliver(*[HELLO] * 6)
    other = await lab.client(select="INBOX")
    client = await qresync_client(lab)
    valid, known = await validity(client), await modseq(client)
    await expunge(other, "1,3:4")
    await other.ok("UID STORE 5 +FLAGS.SILENT (\\Flagged)")
    await lab.deliver(HELLO)
    highest = await modseq(client)
    told = await client.ok(f"SELECT INBOX (QRESYNC ({valid} {known}))")
    assert news(told)[0] == b"VANISHED (EARLIER) 1,3:4"
    assert [re.sub(rb" ?\\Recent", b"", line) for line in news(told)[1:]] == [
        b"2 FETCH (UID 5 FLAGS (\\Flagged) MODSEQ (%d))" % (highest - 1),
        b"4 FETCH (UID 7 FLAGS () MODSEQ (%d))" % highest,
    ]
    assert b"OK [HIGHESTMODSEQ %d] highest" % highest in told
    assert client.tagged.startswith(b"OK [READ-WRITE]")
    # Who knows it all is told nothing.
    assert news(await client.ok(f"EXAMINE INBOX (QRESYNC ({valid} {highest}))")) == []
    assert news(await client.ok(f"EXAMINE INBOX (QRESYNC ({valid} {highest + 50}))")) == []


async def test_of_another_mailbox_of_the_same_name_nothing_is_told(lab: Lab) -> None:
    # RFC 7162 §3.2.5: another UIDVALIDITY voids the rest.
    await lab.deliver(HELLO, HELLO)
    client = await qresync_client(lab, select="INBOX")
    await expunge(client, "1")
    valid = await validity(client)
    told = await client.ok(f"SELECT INBOX (QRESYNC ({valid + 1} 1 1:2 (1 1)))")
    assert news(told) == []
    assert b"OK [UIDVALIDITY %d] valid" % valid in told
    assert news(await client.ok(f"SELECT INBOX (QRESYNC ({valid} 1))"))[0] == b"VANISHED (EARLIER) 1"


async def test_of_uids_that_the_client_does_not_name_nothing_is_told(lab: Lab) -> None:
    # RFC 7162 §3.2.5.1: neither what went nor what changed.
    await lab.deliver(*[HELLO] * 9)
    client = await qresync_client(lab, select="INBOX")
    valid = await validity(client)
    await expunge(client, "1:2,5,8:9")
    told = news(await client.ok(f"SELECT INBOX (QRESYNC ({valid} 1 2:3,8))"))
    assert told[0] == b"VANISHED (EARLIER) 2,8"
    assert [line.split(b"UID ")[1].split()[0] for line in told[1:]] == [b"3"]
    assert news(await client.ok(f"SELECT INBOX (QRESYNC ({valid} 1 20:30))")) == []


@pytest.mark.parametrize(
    ("match", "vanished"),
    [
        pytest.param("(1 1)", b"2:3,6,9", id="the first is where it was"),
        pytest.param("(1:2 1,4)", b"6,9", id="as far as it matches"),
        pytest.param("(2,4 4,7)", b"9", id="the highest match counts"),
        pytest.param("(1,3,5 1,3,9)", b"2:3,6,9", id="what does not match says nothing"),
        pytest.param("(1:3 4:6)", b"2:3,6,9", id="a run that matches nowhere"),
        pytest.param("(5 8)", b"9", id="the last is where it was"),
        pytest.param("(1:200 1:200)", b"2:3,6,9", id="a run longer than the mailbox"),
        pytest.param("(100 500)", b"2:3,6,9", id="numbers beyond the mailbox"),
    ],
)
async def test_message_numbers_only_narrow_what_is_told(lab: Lab, match: str, vanished: bytes) -> None:
    # RFC 7162 §3.2.5.2: messages 1, 4, 5, 7, 8 are left, as numbers 1 to 5.
    await lab.deliver(*[HELLO] * 9)
    client = await qresync_client(lab, select="INBOX")
    await expunge(client, "2:3,6,9")
    told = news(await client.ok(f"SELECT INBOX (QRESYNC ({await validity(client)} 1 1:9 {match}))"))
    gone = [line for line in told if line.startswith(b"VANISHED")]
    assert gone == [b"VANISHED (EARLIER) " + vanished]
    assert len(told) - len(gone) == 5  # flags are told all the same


async def test_vanished_takes_the_place_of_expunge(lab: Lab) -> None:
    # RFC 7162 §3.2.7, §3.2.9, §3.2.10.
    await lab.deliver(*[HELLO] * 7)
    client, other, old = await qresync_client(lab, select="INBOX"), await qresync_client(lab, select="INBOX"), await lab.client(select="INBOX")
    await client.ok("STORE 2:3 +FLAGS.SILENT (\\Deleted)")
    told = await client.ok("EXPUNGE")
    assert told[0] == b"VANISHED 2:3"
    tagged = client.tagged
    assert tagged == b"OK [HIGHESTMODSEQ %d] expunged" % await modseq(client)
    assert news(await other.ok("NOOP")) == [b"VANISHED 2:3"]
    assert [line for line in await old.ok("NOOP") if b"RECENT" not in line] == [b"3 EXPUNGE", b"2 EXPUNGE"]
    await client.ok("EXPUNGE")
    assert client.tagged == b"OK expunged"  # nothing went, nothing to be told of
    await client.ok("UID STORE 5 +FLAGS.SILENT (\\Deleted)")
    assert (await client.ok("UID EXPUNGE 5"))[0] == b"VANISHED 5"
    assert client.tagged.startswith(b"OK [HIGHESTMODSEQ ")
    assert b"VANISHED 6" in await client.ok("UID MOVE 6 Archive")
    # Numbers go on where they were.
    assert await client.ok("FETCH 1:3 (UID)") == [b"1 FETCH (UID 1)", b"2 FETCH (UID 4)", b"3 FETCH (UID 7)"]


async def test_close_tells_no_modseq(lab: Lab) -> None:
    # RFC 7162 §3.2.8: the client was not told of what others did meanwhile.
    await lab.deliver(HELLO, HELLO)
    client = await qresync_client(lab, select="INBOX")
    await client.ok("STORE 1 +FLAGS (\\Deleted)")
    assert await client.ok("CLOSE") == []
    assert client.tagged == b"OK closed"


async def test_that_a_mailbox_was_left_is_told_to_everybody(lab: Lab) -> None:
    # RFC 7162 §3.2.11: whatever was enabled; not where nothing was open.
    client = await lab.client()
    assert not any(b"CLOSED" in line for line in await client.ok("SELECT INBOX"))
    assert (await client.ok("SELECT Archive"))[0].startswith(b"OK [CLOSED]")
    await client.ok("CLOSE")
    assert not any(b"CLOSED" in line for line in await client.ok("SELECT INBOX"))


@pytest.mark.parametrize("command", ["FETCH 1 (FLAGS)", "STORE 4 +FLAGS (\\Seen)", "SEARCH ALL", "UID SEARCH 1:2"])
async def test_what_waits_to_be_told_is_not_passed_over(lab: Lab, command: str) -> None:
    # RFC 7162 §3.2, §6: nothing vanishes during these, and what the client saw meanwhile is not all there was.
    await lab.deliver(*[HELLO] * 4)
    client, other = await qresync_client(lab, select="INBOX"), await lab.client(select="INBOX")
    told_so_far = await modseq(client)
    await other.ok("STORE 2 +FLAGS.SILENT (\\Deleted)")
    await client.ok("NOOP")
    told_so_far = await modseq(client)
    await other.ok("EXPUNGE")
    told = await client.ok(command)
    assert not any(b"VANISHED" in line for line in told)
    assert b"OK [HIGHESTMODSEQ %d] all up to here was told" % told_so_far in told
    told = await client.ok("NOOP")
    assert told[0] == b"VANISHED 2"
    assert told[-1] == b"OK [HIGHESTMODSEQ %d] all up to here was told" % await modseq(client)


async def test_a_uid_fetch_tells_what_went(lab: Lab) -> None:
    # RFC 7162 §3.2.6: before all FETCH responses, and among all that ever were: the star may have gone.
    await lab.deliver(*[HELLO] * 6)
    client = await qresync_client(lab, select="INBOX")
    known = await modseq(client)
    await expunge(client, "2,5:6")
    await client.ok("UID STORE 3 +FLAGS.SILENT (\\Seen)")
    told = await client.ok(f"UID FETCH 1:* (FLAGS) (CHANGEDSINCE {known} VANISHED)")
    assert told[0] == b"VANISHED (EARLIER) 2,5:6"
    assert [line.split(b"(")[0] for line in told[1:]] == [b"2 FETCH "]
    assert news(await client.ok(f"UID FETCH 3:5 (FLAGS) (VANISHED CHANGEDSINCE {known})"))[0] == b"VANISHED (EARLIER) 5"
    assert news(await client.ok(f"UID FETCH 1:* (FLAGS) (VANISHED CHANGEDSINCE {await modseq(client)})")) == []


async def test_who_gave_up_numbers_is_told_by_uids(lab: Lab) -> None:
    # RFC 9586 §3.3, §3.4.
    await lab.deliver(*[HELLO] * 3)
    client = await lab.client()
    await client.ok("ENABLE QRESYNC UIDONLY")
    other = await lab.client(select="INBOX")
    valid, known = await validity(client), await modseq(client)
    await expunge(other, "2")
    await other.ok("UID STORE 3 +FLAGS.SILENT (\\Seen)")
    told = news(await client.ok(f"SELECT INBOX (QRESYNC ({valid} {known}))"))
    assert told[0] == b"VANISHED (EARLIER) 2"
    assert told[1].startswith(b"3 UIDFETCH (FLAGS (\\Seen")


async def test_after_condstore_what_changed_has_its_uid(lab: Lab) -> None:
    # RFC 7162 §3.2.4: also where reading set the flag.
    await lab.deliver(HELLO)
    client = await lab.client(select="INBOX")
    await client.ok("ENABLE CONDSTORE")
    (line,) = await client.ok("FETCH 1 (BODY[TEXT]<0.3>)")
    assert re.fullmatch(rb"1 FETCH \(BODY\[TEXT\]<0> \{3\}\r\nthe FLAGS \(\\Seen[^)]*\) UID 1 MODSEQ \([0-9]+\)\)", line), line


async def test_a_resync_that_fails_leaves_no_mailbox_selected(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    # RFC 3501 §6.3.1.
    await lab.deliver(HELLO)
    client = await qresync_client(lab)
    valid = await validity(client)

    async def broken(*_arguments: object) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr("moatmail.endpoints.imap.resync.tell_earlier", broken)
    assert (await client.no(f"SELECT INBOX (QRESYNC ({valid} 1))")).startswith(b"NO [SERVERBUG]")
    assert (await client.no("FETCH 1 (FLAGS)")).startswith(b"BAD")


async def test_who_wants_to_hear_nothing_knows_no_more_than_it_heard(lab: Lab) -> None:
    # RFC 5465 §5, RFC 7162 §3.2: a FETCH shows what is newer than the snapshot the client keeps.
    await lab.deliver(*[HELLO] * 3)
    client, other = await qresync_client(lab, select="INBOX"), await lab.client(select="INBOX")
    known = await modseq(client)
    await client.ok("NOTIFY NONE")
    await expunge(other, "2")
    await other.ok("UID STORE 3 +FLAGS.SILENT (\\Flagged)")
    told = await client.ok("FETCH 3 (FLAGS)")
    assert b"FLAGS (\\Flagged" in told[0]
    assert told[-1] == b"OK [HIGHESTMODSEQ %d] all up to here was told" % known


async def test_a_message_never_counted_is_never_told_as_gone(lab: Lab) -> None:
    # RFC 7162 §3.2.10.2: came and went between two looks.
    await lab.deliver(HELLO)
    client, other = await qresync_client(lab, select="INBOX"), await lab.client(select="INBOX")
    await lab.deliver(HELLO, HELLO)
    await other.ok("NOOP")
    await expunge(other, "1:2")
    told = await client.ok("NOOP")
    assert [line for line in told if line.startswith(b"VANISHED") or b"EXISTS" in line] == [b"VANISHED 1", b"1 EXISTS"]


async def test_flags_hidden_by_notify_are_not_passed_over(lab: Lab) -> None:
    # RFC 5465 §5.4, RFC 7162 §3.2: new messages are told, changed flags are not.
    await lab.deliver(HELLO)
    client, other = await qresync_client(lab, select="INBOX"), await lab.client(select="INBOX")
    known = await modseq(client)
    await client.ok("NOTIFY SET (selected (MessageNew MessageExpunge))")
    await other.ok("STORE 1 +FLAGS.SILENT (\\Flagged)")
    await lab.deliver(HELLO)
    told = await client.ok("NOOP")
    assert told[-1] == b"OK [HIGHESTMODSEQ %d] all up to here was told" % known


@pytest.mark.parametrize("enable", ["QRESYNC", "X-NOTHING"])
async def test_a_silent_store_hides_no_change_of_another(lab: Lab, enable: str) -> None:
    # RFC 3501 §6.4.6: what the client asked for it knows; that another flag was set before, it does not.
    await lab.deliver(HELLO, HELLO)
    client, other = await lab.client(), await lab.client(select="INBOX")
    await client.ok(f"ENABLE {enable}")
    await client.ok("SELECT INBOX")
    await other.ok("STORE 1 +FLAGS.SILENT (\\Flagged)")
    told = await client.ok("STORE 1:2 +FLAGS.SILENT (\\Seen)") + await client.ok("NOOP")
    assert [line for line in told if b"\\Flagged \\Seen" in line]
    assert not [line for line in told if line.startswith(b"2 FETCH") and b"FLAGS" in line]
    assert not [line for line in await client.ok("NOOP") if b"FETCH" in line]
