# SPDX-License-Identifier: Apache-2.0
"""Bounds of the index under hostile mail beside `test_hostile_words`: memory of the tail, frames of a rebuilding, a number given again amid merging."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from moatmail.core.limits import mailbox as limits
from moatmail.crypto.seal import new_id
from moatmail.mailbox.criteria import Body
from moatmail.mailbox.index.cache import KnownTail, PartCache
from moatmail.mailbox.index.rebuild import rebuild
from moatmail.mailbox.index.tend import Tender
from moatmail.store.index_items import AddSegment, AddWords, CountUnindexed, ListSegments
from moatmail.store.operations import EraseDue, Expunge, Operation, StoreFlags
from tests.house.indoors import NOW
from tests.unit.mailbox.box import Box, box_of

LONG_AGO = NOW - 26 * 86_400


@pytest.fixture
async def box(tmp_path: Path) -> AsyncIterator[Box]:
    async with box_of(tmp_path) as one:
        yield one


def letter(words: str, subject: str = "some") -> bytes:
    return f"Subject: {subject}\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{words}\r\n".encode()


def many_words(seed: int, count: int = 400) -> str:
    rnd = random.Random(seed)
    return " ".join("".join(rnd.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=9)) for _ in range(count))


async def tend(box: Box) -> None:
    await Tender(box.opened, lambda: True).run(NOW)


async def erase(box: Box, uid: int) -> None:
    """Erase a message whose time is over."""
    account = box.opened.id
    await box.opened.store.write(StoreFlags(new_id(1), account, box.mailbox, (uid,), "add", 4))
    await box.opened.store.write(Expunge(account, box.mailbox, (uid,), LONG_AGO, new_id(2)))
    assert await box.opened.store.write(EraseDue(NOW)) == 1


class Written:
    """Listens to what is written, and may do something before an operation of a kind."""

    def __init__(self, box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
        self.operations: list[Operation[Any]] = []
        original = box.opened.store.write

        async def write(operation: Operation[Any]) -> object:
            self.operations.append(operation)
            return await original(operation)

        monkeypatch.setattr(box.opened.store, "write", write)


@pytest.mark.parametrize("way", ["indexing", "rebuilding"])
async def test_words_are_written_in_frames_that_the_store_takes(box: Box, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    monkeypatch.setattr(limits, "INDEX_BATCH_OCTETS", 8_000)
    for number in range(12):
        await box.deliver(letter(many_words(number)), words=False)
    written = Written(box, monkeypatch)
    if way == "indexing":
        await tend(box)
    else:
        await rebuild(box.opened, lambda: True, NOW)
    sizes = [[len(sealed) for _number, sealed in one.words] for one in written.operations if isinstance(one, AddWords)]
    assert sum(map(len, sizes)) == 12
    assert max(sum(of_one[:-1]) for of_one in sizes) < 8_000
    assert (await box.opened.store.read(CountUnindexed(box.opened.id))).without_words == 0


def test_a_tail_that_grows_is_counted_as_it_is() -> None:
    cache = PartCache()
    tail = KnownTail()
    for _ in range(3):
        tail.octets += 1_000
        cache.keep_tail(1, tail)
        assert cache._tail_octets == tail.octets
    tail.octets += 500  # a search that is still reading
    cache.drop(1)
    assert cache._tail_octets == 0


async def test_a_search_reads_no_more_of_the_tail_than_it_may_and_answers_all_the_same(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "INDEX_TAIL_READ", 40_000)
    monkeypatch.setattr("moatmail.core.limits.store.INDEX_OCTETS", 8_000)
    for number in range(20):
        await box.deliver(letter(f"{many_words(number)} mine{number}"))
    assert [await box.find(Body(f"mine{number}")) for number in (3, 19)] == [[3], [19]]
    tail = box.opened.index._parts.tail(box.opened.id)
    assert tail is not None
    assert 0 < len(tail.rows) < 20


async def test_a_segment_is_not_taken_whose_message_was_erased_meanwhile_though_another_came(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "INDEX_MERGE", 8)
    for number in range(limits.INDEX_WORTH):
        await box.put(letter(f"x{number}"))
    await box.put(letter("bygone"))
    last = limits.INDEX_WORTH
    original = box.opened.store.write

    async def write(operation: Operation[Any]) -> object:
        if isinstance(operation, AddSegment):
            monkeypatch.setattr(box.opened.store, "write", original)
            await erase(box, last + 1)
            await box.put(letter("fresh"))
        return await original(operation)

    monkeypatch.setattr(box.opened.store, "write", write)
    await tend(box)
    assert await box.opened.store.read(ListSegments(box.opened.id)) == ()
    await tend(box)
    assert await box.find(Body("fresh")) == [last]
    assert await box.find(Body("bygone")) == []
