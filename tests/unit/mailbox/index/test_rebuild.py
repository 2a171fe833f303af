# SPDX-License-Identifier: Apache-2.0
"""What repairing makes anew from contents is what delivery made; and two processes that index one account leave each message in one segment."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from moatmail.core.limits import mailbox as limits
from moatmail.crypto.keyring import Keyring
from moatmail.crypto.seal import new_id
from moatmail.mailbox import messages
from moatmail.mailbox.index.rebuild import drop_segments, fetch_summary, rebuild, recount
from moatmail.mailbox.index.tend import Tender
from moatmail.mailbox.opened import OpenAccounts
from moatmail.mailbox.reading import open_summary
from moatmail.store.index_items import AddWords, CountUnindexed, ListSegments, ListUnindexed, SetSummary, UnindexedCount, UnindexedRow
from moatmail.store.operations import Accept, Append
from moatmail.store.queries import ListMailboxes
from moatmail.store.thread_items import AddThreads, GetThreads
from tests.house.indoors import NOW
from tests.unit.mailbox.box import Box, box_of
from tests.unit.mailbox.index.test_indexed_search import letter

SHAPES = [
    pytest.param(b"", id="nothing at all"),
    pytest.param(b"Subject: x\r\n\r\n", id="a header without a body"),
    pytest.param(b"no header, only this\r\n", id="what is no header"),
    pytest.param("Subject: grüße\r\nFrom: <jörg@dömain.test>\r\nTo: ann@example.test\r\n\r\nübrigens\r\n".encode(), id="an internationalized header"),
    pytest.param(b"Subject: long\r\nDate: Wed, 25 Nov 2026 10:00:00 +0000\r\n\r\n" + b"word and more of it\r\n" * 20_000, id="content in a file of its own"),
    pytest.param(
        b"Subject: parts\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\npre\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n"
        b"From: i@n.test\r\nSubject: inner\r\n\r\ninside\r\n--b\r\n"
        b"Content-Type: image/png; name=a.png\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\n--b--\r\n",
        id="a message within a message",
    ),
]


@pytest.fixture
async def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Box]:
    monkeypatch.setattr(limits, "INDEX_MERGE", 8)
    monkeypatch.setattr(limits, "SEGMENT_MESSAGES", 12)
    async with box_of(tmp_path) as one:
        yield one


async def tail(box: Box) -> tuple[UnindexedRow, ...]:
    return await box.opened.store.read(ListUnindexed(box.opened.id))


async def count(box: Box) -> UnindexedCount:
    return await box.opened.store.read(CountUnindexed(box.opened.id))


@pytest.mark.parametrize("octets", SHAPES)
async def test_a_summary_and_words_made_anew_are_those_that_delivery_made(box: Box, octets: bytes) -> None:
    await box.deliver(octets)
    await box.put(octets)
    for row in await tail(box):
        assert await fetch_summary(box.opened, row) == open_summary(box.opened, row)
    without = sum(not row.words for row in await tail(box))
    done = await rebuild(box.opened, lambda: True, NOW)
    assert done == (0, without, (), 0)


async def test_a_surrogate_header_is_made_anew_as_delivery_made_it(box: Box) -> None:
    """Readers without UTF-8 see a header in place of the received one (RFC 6858); the summary tells both."""
    trace = b"Received: from stranger.example\r\n"
    head = "Subject: grüße\r\nFrom: <jörg@dömain.test>\r\nTo: ann@example.test\r\n\r\n".encode()
    prepared = replace(await box._prepare(head + "übrigens\r\n".encode(), trace), header=trace + head)
    copy = messages.Copy(box.opened.id, box.opened.keys.public, box.opened.identity.address)
    await box.opened.store.write(Accept((prepared.content,), (messages.deliver(prepared, copy, None),)))
    await box.opened.store.write(
        Append(new_id(int(NOW * 1000)), (), (messages.append(prepared, box.opened.id, box.opened.keys, box.mailbox, 0, ()),)),
    )
    rows = await tail(box)
    assert len(rows) == 2
    for row in rows:
        assert open_summary(box.opened, row).utf8 is not None
        assert await fetch_summary(box.opened, row) == open_summary(box.opened, row)
    assert await rebuild(box.opened, lambda: True, NOW) == (0, 0, (), 0)


async def test_mail_of_many_shapes_is_found_right_and_nothing_is_written(box: Box) -> None:
    rnd = random.Random(4)
    for _ in range(30):
        await box.deliver(letter(rnd))
    assert await rebuild(box.opened, lambda: True, NOW) == (0, 0, (), 0)


async def test_damaged_summaries_and_words_are_made_anew_and_all_is_merged(box: Box) -> None:
    rnd = random.Random(7)
    for _ in range(20):
        await box.deliver(letter(rnd))
    await Tender(box.opened, lambda: True).run(NOW)
    merged = await box.opened.store.read(ListSegments(box.opened.id))
    assert await drop_segments(box.opened) == len(merged) > 0
    rows = await tail(box)
    wanted = [open_summary(box.opened, row) for row in rows]
    store, account = box.opened.store, box.opened.id
    await store.write(SetSummary(account, tuple((row.number, row.summary, b"damaged") for row in rows[::2])))
    await store.write(AddWords(account, tuple((row.number, row.words[:-1] + b"\0") for row in rows[::3])))
    done = await rebuild(box.opened, lambda: True, NOW)
    assert (done.summaries, done.unreadable) == (10, ())
    assert done.words >= 6  # a last octet may have been zero before
    assert (await count(box)).messages < limits.INDEX_MERGE
    await drop_segments(box.opened)
    assert [open_summary(box.opened, row) for row in await tail(box)] == wanted


async def test_what_ties_messages_is_made_anew_and_threads_stay(box: Box) -> None:
    await box.put(*[b"Message-ID: <%d@a>\r\nSubject: lunch\r\n\r\nx" % number for number in range(3)])
    store, account = box.opened.store, box.opened.id
    before = await store.read(GetThreads(account, box.mailbox, (1, 2, 3)))
    rows = await tail(box)
    assert await store.write(AddThreads(account, tuple((row.number, b"damaged".ljust(16)) for row in rows[1:]))) == 2
    assert (await rebuild(box.opened, lambda: True, NOW)).tied == 2
    await box.put(b"In-Reply-To: <1@a>\r\nSubject: Re: lunch\r\n\r\nx")
    assert await store.read(GetThreads(account, box.mailbox, (1, 2, 3, 4))) == (*before, (4, before[1][1]))


async def test_a_message_that_does_not_open_is_told_and_stops_nothing(box: Box) -> None:
    await box.put(b"Subject: one\r\n\r\nx")
    prepared = await box._prepare(b"Subject: two\r\n\r\ny")
    delivery = messages.append(prepared, box.opened.id, box.opened.keys, box.mailbox, 0, ())
    broken = msgspec.structs.replace(delivery.message, cover=delivery.message.cover[:-1] + bytes([delivery.message.cover[-1] ^ 1]))
    await box.opened.store.write(Append(new_id(int(NOW * 1000)), (prepared.content,), (msgspec.structs.replace(delivery, message=broken),)))
    await box.put(b"Subject: three\r\n\r\nz")
    number = (await tail(box))[1].number
    assert await rebuild(box.opened, lambda: True, NOW) == (0, 0, (number,), 0)


async def test_two_rounds_at_once_leave_each_message_in_one_segment(box: Box) -> None:
    rnd = random.Random(9)
    for number in range(40):
        await box.deliver(letter(rnd), words=number % 3 > 0)
    await asyncio.gather(*(Tender(box.opened, lambda: True).run(NOW + step) for step in range(3)))
    await Tender(box.opened, lambda: True).run(NOW + 9)
    left = await count(box)
    assert left.messages < limits.INDEX_MERGE
    assert left.without_words == 0
    await drop_segments(box.opened)
    rows = await tail(box)
    assert len(rows) == len({row.number for row in rows}) == 40


async def test_a_closed_account_is_left_alone(box: Box) -> None:
    for _ in range(20):
        await box.deliver(b"Subject: x\r\n\r\ny", words=False)
    looks = iter([True] * 3)
    await Tender(box.opened, lambda: next(looks, False)).run(NOW)
    assert await box.opened.store.read(ListSegments(box.opened.id)) == ()
    assert (await count(box)).without_words > 0


async def test_what_no_parser_expected_is_told_and_ends_the_round_alone(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_message: object) -> None:
        raise RecursionError("a stranger's idea")

    monkeypatch.setattr("moatmail.mailbox.index.tend.words_of", fail)
    await box.deliver(b"Subject: x\r\n\r\ny", words=False)
    accounts = OpenAccounts(box.opened.store, box.opened.files, Keyring(), box.house.clock, box.house.ear)
    opened = await accounts.open(box.opened.identity, "test", 1)
    await asyncio.gather(*accounts._tasks)
    (event,) = box.house.ear.named("index.fault")
    assert event.alert
    accounts.close(opened)
    await accounts.stop()


async def test_counts_are_made_anew_of_every_mailbox_and_of_the_account(box: Box) -> None:
    await box.deliver(letter(random.Random(1)))
    await box.put(letter(random.Random(2)))
    store = box.house.store
    assert await recount(box.opened) == 0
    rows = (await store.read(ListMailboxes(box.opened.id))).mailboxes
    await store.group._idle.wait()
    damaged = store.group._writer.db.connection
    damaged.execute("UPDATE mailbox SET messages = 99, unseen = 5")
    damaged.execute("UPDATE account SET used_octets = 1")
    assert await recount(box.opened) == len(rows) + 1
    assert (await store.read(ListMailboxes(box.opened.id))).mailboxes == rows
