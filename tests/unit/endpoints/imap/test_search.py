# SPDX-License-Identifier: Apache-2.0
"""SEARCH over a door: what is found, in which numbers, by which response."""

from __future__ import annotations

import asyncio

import pytest

from moatmail.core.errors import StoreUnavailableError
from moatmail.core.limits import mailbox as limits
from moatmail.endpoints.imap.search import take_snapshot
from moatmail.endpoints.imap.selected import Selected
from moatmail.mailbox.numbering import Numbering
from moatmail.mailbox.search_reader import MailboxReader
from moatmail.mailbox.view import View
from moatmail.store.operations import PlacementRow
from moatmail.store.queries import MailboxRow
from moatmail.wire.imap.moment import ZonedMoment, format_date_time
from tests.unit.endpoints.imap.lab import HELLO, NOW, Lab

SEARCHES = {
    "ALL": b"1 2 3 4",
    "1:2,4": b"1 2 4",
    "4:2": b"2 3 4",
    "*": b"4",
    "9:*": b"4",
    "7": b"",
    "UID 3:*": b"3 4",
    "UID 99:*": b"4",
    "UID 99": b"",
    "NOT 2": b"1 3 4",
    "OR 1 UID 3": b"1 3",
    "(2) (UID 2:3)": b"2",
    "SEEN": b"2 4",
    "UNSEEN": b"1 3",
    "FLAGGED SEEN": b"2",
    "KEYWORD $WORK": b"3",
    "UNKEYWORD $work": b"1 2 4",
    "RECENT": b"1 2 3 4",
    "NEW": b"1 3",
    "OLD": b"",
    "SUBJECT hello": b"1 2 3",
    "SUBJECT köln": b"4",
    'FROM "bob <BOB@"': b"1 2 3 4",
    "TO alice UNSEEN": b"1 3",
    "CC x": b"",
    'HEADER Delivered-To ""': b"1 2 3 4",
    "HEADER X-None x": b"",
    "BODY eagle": b"1 2 3",
    "TEXT köln": b"4",
    "LARGER 1 SMALLER 100000": b"1 2 3 4",
    "SMALLER 10": b"",
    "ON 15-Jan-2027": b"1 2 3 4",
    "BEFORE 15-Jan-2027": b"",
    "YOUNGER 3600": b"1 2 3 4",
    "OLDER 3600": b"",
    "OR OLDER 3600 2": b"2",
    "SENTON 24-Nov-2026": b"1 2 3 4",
    "SENTSINCE 25-Nov-2026": b"",
}


async def given_four(lab: Lab) -> None:
    await lab.deliver(HELLO, HELLO, HELLO, HELLO.replace(b"Subject: hello", b"Subject: =?utf-8?q?K=C3=B6ln?=").replace(b"eagle", b"owl"))


async def test_every_key_finds_what_it_says(lab: Lab) -> None:
    await given_four(lab)
    client = await lab.client(select="INBOX")
    await client.ok("STORE 2,4 +FLAGS.SILENT (\\Seen)")
    await client.ok("STORE 2 +FLAGS.SILENT (\\Flagged)")
    await client.ok("STORE 3 +FLAGS.SILENT ($Work)")
    found = {key: (await client.ok(f"SEARCH CHARSET UTF-8 {_as_literals(key)}"))[-1] for key in SEARCHES}
    assert found == {key: b"SEARCH" + (b" " + numbers if numbers else b"") for key, numbers in SEARCHES.items()}
    assert lab.events.alerts() == []


