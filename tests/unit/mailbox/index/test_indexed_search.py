# SPDX-License-Identifier: Apache-2.0
"""An indexed search answers what opening every message answers, wherever the words of a message are: in a segment, in the tail, nowhere yet."""

from __future__ import annotations

import asyncio
import base64
import quopri
import random
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from moatmail.core.limits import mailbox as limits
from moatmail.crypto.seal import new_id
from moatmail.mailbox.criteria import And, Body, Criterion, HeaderText, Larger, Not, Or, Received, ReceivedFrom, ReceivedUntil, Relation, Smaller, Text
from moatmail.mailbox.index.cache import AccountIndex
from moatmail.mailbox.index.tend import Tender
from moatmail.mailbox.index.words import Words, header_words
from moatmail.mailbox.search_reader import MailboxReader
from moatmail.store.index_items import CountUnindexed, DropSegments, GetSegmentNumbers, GetSegmentPart, ListSegments, UnindexedCount, UnindexedRow
from moatmail.store.operations import Copy, EraseDue, Expunge, Move, StoreFlags
from moatmail.store.queries import ListMailboxes, MessageSizes
from tests.house.indoors import NOW
from tests.unit.mailbox.box import Box, box_of

DAY = 86400.0
TRACE = ["ann@example.test", "delivered-to", "stranger.example", "received: from"]
TOKENS = [
    "alpha", "Beta", "gamma-delta", "straße", "STRASSE", "café", "cafe\u0301", "naïve", "co\xadoperate", "ἀρχή", "ΣΊΣΥΦΟΣ", "привет", "мир",
    "漢字仮名交じり文の長い一文です。",
    "日本語", "你好", "مرحبا", "😀😀", "ﬁnal", "İstanbul", "x" * 40, "y" * 200, "user5@s1.test", "<b>", "&amp;", "subject:",
    "".join(map(chr, range(0x4E00, 0x4E96))), "a", "e", "1.2.3", "--", "\x1cfs", "\xa0",
]  # fmt: skip


def day(number: int) -> date:
    """Give a day, counted from that of NOW."""
    return datetime.fromtimestamp(NOW + DAY * number, tz=UTC).date()


HEADS = {
    "html": b"text/html; charset=utf-8",
    "base64": b"text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64",
    "qp": b"text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable",
    "nested": b"multipart/mixed; boundary=B",
    "plain": b"text/plain; charset=utf-8",
    "bare": b"",
}


def header(rnd: random.Random, kind: str) -> bytes:
    """Give header fields: encoded words, dressed addresses, fields that some have and others lack."""
    word = base64.b64encode(rnd.choice(TOKENS).encode()).decode()
    fields = [
        f"From: =?utf-8?B?{word}?= <user{rnd.randrange(9)}@s{rnd.randrange(3)}.test>",
        'To: "Last, First" <bob@example.test> (note)',
        f"Subject: {rnd.choice(TOKENS)} {rnd.choice(TOKENS)}",
    ]
    if rnd.random() < 0.5:
        fields.append(f"Cc: {rnd.choice(['eve@x.test', 'a@b.test, c@d.test'])}")
    if rnd.random() < 0.3:
        fields.append(f"X-Mark: {rnd.choice(TOKENS)}")
    raw = "".join(f"{field}\r\n" for field in fields).encode()
    return raw + (b"Content-Type: %b\r\n\r\n" % HEADS[kind] if HEADS[kind] else b"\r\n")


def body(rnd: random.Random, kind: str) -> bytes:
    """Give a body of a kind; a bare one is octets in no charset."""
    text = " ".join(rnd.choice(TOKENS) for _ in range(rnd.randrange(30)))
    octets = text.encode()
    if kind == "html":
        return b"<html><style>hid</style><p>" + octets.replace(b" ", b"</p> <p>") + b"</p>"
    if kind == "base64":
        return base64.encodebytes(octets).replace(b"\n", b"\r\n")
    if kind == "qp":
        return quopri.encodestring(text.encode("iso-8859-1", "replace"))
    if kind == "nested":
        inner = b"Content-Type: message/rfc822\r\n\r\nSubject: inner " + octets[:40].replace(b"\r", b"") + b"\r\n\r\n" + octets
        return b"--B\r\n\r\nfirst part\r\n--B\r\n" + inner + b"\r\n--B--\r\n"
    return octets if kind == "plain" else rnd.randbytes(300).translate(None, b"\0\r\n") + octets


def letter(rnd: random.Random) -> bytes:
    """Give a message of some kind."""
    kind = rnd.choice(list(HEADS))
    return header(rnd, kind) + body(rnd, kind)


def sought_text(rnd: random.Random) -> str:
    """Give a text to look for: a piece of a word, over blanks, over the place where long words are cut, or nothing."""
    source = " ".join(rnd.choice(TOKENS) for _ in range(3))
    start = rnd.randrange(len(source))
    return rnd.choice([source[start : start + rnd.choice([1, 2, 4, 12, 33, 34, 60, 120])], rnd.choice(TOKENS + TRACE), "zzz", "", " "])


