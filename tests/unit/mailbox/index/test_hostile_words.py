# SPDX-License-Identifier: Apache-2.0
"""What a stranger's mail must not do to the index: make it lie, stop it, outgrow a frame, or keep what was erased."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from moatmail.core.limits import mailbox as limits
from moatmail.crypto.seal import new_id
from moatmail.mailbox import messages
from moatmail.mailbox.criteria import Body, HeaderText, Text
from moatmail.mailbox.index.tend import Tender
from moatmail.store.index_items import AddWords, CountUnindexed, ListSegments
from moatmail.store.operations import EraseDue, Expunge, StoreFlags
from tests.house.indoors import NOW
from tests.unit.mailbox.box import Box, box_of

LONG_AGO = NOW - 26 * 86_400.0


@pytest.fixture
async def box(tmp_path: Path) -> AsyncIterator[Box]:
    async with box_of(tmp_path) as one:
        yield one


async def erase(box: Box, uid: int) -> None:
    """Erase a message at once."""
    store, account = box.opened.store, box.opened.id
    await store.write(StoreFlags(new_id(1), account, box.mailbox, (uid,), "add", 4))
    await store.write(Expunge(account, box.mailbox, None, LONG_AGO, new_id(2)))
    assert await store.write(EraseDue(NOW, 100)) == 1


async def test_a_header_that_unfolds_into_many_words_hides_nothing(box: Box) -> None:
    # A square kilometre is one letter and three when folded; too many words of a body are said to be missing, of a header nobody could say it.
    rnd = random.Random(1)
    fat = "".join(chr(rnd.randrange(0x3300, 0x3358)) for _ in range(80_000))
    for _ in range(20):
        await box.deliver(b"Subject: other\r\n\r\nx\r\n")
    await box.deliver(f"From: a@b.test\r\nSubject: hello\r\nX-Fat: needleword {fat}\r\n\r\nbody\r\n".encode())
    for asked in (Text("hello"), Text("needleword"), HeaderText(b"x-fat", "needleword"), HeaderText(b"from", "a@b")):
        assert await box.find(asked) == await box.find(asked, indexed=False) == [20], asked


async def test_the_number_of_an_erased_message_is_not_given_again(box: Box) -> None:
    for number in range(20):
        await box.put(b"Subject: other\r\n\r\nx%d\r\n" % number)
    await box.put(b"Subject: old\r\n\r\noldsecret\r\n")
    assert await box.find(Body("oldsecret")) == [20]  # its words are remembered by its number
    await erase(box, 21)
    await box.put(b"Subject: new\r\n\r\nfreshword\r\n")
    assert await box.find(Body("freshword")) == [20]
    assert await box.find(Body("oldsecret")) == []


@pytest.mark.parametrize("at_once", [pytest.param(False, id="words that wait to be merged"), pytest.param(True, id="words made while merging")])
async def test_few_messages_of_many_words_neither_stop_the_index_nor_outgrow_a_frame(box: Box, monkeypatch: pytest.MonkeyPatch, at_once: bool) -> None:
    monkeypatch.setattr(limits, "INDEX_BATCH_OCTETS", 4_000)
    monkeypatch.setattr(limits, "SEGMENT_OCTETS", 20_000)
    monkeypatch.setattr(limits, "INDEX_MERGE", 16 if at_once else 40)
    rnd = random.Random(1)
    for _ in range(12):
        await box.deliver(b"Subject: fat\r\n\r\n" + b" ".join(rnd.randbytes(6).hex().encode() for _ in range(400)), words=False)
    for _ in range(20):
        await box.deliver(b"Subject: other\r\n\r\nx\r\n", words=False)
    written: list[int] = []
    write = box.opened.store.write

    async def noted(operation: Any) -> Any:  # noqa: ANN401  any operation
        if isinstance(operation, AddWords):
            written.append(sum(len(sealed) for _number, sealed in operation.words))
        return await write(operation)

    monkeypatch.setattr(box.opened.store, "write", noted)
    await Tender(box.opened, lambda: True).run(NOW)
    if not at_once:
        assert len(written) > 3
        assert max(written) < 4_000 + 8_000, "one message more than the bound at most"
        monkeypatch.setattr(limits, "INDEX_MERGE", 16)
    await Tender(box.opened, lambda: True).run(NOW)
    assert (await box.opened.store.read(CountUnindexed(box.opened.id))).messages < 16
    assert len(await box.opened.store.read(ListSegments(box.opened.id))) >= 2


async def test_words_of_a_delivery_to_many_are_left_for_later(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = await box._prepare(b"Subject: to many\r\n\r\n" + b" ".join(b"word%d" % number for number in range(300)))
    copy = messages.Copy(box.opened.id, box.opened.keys.public, box.opened.identity.address)
    made = [messages.deliver(prepared, copy, None) for _ in range(5)]
    assert messages.with_few_words(made) == tuple(made)
    monkeypatch.setattr(messages, "WORDS_DELIVERED", 2_000)
    assert [one.message.words for one in messages.with_few_words(made)] == [b""] * 5


@pytest.mark.parametrize("searched", [pytest.param(True, id="somebody searches again"), pytest.param(False, id="nobody searches: the sweep finds it")])
async def test_no_open_part_outlives_the_message_that_was_erased(box: Box, monkeypatch: pytest.MonkeyPatch, searched: bool) -> None:
    monkeypatch.setattr(limits, "INDEX_MERGE", 8)
    for number in range(20):
        await box.put(b"Subject: other\r\n\r\nerasedword%d\r\n" % number)
    await Tender(box.opened, lambda: True).run(NOW)
    await box.find(Body("erasedword3"))
    parts = box.opened.index._parts
    assert len(parts) > 0
    await erase(box, 4)
    await (box.find(Body("zzz")) if searched else box.opened.index.sweep(box.opened.views.has))
    assert len(parts) == 0