@pytest.mark.parametrize(("key", "wanted"), [("OLDER 60", b" 1 2"), ("YOUNGER 60", b" 2 3"), ("NOT YOUNGER 60", b" 1"), ("OLDER 60 YOUNGER 60", b" 2")])
async def test_an_interval_holds_both_its_ends(lab: Lab, key: str, wanted: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    # RFC 5032 §3: the moment exactly so many seconds ago is within OLDER and within YOUNGER.
    monkeypatch.setattr(type(lab.door.clock), "now", lambda _clock: NOW)
    client = await lab.client()
    for seconds in (61, 60, 59):
        date = format_date_time(ZonedMoment(int(NOW) - seconds)).decode()
        assert (await client.append("INBOX", HELLO, f"{date} ")).startswith(b"OK")
    await client.ok("SELECT INBOX")
    assert (await client.ok(f"SEARCH {key}"))[-1] == b"SEARCH" + wanted


def _as_literals(key: str) -> str:
    """Give texts outside of ASCII as literals, as RFC 3501 §4.3 wants."""
    words = [word if word.isascii() else f"{{{len(word.encode())}+}}\r\n{word}" for word in key.split(" ")]
    return " ".join(words)


@pytest.mark.parametrize(
    ("command", "wanted"),
    [
        ("SEARCH RETURN () UNSEEN", b"ALL 1,3:4"),
        ("SEARCH RETURN (MIN) UNSEEN", b"MIN 1"),
        ("SEARCH RETURN (MAX) UNSEEN", b"MAX 4"),
        ("SEARCH RETURN (COUNT) UNSEEN", b"COUNT 3"),
        ("SEARCH RETURN (MIN MAX COUNT ALL) UNSEEN", b"MIN 1 MAX 4 ALL 1,3:4 COUNT 3"),
        ("SEARCH RETURN (MIN) BODY eagle", b"MIN 1"),
        ("SEARCH RETURN (MAX) BODY eagle", b"MAX 3"),
        ("SEARCH RETURN (MIN MAX) BODY nothing", b""),
        ("SEARCH RETURN (COUNT) BODY nothing", b"COUNT 0"),
        ("UID SEARCH RETURN (MAX) UNSEEN", b"UID MAX 4"),
        ("UID SEARCH RETURN (ALL) BODY nothing", b"UID"),
    ],
)
async def test_the_extended_answer_holds_what_was_asked(lab: Lab, command: str, wanted: bytes) -> None:
    await given_four(lab)
    client = await lab.client(select="INBOX")
    await client.ok("STORE 2 +FLAGS.SILENT (\\Seen)")
    answer = (await client.ok(command))[-1]
    assert answer == b'ESEARCH (TAG "t4")' + (b" " + wanted if wanted else b"")


async def test_modseqs_go_with_the_answer_as_the_returned_ends_ask(lab: Lab) -> None:
    await given_four(lab)
    client = await lab.client(select="INBOX")
    for number in (4, 1, 3, 2):
        await client.ok(f"STORE {number} +FLAGS.SILENT (\\Seen)")
    modseqs = [int(line.split(b"MODSEQ (")[1].split(b")")[0]) for line in await client.ok("FETCH 1:4 (MODSEQ)") if b" FETCH (" in line]
    one, two, three, four = modseqs
    assert four < one < three < two

    async def last(command: str) -> bytes:
        line = (await client.ok(command))[-1]
        return line.partition(b") ")[2] if line.startswith(b"ESEARCH") else line

    assert await last("SEARCH MODSEQ 1") == b"SEARCH 1 2 3 4 (MODSEQ %d)" % two
    assert await last(f"SEARCH MODSEQ {three}") == b"SEARCH 2 3 (MODSEQ %d)" % two
    assert await last(f"SEARCH MODSEQ {two + 1}") == b"SEARCH"  # RFC 7162 §3.1.5: nothing found, no modseq
    assert await last('SEARCH RETURN (MIN) MODSEQ "/flags/\\\\seen" all 1') == b"MIN 1 MODSEQ %d" % one
    assert await last("SEARCH RETURN (MAX) MODSEQ 1") == b"MAX 4 MODSEQ %d" % four
    assert await last("SEARCH RETURN (MIN MAX) MODSEQ 1") == b"MIN 1 MAX 4 MODSEQ %d" % one
    assert await last("SEARCH RETURN (MIN COUNT) MODSEQ 1") == b"MIN 1 COUNT 4 MODSEQ %d" % two
    assert await last(f"UID SEARCH RETURN (COUNT) MODSEQ {two + 1}") == b"UID COUNT 0"


async def test_a_modseq_key_enables_condstore(lab: Lab) -> None:
    await given_four(lab)
    client = await lab.client(select="INBOX")
    untagged = await client.ok("SEARCH MODSEQ 1")
    assert untagged[0].startswith(b"OK [HIGHESTMODSEQ ")


async def test_numbers_stay_those_that_were_told_until_an_expunge_is_told(lab: Lab) -> None:
    await given_four(lab)
    client, other = await lab.client(select="INBOX"), await lab.client(select="INBOX")
    await other.ok("STORE 2 +FLAGS.SILENT (\\Deleted)")
    await other.ok("EXPUNGE")
    # The second is gone, but SEARCH may not say so: the third is still the third.
    assert (await client.ok("SEARCH BODY eagle"))[-1] == b"SEARCH 1 3"
    assert (await client.ok("SEARCH 3:4"))[-1] == b"SEARCH 3 4"
    assert (await client.ok("SEARCH UID 3:4"))[-1] == b"SEARCH 3 4"
    assert (await client.ok("SEARCH ALL"))[-1] == b"SEARCH 1 3 4"
    assert await client.ok("UID SEARCH ALL") == [b"2 EXPUNGE", b"SEARCH 1 3 4"]
    assert await client.ok("SEARCH ALL") == [b"SEARCH 1 2 3"]
    assert await client.ok("SEARCH UID 3:4") == [b"SEARCH 2 3"]
    assert await client.ok("SEARCH UID *") == [b"SEARCH 3"]
    assert await client.ok("SEARCH UID 99:*") == [b"SEARCH 3"]


@pytest.mark.parametrize("told", [pytest.param(9, id="nothing went that was not told"), pytest.param(4, id="one went that was not told")])
def test_a_message_that_was_not_told_yet_is_not_searched(told: int) -> None:
    row = MailboxRow(1, b"", b"", 1, 8, 9, None, 4, 0, 0, 0)
    view = View(1, row)
    view.extend([PlacementRow(uid, uid, ("k",) if uid == 5 else (), uid + 1) for uid in (1, 3, 5, 7)])
    view.vanished_at = 5
    selected = Selected(1, read_only=False, numbering=Numbering([1, 3, 5] if told == 9 else [1, 2, 3, 5]), modseq=told, uidnext=6, recent=[(5, 5)])
    snapshot = take_snapshot(selected, view)
    assert list(snapshot.uids) == [1, 3, 5]
    assert snapshot.flags == bytes((1, 3, 5 | 32))
    assert list(snapshot.modseqs) == [2, 4, 6]
    view.uids.pop(0)
    assert list(snapshot.uids) == [1, 3, 5]  # a copy: a view changes while a search waits


async def test_a_message_that_arrives_is_told_before_it_is_found(lab: Lab) -> None:
    await given_four(lab)
    client = await lab.client(select="INBOX")
    await lab.deliver(HELLO)
    untagged = await client.ok("SEARCH SUBJECT hello")
    assert untagged == [b"5 EXISTS", b"5 RECENT", b"SEARCH 1 2 3 5"]


async def test_only_the_first_session_finds_a_message_recent(lab: Lab) -> None:
    await given_four(lab)
    first, second = await lab.client(select="INBOX"), await lab.client(select="INBOX")
    await lab.deliver(HELLO)
    assert (await second.ok("SEARCH RECENT"))[-1] == b"SEARCH 5"
    assert (await first.ok("SEARCH RECENT"))[-1] == b"SEARCH 1 2 3 4"
    assert (await first.ok("SEARCH OLD"))[-1] == b"SEARCH 5"


async def test_an_empty_mailbox_answers_every_search(lab: Lab) -> None:
    client = await lab.client(select="INBOX")
    for key in ("ALL", "1:*", "*", "UID 1:*", "NOT TEXT x", "MODSEQ 1"):
        assert (await client.ok(f"SEARCH {key}"))[-1] == b"SEARCH"


async def test_other_sessions_are_served_while_one_searches_long(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SEARCH_SLICE", 0.0)
    await lab.deliver(*[HELLO] * 300)
    searching, other = await lab.client(select="INBOX"), await lab.client()
    searching.send(b"s1 SEARCH BODY nothing\r\n")
    answers = 0
    task = asyncio.create_task(searching.rest(b"s1"))
    while not task.done():
        await other.ok("NOOP")
        answers += 1
    assert await task == [b"SEARCH"]
    assert answers > 10


SAVING = {
    "all that was found": ("SAVE", "UNSEEN", b"1 3 4", None),
    "all, and told": ("SAVE ALL", "UNSEEN", b"1 3 4", b"ALL 1,3:4"),
    "all, where they are counted": ("SAVE MIN COUNT", "UNSEEN", b"1 3 4", b"MIN 1 COUNT 3"),
    "the first only": ("MIN SAVE", "UNSEEN", b"1", b"MIN 1"),
    "the last only": ("SAVE MAX", "UNSEEN", b"4", b"MAX 4"),
    "both ends": ("SAVE MIN MAX", "UNSEEN", b"1 4", b"MIN 1 MAX 4"),
    "a part": ("SAVE PARTIAL 2:3", "UNSEEN", b"3 4", b"PARTIAL (2:3 3:4)"),
    "a part and the first": ("SAVE PARTIAL -1:-1 MIN", "UNSEEN", b"1 4", b"MIN 1 PARTIAL (-1:-1 4)"),
    "nothing": ("SAVE", "SEEN UNSEEN", b"", None),
}


@pytest.mark.parametrize(("options", "keys", "saved", "told"), SAVING.values(), ids=SAVING.keys())
async def test_what_a_search_saves(lab: Lab, options: str, keys: str, saved: bytes, told: bytes | None) -> None:
    # RFC 5182 §2.1, §2.4; RFC 9394 §3.2.
    await given_four(lab)
    client = await lab.client(select="INBOX")
    await client.ok("STORE 2 +FLAGS.SILENT (\\Seen)")
    answers = await client.ok(f"SEARCH RETURN ({options}) {keys}")
    assert [line for line in answers if line.startswith(b"ESEARCH")] == ([b'ESEARCH (TAG "t4") ' + told] if told else [])
    assert (await client.ok("SEARCH $"))[-1] == b"SEARCH" + (b" " + saved if saved else b"")
    assert [line.split()[0] for line in await client.ok("FETCH $ (UID)")] == saved.split()


async def test_what_was_saved_goes_everywhere_a_set_goes(lab: Lab) -> None:
    await given_four(lab)
    client = await lab.client(select="INBOX")
    await client.ok("CREATE there")
    await client.ok("SEARCH RETURN (SAVE) 2:3")
    assert await client.ok("FETCH 1,$ (UID)") == [b"1 FETCH (UID 1)", b"2 FETCH (UID 2)", b"3 FETCH (UID 3)"]
    assert await client.ok("UID FETCH 4,$ (UID)") == [b"2 FETCH (UID 2)", b"3 FETCH (UID 3)", b"4 FETCH (UID 4)"]
    await client.ok("STORE $ +FLAGS.SILENT (\\Flagged)")
    assert (await client.ok("SEARCH FLAGGED"))[-1] == b"SEARCH 2 3"
    assert (await client.ok("SEARCH NOT $"))[-1] == b"SEARCH 1 4"
    assert (await client.ok("SEARCH OR UID $ 4"))[-1] == b"SEARCH 2 3 4"
    await client.ok("UID COPY $ there")
    await client.ok("SEARCH RETURN (SAVE) $ 3")  # within what was saved
    await client.ok("STORE $ +FLAGS.SILENT (\\Deleted)")
    assert await client.ok("UID EXPUNGE $") == [b"3 EXPUNGE"]
    assert await client.ok("FETCH $ (UID)") == []  # RFC 5182 §2.1: what went is saved no more, and nothing is no error
    await client.ok("SEARCH RETURN (SAVE) 1")
    await client.ok("MOVE $ there")
    assert await client.ok("STATUS there (MESSAGES)") == [b"STATUS there (MESSAGES 3)"]


async def test_what_was_saved_is_kept_and_forgotten_as_the_standard_says(lab: Lab) -> None:
    await given_four(lab)
    client = await lab.client(select="INBOX")
    await client.ok("SEARCH RETURN (SAVE) 2")
    await client.no("SEARCH RETURN (SAVE) 1 FOO")  # RFC 5182 §2.1: BAD changes nothing
    await lab.deliver(HELLO)
    assert (await client.ok("SEARCH $"))[-1] == b"SEARCH 2"
    await client.no("SEARCH RETURN (SAVE) CHARSET KOI8-R 1")
    assert (await client.ok("SEARCH $"))[-1] == b"SEARCH"  # NO empties it
    await client.ok("SEARCH RETURN (SAVE) 2")
    await client.ok("SELECT INBOX")
    assert (await client.ok("SEARCH $"))[-1] == b"SEARCH"


@pytest.mark.parametrize("command", ["SEARCH RETURN (SAVE) SUBJECT hello", "SORT RETURN (SAVE) (SUBJECT) UTF-8 ALL"])
async def test_a_search_that_fails_leaves_nothing_saved(lab: Lab, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    # RFC 5182 §2.1.
    await given_four(lab)
    client = await lab.client(select="INBOX")
    await client.ok("SEARCH RETURN (SAVE) 2")
    with monkeypatch.context() as away:

        async def fail(*_: object) -> None:
            raise StoreUnavailableError

        away.setattr(MailboxReader, "rows", fail)
        away.setattr(MailboxReader, "summaries", fail)
        assert (await client.no(command)).startswith(b"NO [UNAVAILABLE]")
    assert (await client.ok("SEARCH $"))[-1] == b"SEARCH"


PARTS = {
    "the newest two": ("UID FETCH 1:* (UID) (PARTIAL -1:-2)", [3, 4]),
    "the first two of some": ("UID FETCH 2:* (UID) (PARTIAL 1:2)", [2, 3]),
    "over a gap": ("UID FETCH 1,3:4 (UID) (PARTIAL 2:3)", [3, 4]),
    "beyond all": ("UID FETCH 1:* (UID) (PARTIAL 5:9)", []),
    "flags, from the arrays": ("UID FETCH 1:* (FLAGS) (PARTIAL 2:3)", [2, 3]),
    "the last, which did not change": ("UID FETCH 1:* (UID) (CHANGEDSINCE {since} PARTIAL -1:-1)", []),
    "those of the last two that changed": ("UID FETCH 1:* (UID) (CHANGEDSINCE {since} PARTIAL -1:-2)", [3]),
    "all of those that changed": ("UID FETCH 1:* (UID) (PARTIAL 1:9 CHANGEDSINCE {since})", [1, 3]),
}


@pytest.mark.parametrize(("command", "wanted"), PARTS.values(), ids=PARTS.keys())
async def test_a_part_of_what_is_fetched(lab: Lab, command: str, wanted: list[int]) -> None:
    # RFC 9394 §3.3, §3.4.
    await given_four(lab)
    client = await lab.client(select="INBOX")
    since = int((await client.ok("STATUS INBOX (HIGHESTMODSEQ)"))[-1].rpartition(b" ")[2][:-1])
    await client.ok("STORE 1,3 +FLAGS.SILENT (\\Seen)")
    answers = await client.ok(command.format(since=since))
    assert [int(line.split()[0]) for line in answers if b" FETCH " in line] == wanted


async def test_the_modseq_of_a_part_is_that_of_what_is_told(lab: Lab) -> None:
    await given_four(lab)
    client = await lab.client(select="INBOX")
    await client.ok("STORE 4 +FLAGS.SILENT (\\Seen)")
    modseqs = [int(line.split(b"MODSEQ (")[1].split(b")")[0]) for line in await client.ok("FETCH 1:4 (MODSEQ)") if b" FETCH (" in line]
    assert (await client.ok("UID SEARCH RETURN (PARTIAL 1:2) MODSEQ 1"))[-1].endswith(b"UID PARTIAL (1:2 1:2) MODSEQ %d" % modseqs[1])


async def test_who_waits_is_told_how_far_it_came(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    # RFC 9585 §4: progress rises and never passes the goal; what has no known end has none.
    await given_four(lab)
    client = await lab.client(select="INBOX")
    monkeypatch.setattr("moatmail.endpoints.imap.search.PROGRESS_EVERY", 0.0)
    monkeypatch.setattr(limits, "SEARCH_SLICE", 0.0)
    told = [line for line in await client.ok("SEARCH BODY eagle LARGER 5") if b"INPROGRESS" in line]
    assert told
    numbers = [line.partition(b'("t3" ')[2].partition(b")")[0].split() for line in told]
    assert {goal for _, goal in numbers} <= {b"4", b"NIL"}
    progress = [int(one) for one, _ in numbers]
    assert progress == sorted(progress)
    assert progress[-1] <= 4
    sorting = [line for line in await client.ok("UID SORT (SUBJECT) UTF-8 ALL") if b"INPROGRESS" in line]
    assert sorting[-1].startswith(b'OK [INPROGRESS ("t4" 4 NIL)]')
