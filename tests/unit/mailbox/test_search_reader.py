# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from moatmail.crypto.seal import new_id
from moatmail.mailbox.criteria import And, Body, Criterion, HeaderText, Larger, Not, Text
from moatmail.mailbox.known import Budget, KnownMessages
from moatmail.mailbox.search import Slices, search
from moatmail.mailbox.search_columns import Snapshot, flag_octets
from moatmail.mailbox.search_reader import MailboxReader
from moatmail.store.interface import R, Store
from moatmail.store.operations import Expunge, Operation, StoreFlags
from moatmail.store.queries import GetContent, GetMessages, Query
from tests.house.indoors import NOW
from tests.unit.mailbox.box import Box, box_of


@pytest.fixture
async def box(tmp_path: Path) -> AsyncIterator[Box]:
    async with box_of(tmp_path) as one:
        yield one


class Flipping:
    """A store in which one bit of a field of the answers to one kind of query is another."""

    def __init__(self, store: Store, kind: type[object], field: str) -> None:
        self._store = store
        self._kind = kind
        self._field = field

    async def write(self, operation: Operation[R]) -> R:
        return await self._store.write(operation)

    async def read(self, query: Query[R]) -> R:
        answer = await self._store.read(query)
        if not isinstance(query, self._kind):
            return answer
        if isinstance(answer, tuple):
            return tuple(self._flip(row) for row in answer)  # type: ignore[return-value]
        return self._flip(answer)

    def _flip(self, row: R) -> R:
        octets = getattr(row, self._field)
        return msgspec.structs.replace(row, **{self._field: bytes((*octets[:-1], octets[-1] ^ 1))})  # type: ignore[type-var]


PLAIN = b"From: eve@example.net\r\nSubject: first\r\n\r\nA word in the body.\r\n"
LARGE = b"Subject: large\r\n\r\n" + b"filler 7\r\n" + os.urandom(400_000).hex().encode() + b"\r\nthe last word\r\n"


async def test_sealed_mail_is_found_by_all_of_its_layers(box: Box) -> None:
    await box.put(PLAIN, PLAIN.replace(b"first", b"second"))
    await box.deliver(PLAIN.replace(b"first", b"third"))
    assert await box.find(HeaderText(b"subject", "SECOND")) == [1]
    assert await box.find(HeaderText(b"from", "eve")) == [0, 1, 2]
    assert await box.find(Larger(len(PLAIN) + 20)) == [2]
    assert await box.find(And((Body("word IN"), Not(HeaderText(b"subject", "first"))))) == [1, 2]


async def test_prefix_and_trace_are_part_of_what_is_searched(box: Box) -> None:
    await box.put(PLAIN)
    await box.deliver(PLAIN)
    for criterion in (HeaderText(b"delivered-to", "ann@"), HeaderText(b"received", "stranger.example"), Text("return-path: <>")):
        assert await box.find(criterion) == [1]
    # The offsets of the parts count from the prefix: the body is found to its last octet, and no octet of the header with it.
    assert await box.find(Body("body.\r\n")) == [0, 1]
    assert await box.find(Body("subject")) == []


async def test_a_content_in_a_file_is_searched_to_its_end(box: Box) -> None:
    await box.put(PLAIN, LARGE)
    assert await box.find(Body("the last word")) == [1]
    assert await box.find(Text("filler 7")) == [1]


@pytest.mark.parametrize(
    ("kind", "field", "criterion", "others"),
    [
        pytest.param(GetMessages, "cover", HeaderText(b"subject", "first"), Larger(1), id="a cover"),
        pytest.param(GetMessages, "summary", HeaderText(b"subject", "first"), Larger(1), id="a summary"),
        pytest.param(GetMessages, "prefix", Not(Text("nowhere")), HeaderText(b"subject", "first"), id="a prefix"),
        pytest.param(GetContent, "blob", Not(Text("nowhere")), HeaderText(b"subject", "first"), id="a content"),
    ],
)
async def test_one_flipped_bit_makes_no_match_and_an_alert(box: Box, kind: type[object], field: str, criterion: Criterion, others: Criterion) -> None:
    await box.deliver(PLAIN)
    assert await box.find(criterion) == [0]
    box.opened.store = Flipping(box.house.store, kind, field)
    box.opened.known = KnownMessages(box.opened.store, box.opened.id, Budget())  # nobody looked at it yet
    assert await box.find(criterion) == []
    (alert,) = box.house.ear.named("seal.broken")
    assert alert.alert
    assert alert.facts["uid"] == "1"
    assert "first" not in alert.text
    assert await box.find(others) == [0]  # what need not open it still finds it


async def test_a_message_expunged_meanwhile_matches_nothing_that_must_read_it(box: Box) -> None:
    await box.put(PLAIN, PLAIN)
    view = await box.opened.views.current(box.mailbox)
    assert view is not None
    await box.opened.store.write(StoreFlags(new_id(1), box.opened.id, box.mailbox, (1,), "add", 4))
    await box.opened.store.write(Expunge(box.opened.id, box.mailbox, (1,), NOW, new_id(2)))
    snapshot = Snapshot(view.uids, flag_octets(view.flags), view.modseqs, {})
    for criterion in (HeaderText(b"subject", "first"), Body("word"), Larger(1)):
        assert await search(criterion, snapshot, MailboxReader(box.opened, box.mailbox, box.house.ear), Slices(box.house.clock)) == [1]
    assert box.house.ear.named("seal.broken") == []
