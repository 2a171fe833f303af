# SPDX-License-Identifier: Apache-2.0
"""Corners of the standards that a fresh-eyed review found unobeyed: each test is named after its fault."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from moatmail.core.errors import SealBrokenError
from moatmail.core.limits import store as limits
from moatmail.core.limits.endpoints import RESPONSE_OCTETS, VANISHED
from moatmail.endpoints.imap import fetch
from moatmail.endpoints.imap.alter import current_view
from moatmail.endpoints.imap.conversation import Conversation
from moatmail.mailbox.numbering import Numbering, Span
from moatmail.mailbox.reading import OpenMessage
from moatmail.mailbox.view import View
from moatmail.net.drive import Connection
from tests.unit.endpoints.imap.lab import HELLO, Lab

ATTACHED = (
    b"From: Bob <bob@sender.test>\r\nTo: alice@example.test\r\nSubject: papers\r\nMIME-Version: 1.0\r\n"
    b"Content-Type: multipart/mixed; boundary=X\r\n\r\n"
    b"--X\r\nContent-Type: text/plain\r\n\r\nsee there\r\n"
    b"--X\r\nContent-Type: application/pdf\r\nContent-Disposition: attachment; filename*=utf-8''K%C3%B6stliches.pdf\r\n"
    b"Content-Transfer-Encoding: base64\r\n\r\nAAECAw==\r\n--X--\r\n"
)


async def test_move_tells_a_client_of_qresync_up_to_where_it_knows_all(lab: Lab) -> None:
    # RFC 6851 §4.4: with HIGHESTMODSEQ, for no message's MODSEQ tells what went.
    await lab.deliver(HELLO, HELLO, HELLO)
    client = await lab.client()
    await client.ok("ENABLE QRESYNC")
    await client.ok("SELECT INBOX")
    answers = await client.ok("MOVE 2 Archive")
    assert answers[-1] == b"VANISHED 2"
    told = int(client.tagged.removeprefix(b"OK [HIGHESTMODSEQ ").partition(b"]")[0])
    highest = (await client.ok("STATUS INBOX (HIGHESTMODSEQ)"))[-1]
    assert highest == b"STATUS INBOX (HIGHESTMODSEQ %d)" % told
    await client.ok("UID MOVE 99 Archive")
    assert b"HIGHESTMODSEQ" not in client.tagged  # nothing went


async def test_what_a_conditional_store_left_alone_is_told_though_others_are_gone(lab: Lab) -> None:
    # RFC 7162 §3.1.3, example 11.
    await lab.deliver(HELLO, HELLO, HELLO)
    one, two = await lab.client(select="INBOX"), await lab.client(select="INBOX")
    before = int((await one.ok("STATUS INBOX (HIGHESTMODSEQ)"))[-1].rpartition(b" ")[2][:-1])
    await two.ok("STORE 1 +FLAGS (\\Flagged)")
    await two.ok("STORE 2 +FLAGS (\\Deleted)")
    await two.ok("EXPUNGE")
    assert (await one.no(f"STORE 1:3 (UNCHANGEDSINCE {before}) +FLAGS (\\Seen)")).startswith(b"NO [MODIFIED 1] ")
    two = await lab.client(select="INBOX")
    await two.ok("STORE 2 +FLAGS (\\Deleted)")
    await two.ok("EXPUNGE")
    assert (await one.no("STORE 1:3 (UNCHANGEDSINCE 999999) +FLAGS (\\Seen)")).startswith(b"NO [EXPUNGEISSUED] ")


async def test_flags_of_a_long_mailbox_are_told_once_each_though_a_message_goes_meanwhile(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "FLAG_ROWS", 2)
    monkeypatch.setattr(fetch, "PAGE", 3)
    await lab.deliver(*[HELLO] * 9)
    one, two = await lab.client(select="INBOX"), await lab.client(select="INBOX")
    await two.ok("STORE 5 +FLAGS.SILENT (\\Deleted)")
    await one.ok("NOOP")
    looked = 0

    async def going(conversation: Conversation) -> View:
        nonlocal looked
        looked += 1
        if looked == 3:
            await two.ok("EXPUNGE")
        return await current_view(conversation)

    monkeypatch.setattr(fetch, "current_view", going)
    answers = await one.ok("FETCH 1:* FLAGS")
    assert [int(line.split()[0]) for line in answers if b" FETCH " in line] == [1, 2, 3, 4, 6, 7, 8, 9]
    assert looked > 3


DATES = {
    "a last evening in the far west": "31-Dec-9999 23:59:59 -1200",
    "a first morning in the far east": "01-Jan-0001 00:00:00 +1200",
}


@pytest.mark.parametrize("date", DATES.values(), ids=DATES.keys())
async def test_a_date_that_has_no_year_in_utc_is_refused_rather_than_kept_and_never_told(lab: Lab, date: str) -> None:
    client = await lab.client(select="INBOX")
    assert (await client.append("INBOX", HELLO, f'"{date}" ')).startswith(b"NO [CANNOT] ")
    assert (await client.append("INBOX", HELLO, '"31-Dec-9999 23:59:59 +0000" ')).startswith(b"OK ")
    assert b'INTERNALDATE "31-Dec-9999 23:59:59 +0000"' in (await client.ok("FETCH 1:* INTERNALDATE"))[-1]


async def test_a_keyword_is_taken_away_whatever_the_case_it_came_in(lab: Lab) -> None:
    # RFC 3501 §2.3.2: keywords are compared without regard to case; COPY and APPEND bring their own spelling.
    client = await lab.client(select="INBOX")
    await client.append("INBOX", HELLO, "($Label) ")
    await client.append("INBOX", HELLO, "($LABEL) ")
    await client.append("Archive", HELLO, "($lAbEl) ")
    other = await lab.client(select="Archive")
    await other.ok("COPY 1 INBOX")
    await client.ok("NOOP")
    await client.ok("STORE 1:3 +FLAGS.SILENT ($label)")
    assert [line.lower().count(b"$label") for line in await client.ok("FETCH 1:3 FLAGS")] == [1, 1, 1]
    await client.ok("STORE 1:3 -FLAGS.SILENT ($label)")
    assert not any(b"$" in line for line in await client.ok("FETCH 1:3 FLAGS"))


async def test_keywords_of_one_message_are_bounded(lab: Lab) -> None:
    await lab.deliver(HELLO)
    client = await lab.client(select="INBOX")
    half = limits.KEYWORDS // 2
    for part in range(2):
        await client.ok("STORE 1 +FLAGS.SILENT ({})".format(" ".join(f"k{part}-{number}" for number in range(half))))
    assert (await client.no("STORE 1 +FLAGS.SILENT (onemore)")).startswith(b"NO [LIMIT] ")
    await client.ok("STORE 1 +FLAGS.SILENT (K0-0 \\Seen)")
    assert b"onemore" not in (await client.ok("FETCH 1 FLAGS"))[-1]
    long = [f"{number:03d}{'x' * 120}" for number in range(40)]
    assert (await client.no("STORE 1 FLAGS.SILENT ({})".format(" ".join(long)))).startswith(b"NO [LIMIT] ")
    await client.ok("STORE 1 FLAGS.SILENT ({})".format(" ".join(long[:20])))
    assert (await client.no("STORE 1 +FLAGS.SILENT ({})".format(" ".join(long[20:])))).startswith(b"NO [LIMIT] ")


@pytest.mark.parametrize("key", ["TEXT", "BODY"])
async def test_a_search_finds_what_an_attachment_is_called(lab: Lab, key: str) -> None:
    # RFC 9051 §6.4.4: TEXT looks into the header fields of parts.
    await lab.deliver(HELLO, ATTACHED)
    client = await lab.client(select="INBOX")
    await client.ok("ENABLE UTF8=ACCEPT")
    assert (await client.ok(f'SEARCH {key} "köstliches"')) == [b"SEARCH 2"]


LARGE = HELLO + b"".join(b"line %06d of a long message that fills some chunks\r\n" % number for number in range(12_000))


@pytest.mark.parametrize("items", ["(UID BODY.PEEK[TEXT])", "(BODY.PEEK[HEADER] BODY.PEEK[TEXT] UID)"], ids=["at its beginning", "behind another item"])
async def test_a_large_message_that_does_not_open_leaves_no_torn_response(lab: Lab, monkeypatch: pytest.MonkeyPatch, items: str) -> None:
    client = await lab.client(select="INBOX")
    for content in (LARGE, HELLO):
        await client.append("INBOX", content)
    read = OpenMessage.read

    def broken(message: OpenMessage, start: int, length: int) -> Iterator[bytes]:
        if message.size > len(HELLO) * 10:
            raise SealBrokenError
        yield from read(message, start, length)

    monkeypatch.setattr(OpenMessage, "read", broken)
    told = await client.command(f"FETCH 1:2 {items}")
    assert [line.split()[:2] for line in told] == [[b"2", b"FETCH"]]
    assert client.tagged.startswith(b"NO [CORRUPTION]")


async def test_many_sections_of_one_message_cost_a_bounded_buffer_and_others_have_their_turn(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    client = await lab.client(select="INBOX")
    await client.append("INBOX", LARGE)
    largest, rounds = 0, 0
    write, pause = Connection.write, Conversation.pause

    def noted(connection: Connection[object], octets: bytes) -> None:
        nonlocal largest
        largest = max(largest, len(octets))
        write(connection, octets)

    async def counted(conversation: Conversation, written: int = 0) -> bool:
        nonlocal rounds
        rounds += 1
        return await pause(conversation, written)

    monkeypatch.setattr(Connection, "write", noted)
    monkeypatch.setattr(Conversation, "pause", counted)
    places = range(0, 64 * 4000, 4000)
    told = await client.ok("FETCH 1 ({} UID)".format(" ".join(f"BODY.PEEK[]<{place}.262144>" for place in places)))
    whole = b"".join(b"BODY[]<%d> {262144}\r\n%b " % (place, LARGE[place : place + 262144]) for place in places)
    assert told == [b"1 FETCH (" + whole + b"UID 1)"]
    assert largest < 2 * RESPONSE_OCTETS
    assert rounds > 30


async def test_a_header_of_countless_fields_is_refused_for_each_of_them_costs_its_readers(lab: Lab) -> None:
    client = await lab.client(select="INBOX")
    assert (await client.append("INBOX", b"a:\r\n" * 60_000 + b"\r\nbody\r\n")).startswith(b"NO [TOOBIG]")
    assert (await client.ok("STATUS INBOX (MESSAGES)"))[-1] == b"STATUS INBOX (MESSAGES 0)"


async def test_flags_of_many_messages_with_many_keywords_cost_a_bounded_buffer(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "FLAG_OCTETS", 8192)
    await lab.deliver(*[HELLO] * 12)
    client = await lab.client(select="INBOX")
    words = " ".join(f"{number:02d}{'x' * 98}" for number in range(20))
    await client.ok(f"STORE 1:* FLAGS.SILENT ({words})")
    largest = 0
    write = Connection.write

    def noted(connection: Connection[object], octets: bytes) -> None:
        nonlocal largest
        largest = max(largest, len(octets))
        write(connection, octets)

    monkeypatch.setattr(Connection, "write", noted)
    told = await client.ok("FETCH 1:* FLAGS")
    assert len(told) == 12
    assert all(words.encode() in line for line in told)
    assert largest < 2 * 8192


@pytest.mark.parametrize("command", ["UID FETCH {} (UID)", "UID STORE {} +FLAGS (\\Seen)", "UID COPY {} Archive"])
async def test_a_long_set_of_uids_is_worked_off_in_slices(lab: Lab, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    await lab.deliver(HELLO, HELLO, HELLO)
    client = await lab.client(select="INBOX")
    longest = 0
    spans_of_uids = Numbering.spans_of_uids

    def noted(numbering: Numbering, ranges: Sequence[Span]) -> list[Span]:
        nonlocal longest
        longest = max(longest, len(ranges))
        return spans_of_uids(numbering, ranges)

    monkeypatch.setattr(Numbering, "spans_of_uids", noted)
    told = await client.ok(command.format(",".join(map(str, range(1, 12_000, 2)))))
    assert longest <= VANISHED
    if "COPY" in command:
        assert b" 1,3 1:2]" in client.tagged
    else:
        assert [line.split()[0] for line in told if b" FETCH " in line] == [b"1", b"3"]
