# SPDX-License-Identifier: Apache-2.0
"""A mailbox in a real store, filled and searched as sessions do it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from moatmail.core.address import parse_mailbox
from moatmail.core.transaction import Identity
from moatmail.crypto.seal import new_id
from moatmail.mailbox import messages
from moatmail.mailbox.criteria import Criterion
from moatmail.mailbox.incoming import Incoming
from moatmail.mailbox.index.cache import AccountIndex, PartCache
from moatmail.mailbox.known import Budget, KnownMessages
from moatmail.mailbox.opened import Opened
from moatmail.mailbox.recents import Recents
from moatmail.mailbox.search import Slices, search
from moatmail.mailbox.search_columns import Settled, Snapshot, flag_octets
from moatmail.mailbox.search_reader import MailboxReader
from moatmail.mailbox.view import Views
from moatmail.store.operations import Accept, Append
from moatmail.store.queries import ListMailboxes
from tests.house.indoors import NOW, Indoors, indoors


class _Scanning(MailboxReader):
    """Reads as if there were no index."""

    async def settle(self, criterion: Criterion, uids: Sequence[int], places: Sequence[int], pause: object) -> dict[Criterion, Settled]:
        return {}


class Box:
    """Ann's inbox in a real store."""

    def __init__(self, house: Indoors, opened: Opened, mailbox: int) -> None:
        self.house = house
        self.opened = opened
        self.mailbox = mailbox
        self.day = 0
        """Days after NOW at which what is delivered, or appended, came."""

    async def _prepare(self, octets: bytes, trace: bytes = b"", *, words: bool = True) -> messages.Prepared:
        incoming = Incoming(new_id(int(NOW * 1000)), self.opened.files)
        incoming.feed(octets)
        incoming.finish()
        made = await incoming.words(trace) if words else None
        content, key = await incoming.seal(trace)
        return messages.Prepared(content, key, incoming.structure, len(trace), NOW + 86_400 * self.day, words=made)

    async def deliver(self, octets: bytes, *, words: bool = True) -> None:
        """Deliver a message as a stranger's comes: with a trace field and a prefix, sealed to the public half; without words as older mail has none."""
        prepared = await self._prepare(octets, b"Received: from stranger.example\r\n", words=words)
        copy = messages.Copy(self.opened.id, self.opened.keys.public, self.opened.identity.address)
        await self.opened.store.write(Accept((prepared.content,), (messages.deliver(prepared, copy, None),)))

    async def put(self, *contents: bytes) -> None:
        """Append messages, each an operation of its own."""
        for octets in contents:
            prepared = await self._prepare(octets)
            delivery = messages.append(prepared, self.opened.id, self.opened.keys, self.mailbox, 0, ())
            await self.opened.store.write(Append(new_id(int(NOW * 1000)), (prepared.content,), (delivery,)))

    async def find(self, criterion: Criterion, *, indexed: bool = True, mailbox: int = 0) -> list[int]:
        """Search, by the index where there is one, or by opening every message."""
        view = await self.opened.views.current(mailbox or self.mailbox)
        assert view is not None
        snapshot = Snapshot(view.uids, flag_octets(view.flags), view.modseqs, view.keywords)
        reader = (MailboxReader if indexed else _Scanning)(self.opened, mailbox or self.mailbox, self.house.ear)
        return await search(criterion, snapshot, reader, Slices(self.house.clock))


@contextlib.asynccontextmanager
async def box_of(folder: Path) -> AsyncIterator[Box]:
    """Run the house in `folder` and give Ann's inbox."""
    async with indoors(folder) as house:
        account, keys = await house.keys_of("ann@example.test")
        mailboxes = (await house.store.read(ListMailboxes(account))).mailboxes
        inbox = next(one.id for one in mailboxes if one.special_use == "inbox")
        identity = Identity(account, parse_mailbox(b"ann@example.test", utf8=False))
        index = AccountIndex(house.store, account, keys, PartCache(), house.ear)
        opened = Opened(
            account,
            identity,
            keys,
            house.store,
            house.ports.files,
            Views(house.store, account, house.clock),
            Recents(),
            index,
            KnownMessages(house.store, account, Budget()),
        )
        yield Box(house, opened, inbox)