def question(rnd: random.Random, depth: int = 0) -> Criterion:
    """Give a criterion, often a tree."""
    text = sought_text(rnd)
    name = rnd.choice([b"from", b"to", b"cc", b"bcc", b"subject", b"x-mark", b"received"])
    facts: list[Criterion] = [
        Larger(rnd.randrange(900)),
        Smaller(rnd.randrange(900)),
        Received(rnd.choice(list(Relation)), day(rnd.randrange(-1, 8))),
        ReceivedUntil(NOW + DAY * rnd.randrange(-1, 8)),
        ReceivedFrom(NOW + DAY * rnd.randrange(-1, 8)),
    ]
    simple: list[Criterion] = [HeaderText(name, text), HeaderText(name, text), Body(text), Text(text), rnd.choice(facts)]
    if depth > 2 or rnd.random() < 0.5:
        return rnd.choice(simple)
    parts = tuple(question(rnd, depth + 1) for _ in range(rnd.randrange(1, 4)))
    trees: list[Criterion] = [And(parts), Or(parts), Not(parts[0])]
    return rnd.choice(trees)


@pytest.fixture
async def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Box]:
    monkeypatch.setattr(limits, "INDEX_WORTH", 1)
    monkeypatch.setattr(limits, "FACTS_WORTH", 0)
    monkeypatch.setattr(limits, "INDEX_MERGE", 8)
    monkeypatch.setattr(limits, "SEGMENT_MESSAGES", 12)
    async with box_of(tmp_path) as one:
        yield one


async def tend(box: Box) -> None:
    await Tender(box.opened, lambda: True).run(NOW)


async def count(box: Box) -> UnindexedCount:
    return await box.opened.store.read(CountUnindexed(box.opened.id))


async def segments(box: Box) -> int:
    return len(await box.opened.store.read(ListSegments(box.opened.id)))


async def agree(box: Box, rnd: random.Random, questions: int, mailbox: int = 0) -> None:
    """Ask many questions both ways."""
    for _ in range(questions):
        criterion = question(rnd)
        assert await box.find(criterion, mailbox=mailbox) == await box.find(criterion, indexed=False, mailbox=mailbox), criterion


