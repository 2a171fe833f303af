# SPDX-License-Identifier: Apache-2.0
"""What store tests begin with: a Vault of open letters, a clock that stands, messages and accounts.

Obeys no RFC.
Must never know how the store is reached.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from moatmail.core.errors import SealBrokenError
from moatmail.core.events import Event
from moatmail.core.ports.sealer import Purpose
from moatmail.core.ports.vault import NewAccount, NewQueueKeys, SealedEvidenceKey, SealedName
from moatmail.store import operations as o
from moatmail.store import queries as q
from moatmail.store.interface import Store

NOW = 1_800_000_000.0
DAY = 86400.0


@dataclass
class StandingClock:
    """Time moves only when a test says so."""

    time: float = NOW

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


@dataclass
class Ear:
    """Keeps the events."""

    events: list[Event] = field(default_factory=list)

    def emit(self, event: Event) -> None:
        self.events.append(event)


@dataclass(frozen=True)
class OpenKeys:
    public: bytes
    private: bytes
    mailbox_key: bytes


class GlassVault:
    """A Vault whose wrapping is a label, so that tests see what went where; it refuses objects of another owner or purpose as the real one does."""

    def wrap(self, purpose: Purpose, owner: int, object_id: bytes, plain: bytes) -> bytes:
        return b"|".join((b"glass", purpose.value, str(owner).encode(), object_id.hex().encode(), plain))

    def unwrap(self, purpose: Purpose, owner: int, object_id: bytes, sealed: bytes) -> bytes:
        head = self.wrap(purpose, owner, object_id, b"")
        assert sealed.startswith(head), (head, sealed)
        return sealed[len(head) :]

    def database_key(self, name: str = "mail") -> bytes:
        return hashlib.sha256(b"database" + name.encode()).digest()

    def hash_key(self, name: str) -> bytes:
        return hashlib.sha256(b"hash" + name.encode()).digest()

    def thread_digests(self, account: int, links: Iterable[bytes]) -> list[bytes]:
        return [hashlib.sha256(b"thread%d" % account + link).digest()[:16] for link in links]

    def new_account(self, account: int) -> NewAccount:
        keys = OpenKeys(os.urandom(1216), os.urandom(96), os.urandom(32))
        return NewAccount(keys.public, self.wrap(Purpose.ACCOUNT_KEY, account, b"", keys.private + keys.mailbox_key), keys)

    def open_account(self, account: int, wrapped: bytes) -> OpenKeys:
        plain = self.unwrap(Purpose.ACCOUNT_KEY, account, b"", wrapped)
        return OpenKeys(b"", plain[:96], plain[96:])

    def seal_name(self, mailbox_key: bytes, account: int, mailbox_object_id: bytes, name: bytes) -> SealedName:
        return SealedName(self.wrap(Purpose.MAILBOX_NAME, account, mailbox_object_id, name), self.tag(account, name))

    def open_name(self, mailbox_key: bytes, account: int, mailbox_object_id: bytes, sealed: bytes) -> bytes:
        return self.unwrap(Purpose.MAILBOX_NAME, account, mailbox_object_id, sealed)

    @staticmethod
    def tag(account: int, name: bytes) -> bytes:
        return hashlib.sha256(str(account).encode() + name).digest()[:16]

    def seal_credential(self, account: int, credential_id: bytes, secret: bytes) -> bytes:
        return self.wrap(Purpose.CREDENTIAL, account, credential_id, secret)

    def open_credential(self, account: int, credential_id: bytes, sealed: bytes) -> bytes:
        return self.unwrap(Purpose.CREDENTIAL, account, credential_id, sealed)

    def new_queue_keys(self) -> NewQueueKeys:
        return NewQueueKeys(b"queue-public", self.wrap(Purpose.QUEUE_KEY, 0, b"", b"queue-private"))

    def open_evidence(self, wrapped_queue: bytes, cover: SealedEvidenceKey, object_id: bytes, sealed: bytes) -> bytes:
        private = self.open_queue_keys(wrapped_queue)
        if cover.cover != private + cover.id:
            raise SealBrokenError("another key")
        return self.unwrap(Purpose.EVIDENCE, 0, object_id, sealed)

    def open_queue_keys(self, wrapped: bytes) -> bytes:
        return self.unwrap(Purpose.QUEUE_KEY, 0, b"", wrapped)


_NUMBERS = itertools.count(1)
_OCTETS = random.Random(20261125)


def new_id() -> bytes:
    """Give an id as sealers make them: six octets of time, ten of chance."""
    return int(NOW * 1000 + next(_NUMBERS)).to_bytes(6, "big") + os.urandom(10)


def content(size: int = 2_000, blob: bytes | None = None) -> o.NewContent:
    """Make a content of `size` octets."""
    return o.NewContent(new_id(), size, _OCTETS.randbytes(size) if blob is None else blob)


def message(account: int, of: o.NewContent, *, size: int | None = None, cover: bytes = b"\x01cover", received_at: float = NOW) -> o.NewMessage:
    """Make an account's copy of a content."""
    return o.NewMessage(new_id(), account, of.id, cover, b"prefix", b"summary", of.size if size is None else size, received_at)


def arrival(account: int, *, size: int = 2_000, **placing: Any) -> o.Accept:  # noqa: ANN401  as Delivery takes them
    """Make an Accept with one new content for one account."""
    one = content(size)
    return o.Accept((one,), (o.Delivery(message(account, one), **placing),))


def change(*items: o.ChangeItem) -> o.Change:
    """Make an administrator's change."""
    return o.Change("admin@example.test", "cli", NOW, items)


@dataclass(frozen=True)
class House:
    """A domain with an account in it."""

    account: int
    boxes: dict[str, int]

    @property
    def inbox(self) -> int:
        return self.boxes["inbox"]


async def house(store: Store, name: str = "alice", quota: int = 0) -> House:
    """Make the account `name`@example.test, with the domain where it is missing."""
    answer = await store.read(q.LookupAddresses("example.test", (name,)))
    if not answer.ours:
        await store.write(change(o.AddDomain("example.test")))
    await store.write(change(o.AddAccount(name, "example.test", (o.Credential("argon2id", "password", b"verifier"),), quota)))
    hit = (await store.read(q.LookupAddresses("example.test", (name,)))).hits[0]
    assert hit.account is not None
    boxes = (await store.read(q.ListMailboxes(hit.account.id))).mailboxes
    return House(hit.account.id, {box.special_use: box.id for box in boxes if box.special_use})


async def box(store: Store, where: House, use: str = "inbox") -> q.MailboxRow:
    """Give a mailbox's row."""
    row = await store.read(q.GetMailbox(where.account, where.boxes[use]))
    assert row is not None
    return row
