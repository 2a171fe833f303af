# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from moatmail.core.address import parse_mailbox
from moatmail.core.transaction import Identity
from moatmail.crypto.seal import new_id
from moatmail.mailbox import messages
from moatmail.mailbox.criteria import And, Body, Criterion, HeaderText, Larger, Not, Text
from moatmail.mailbox.incoming import Incoming
from moatmail.mailbox.index.cache import AccountIndex, PartCache
from moatmail.mailbox.opened import Opened
from moatmail.mailbox.recents import Recents
from moatmail.mailbox.search import Slices, search
from moatmail.mailbox.search_columns import Snapshot, flag_octets
from moatmail.mailbox.search_reader import MailboxReader
from moatmail.mailbox.view import Views
from moatmail.store.interface import R, Store
from moatmail.store.operations import Accept, Append, Expunge, Operation, StoreFlags
from moatmail.store.queries import GetContent, GetMessages, ListMailboxes, Query
from tests.house.indoors import NOW, Indoors, indoors


class Box:
    """Ann's inbox in a real store."""

    def __init__(self, house: Indoors, opened: Opened, mailbox: int) -> None:
        self.house = house
        self.opened = opened
        self.mailbox = mailbox

    async def _prepare(self, octets: bytes, trace: bytes = b"") -> messages.Prepared:
        incoming = Incoming(new_id(int(NOW * 1000)), self.opened.files)
        incoming.feed(octets)
        incoming.finish()
        content, key = await incoming.seal(trace)
        return messages.Prepared(content, key, incoming.structure, len(trace), NOW)

    async def deliver(self, octets: bytes) -> None:
        """Deliver a message as a stranger's comes: with a trace field and a prefix, sealed to the public half."""
        prepared = await self._prepare(octets, b"Received: from stranger.example\r\n")
        copy = messages.Copy(self.opened.id, self.opened.keys.public, self.opened.identity.address)
        await self.opened.store.write(Accept((prepared.content,), (messages.deliver(prepared, copy, None),)))

    async def put(self, *contents: bytes) -> None:
        """Append messages, each an operation of its own."""
        for octets in contents:
            prepared = await self._prepare(octets)
            delivery = messages.append(prepared, self.opened.id, self.opened.keys, self.mailbox, 0, ())
            await self.opened.store.write(Append(new_id(int(NOW * 1000)), (prepared.content,), (delivery,)))

    async def find(self, criterion: Criterion) -> list[int]:
        view = await self.opened.views.current(self.mailbox)
        assert view is not None
        snapshot = Snapshot(view.uids, flag_octets(view.flags), view.modseqs, view.keywords)
        reader = MailboxReader(self.opened, self.mailbox, self.house.ear)
        return await search(criterion, snapshot, reader, Slices(self.house.clock))


@pytest.fixture
async def box(tmp_path: Path) -> AsyncIterator[Box]:
    async with indoors(tmp_path) as house:
        account, keys = await house.keys_of("ann@example.test")
        mailboxes = (await house.store.read(ListMailboxes(account))).mailboxes
        inbox = next(one.id for one in mailboxes if one.special_use == "inbox")
        identity = Identity(account, parse_mailbox(b"ann@example.test", utf8=False))
        index = AccountIndex(house.store, account, keys, PartCache(), house.ear)
        opened = Opened(account, identity, keys, house.store, house.ports.files, Views(house.store, account, house.clock), Recents(), index)
        yield Box(house, opened, inbox)


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
