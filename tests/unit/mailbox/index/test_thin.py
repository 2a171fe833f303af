# SPDX-License-Identifier: Apache-2.0
"""Segments are made anew without what was expunged before it is erased: then nothing else has to be read again, and no word of it is left."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from moatmail.core.limits import mailbox as limits
from moatmail.crypto.seal import new_id
from moatmail.mailbox.criteria import Body, HeaderText
from moatmail.mailbox.index.segment import SegmentBuilder
from moatmail.mailbox.index.tend import Tender
from moatmail.mailbox.index.thin import Thinner
from moatmail.mailbox.index.words import VERSION, FieldClass, Words
from moatmail.store.index_items import AddSegment, CountUnindexed, DropSegments, GetSegmentNumbers, ListSegments
from moatmail.store.operations import EraseDue, Expunge, StoreFlags
from tests.house.indoors import NOW
from tests.unit.mailbox.box import Box, box_of
from tests.unit.mailbox.index.test_indexed_search import DAY, agree, letter

SOON = NOW + 19 * DAY  # what is expunged now is erased in 25 days


@pytest.fixture
async def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Box]:
    monkeypatch.setattr(limits, "INDEX_WORTH", 1)
    monkeypatch.setattr(limits, "FACTS_WORTH", 0)
    monkeypatch.setattr(limits, "INDEX_MERGE", 8)
    monkeypatch.setattr(limits, "INDEX_MERGED", 3)
    monkeypatch.setattr(limits, "INDEX_BATCH", 5)
    monkeypatch.setattr(limits, "SEGMENT_MESSAGES", 12)
    async with box_of(tmp_path) as one:
        yield one


async def fill(box: Box, number: int, seed: int = 1) -> None:
    rnd = random.Random(seed)
    for one in range(number):
        box.day = rnd.randrange(7)
        await box.deliver(letter(rnd) + b" only%din " % one)
    await Tender(box.opened, lambda: True).run(NOW)


async def expunge(box: Box, *uids: int) -> None:
    store, account = box.opened.store, box.opened.id
    await store.write(StoreFlags(new_id(1), account, box.mailbox, uids, "add", 4))
    await store.write(Expunge(account, box.mailbox, uids, NOW, new_id(2)))


async def segments(box: Box) -> tuple[bytes, ...]:
    return await box.opened.store.read(ListSegments(box.opened.id))


async def thin(box: Box, now: float = SOON) -> None:
    await Thinner(box.opened, lambda: True).run(now)


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("seed", range(3))
async def test_a_thinned_segment_answers_as_before_and_stays_when_others_are_erased(box: Box, monkeypatch: pytest.MonkeyPatch, seed: int, apart: bool) -> None:
    if apart:
        monkeypatch.setattr(limits, "SEGMENT_POSTINGS", 0)
    await fill(box, 24, seed)
    before = await segments(box)
    assert len(before) == 2
    await expunge(box, 3, 5, 11)  # three of the first segment
    await thin(box)
    after = await segments(box)
    assert len(after) == 2
    assert len(set(after) & set(before)) == 1
    rnd = random.Random(seed)
    await agree(box, rnd, 25)
    assert await box.opened.store.write(EraseDue(NOW + 26 * DAY)) == 3
    assert await segments(box) == after
    assert (await box.opened.store.read(CountUnindexed(box.opened.id))).messages == 0
    await agree(box, rnd, 25)
    assert await box.find(Body("only3in")) == [2]


async def test_no_word_of_what_goes_is_left_in_the_new_segment(box: Box) -> None:
    for number in range(12):
        await box.deliver(b"Subject: subject%d\r\n\r\nbody%d and more" % (number, number))
    await Tender(box.opened, lambda: True).run(NOW)
    await expunge(box, 5)
    await thin(box)
    (segment,) = await box.opened.index.segments(pause)
    assert len(segment.numbers) == 11
    for kind in range(7):
        part = await box.opened.index.part(segment, kind)  # type: ignore[arg-type]
        assert part is not None
        assert not part.has(b"subject4")
        assert not part.has(b"body4")
    assert await box.find(HeaderText(b"subject", "subject5")) == [4]


async def test_words_that_were_too_many_stay_unknown(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WORDS_MAX", 20)
    for number in range(12):
        many = b" ".join(b"w%d-%d" % (number, one) for one in range(40 if number == 4 else 3))
        await box.deliver(b"Subject: x\r\n\r\n" + many)
    await Tender(box.opened, lambda: True).run(NOW)
    await expunge(box, 2)
    before = await segments(box)
    await thin(box)
    assert await segments(box) != before
    assert await box.find(Body("w4-39")) == [3]
    assert await box.find(Body("w5-2")) == [4]


async def pause() -> None:
    """Let nobody have a turn."""


async def test_nothing_is_done_while_erasing_is_far_away_or_of_few_that_would_stay(box: Box) -> None:
    await fill(box, 12)
    before = await segments(box)
    await expunge(box, 1)
    await thin(box, NOW + DAY)
    assert await segments(box) == before
    await expunge(box, 2, 3, 4, 5)
    await thin(box)
    assert await segments(box) == before


async def test_thinning_once_leaves_nothing_to_thin(box: Box) -> None:
    await fill(box, 24)
    await expunge(box, 3, 20)
    await thin(box)
    once = await segments(box)
    await thin(box)
    assert await segments(box) == once
    packed = [await box.opened.store.read(GetSegmentNumbers(box.opened.id, one)) for one in once]
    assert [len(one or b"") // 8 for one in packed] == [11, 11]


async def test_what_changes_meanwhile_leaves_the_segment_as_it_was(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    await fill(box, 12)
    before = await segments(box)
    await expunge(box, 3)
    original = box.opened.store.write

    async def write(operation: Any) -> Any:  # noqa: ANN401  any operation
        if isinstance(operation, AddSegment):
            monkeypatch.setattr(box.opened.store, "write", original)
            await expunge(box, 4)
        return await original(operation)

    monkeypatch.setattr(box.opened.store, "write", write)
    await thin(box)
    assert await segments(box) == before
    await thin(box)
    assert await segments(box) != before
    await agree(box, random.Random(5), 20)


async def test_a_segment_whose_parts_name_different_messages_is_left_alone(box: Box) -> None:
    await fill(box, 12)
    store, account = box.opened.store, box.opened.id
    (one,) = await box.opened.index.segments(pause)
    numbers = tuple(one.numbers)
    await store.write(DropSegments(account, await segments(box)))
    segment = new_id(77)
    parts = parts_of(box, segment, FieldClass(0), (0, *numbers[:-1])) + [
        part for kind in tuple(FieldClass)[1:] for part in parts_of(box, segment, kind, numbers)
    ]
    await store.write(AddSegment(account, segment, numbers, tuple(parts)))
    await expunge(box, 3)
    await thin(box)
    assert await segments(box) == (segment,)


def parts_of(box: Box, segment: bytes, kind: FieldClass, numbers: tuple[int, ...]) -> list[tuple[int, bytes]]:
    """Give the sealed parts of one field class, of as many messages, each with words of its own."""
    builder = SegmentBuilder()
    for number in numbers:
        text = b"\nword%d\n" % number
        builder.add(number, Words(VERSION, True, (text, text, text, text, text, text, text)))
    return builder.seal_parts(kind, box.opened.keys.sealing, box.opened.id, segment)