@pytest.mark.parametrize("seed", range(4))
async def test_an_indexed_search_answers_as_a_full_scan_does(box: Box, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    rnd = random.Random(seed)
    if seed % 2:
        monkeypatch.setattr(limits, "SEGMENT_POSTINGS", 0)  # all postings are apart
    store, account = box.opened.store, box.opened.id
    boxes = {row.special_use: row.id for row in (await store.read(ListMailboxes(account))).mailboxes}
    for _ in range(20):
        box.day = rnd.randrange(7)
        await box.deliver(letter(rnd), words=rnd.random() < 0.7)
    await agree(box, rnd, 12)  # nothing merged; some have no words at all
    await tend(box)
    assert (await segments(box), (await count(box)).without_words) == (2, 0)
    for _ in range(14):
        await (box.put(letter(rnd)) if rnd.random() < 0.5 else box.deliver(letter(rnd), words=rnd.random() < 0.7))
    await agree(box, rnd, 25)  # segments, a tail with words, and some without
    uids = tuple(sorted(rnd.sample(range(1, 35), 6)))
    await store.write(StoreFlags(new_id(1), account, box.mailbox, uids, "add", 4))
    await store.write(Expunge(account, box.mailbox, uids, NOW, new_id(2)))
    await store.write(Copy(new_id(3), account, box.mailbox, box.mailbox, tuple(range(5, 12))))
    await store.write(Move(new_id(4), account, box.mailbox, boxes["archive"], tuple(range(9, 20))))
    await agree(box, rnd, 20)
    await agree(box, rnd, 20, boxes["archive"])
    before = await segments(box)
    await store.write(EraseDue(NOW + 26 * DAY))
    assert await segments(box) < before
    await agree(box, rnd, 10)
    await tend(box)
    await agree(box, rnd, 15)
    await agree(box, rnd, 10, boxes["archive"])


async def test_sizes_and_dates_come_from_segments_and_no_row_is_read(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(24):
        box.day = number
        await box.deliver(b"Subject: x\r\n\r\n" + b"y" * number)
    await tend(box)
    asked: list[object] = []
    read = box.opened.store.read

    async def noted(query: Any) -> Any:  # noqa: ANN401  any query
        asked.append(type(query))
        return await read(query)

    monkeypatch.setattr(box.opened.store, "read", noted)
    since = day(5)
    for criterion in (Received(Relation.SINCE, since), Not(Received(Relation.BEFORE, since)), And((ReceivedFrom(NOW + 5 * DAY), Larger(1)))):
        assert await box.find(criterion) == list(range(5, 24))
    assert MessageSizes not in asked
    assert asked.count(GetSegmentPart) == 2, "each segment's once"
    monkeypatch.setattr(limits, "FACTS_WORTH", 24)  # few are asked about: a page of rows costs less
    assert await box.find(Received(Relation.SINCE, since)) == list(range(5, 24))
    assert MessageSizes in asked


async def test_a_part_that_tells_of_other_messages_than_its_segment_is_not_believed(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which messages a segment has is told by a row that is not sealed: somebody else's hand must not move words between messages."""
    for number in range(12):
        box.day = number
        await box.deliver(b"Subject: number%d\r\n\r\nx" % number)
    await tend(box)
    read = box.opened.store.read

    async def shifted(query: Any) -> Any:  # noqa: ANN401  any query
        answer = await read(query)
        return answer[8:] + (99).to_bytes(8, "little") if isinstance(query, GetSegmentNumbers) else answer

    monkeypatch.setattr(box.opened.store, "read", shifted)
    assert await box.find(HeaderText(b"subject", "number3")) == [3]
    assert await box.find(Received(Relation.SINCE, day(5))) == list(range(5, 12))


async def test_a_word_needs_no_look_at_a_message_and_a_phrase_looks_at_few(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[int] = []
    original = MailboxReader.summary

    def counted(self: MailboxReader, row: object) -> object:
        opened.append(1)
        return original(self, row)  # type: ignore[arg-type]

    monkeypatch.setattr(MailboxReader, "summary", counted)
    for number in range(40):
        await box.deliver(b"From: u%d@x.test\r\nSubject: number %d\r\n\r\nneedle%d in a haystack" % (number, number, number))
    await tend(box)
    for criterion in (HeaderText(b"from", "U7@X"), Body("edle17"), Text("NUMBER"), HeaderText(b"subject", "nowhere"), Not(Text("haystack"))):
        await box.find(criterion)
    assert opened == []
    assert await box.find(Body("needle17 in a")) == [17]
    assert len(opened) == 1


async def test_two_processes_that_merge_leave_every_message_in_one_segment(box: Box) -> None:
    rnd = random.Random(9)
    for _ in range(30):
        await box.deliver(letter(rnd), words=rnd.random() < 0.5)
    first, second = Tender(box.opened, lambda: True), Tender(box.opened, lambda: True)
    await asyncio.gather(first.run(NOW), second.run(NOW))
    await tend(box)
    left = await count(box)
    assert left.without_words == 0
    assert left.messages < limits.INDEX_MERGE
    await agree(box, rnd, 10)


async def test_a_closed_account_is_indexed_no_further(box: Box) -> None:
    for number in range(20):
        await box.deliver(b"Subject: %d\r\n\r\nhi" % number, words=False)
    await Tender(box.opened, lambda: False).run(NOW)
    assert await count(box) == UnindexedCount(20, 20)
    assert await segments(box) == 0


async def test_words_of_the_tail_are_opened_once(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[int] = []
    original = AccountIndex._open

    def counted(self: AccountIndex, row: UnindexedRow) -> Words | None:
        opened.append(row.number)
        return original(self, row)

    monkeypatch.setattr(AccountIndex, "_open", counted)
    for number in range(5):
        await box.deliver(b"Subject: number %d\r\n\r\nx" % number)
    for _ in range(3):
        assert await box.find(HeaderText(b"subject", "number 3")) == [3]
    assert len(opened) == 5
    await box.deliver(b"Subject: number 33\r\n\r\nx")
    assert await box.find(HeaderText(b"subject", "number 3")) == [3, 5]
    assert len(opened) == 6
    monkeypatch.setattr(limits, "INDEX_MERGE", 1)
    await tend(box)
    await box.deliver(b"Subject: number 34\r\n\r\nx")
    assert await box.find(HeaderText(b"subject", "number 3")) == [3, 5, 6]
    (segment,) = await box.opened.store.read(ListSegments(box.opened.id))
    await box.opened.store.write(DropSegments(box.opened.id, (segment,)))
    for _ in range(2):
        assert await box.find(HeaderText(b"subject", "number 3")) == [3, 5, 6]


async def test_words_made_later_are_found_in_the_tail(box: Box) -> None:
    await box.deliver(b"Subject: early bird\r\n\r\nx", words=False)
    await box.deliver(b"Subject: late bird\r\n\r\nx")
    assert await box.find(HeaderText(b"subject", "bird")) == [0, 1]
    await Tender(box.opened, lambda: True).run(0.0)
    assert await box.find(HeaderText(b"subject", "bird")) == [0, 1]
    known = box.opened.index._parts.tail(box.opened.id)
    assert known is not None
    assert len(known.rows) == 2


async def test_a_message_that_no_parser_expected_keeps_no_other_out_of_the_index(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(block: bytes) -> bytes:
        if b"cursed" in block:
            raise RecursionError("a stranger's idea")
        return header_words(block)

    monkeypatch.setattr("moatmail.mailbox.incoming.header_words", fail)
    monkeypatch.setattr("moatmail.mailbox.index.tend.header_words", fail)
    for number in range(12):
        await box.deliver(b"Subject: %b\r\n\r\nhi" % (b"cursed" if number == 5 else b"number %d" % number))
    with pytest.raises(RecursionError):
        await tend(box)
    assert (await count(box), await segments(box)) == (UnindexedCount(1, 1), 1)
    assert await box.find(HeaderText(b"subject", "cursed")) == [5]
