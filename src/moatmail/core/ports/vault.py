# SPDX-License-Identifier: Apache-2.0
"""Port Vault: what the store asks of the holder of the master key.

Obeys no RFC; the tree of keys is told in docs/security.md.
Must never know the master key or how a key is wrapped.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from moatmail.core.ports.sealer import Purpose


class OpenedAccount(Protocol):
    """An account's keys in clear, in memory only."""

    @property
    def public(self) -> bytes:
        """Public half (1,216 octets): whoever has it can seal to the account and open nothing."""
        ...

    @property
    def private(self) -> bytes:
        """Private half (96 octets)."""
        ...

    @property
    def mailbox_key(self) -> bytes:
        """Symmetric key of the account (32 octets)."""
        ...


@dataclass(frozen=True, slots=True)
class NewAccount:
    """A new account's keys: `public` and `wrapped` are stored, `keys` serve to seal its first mailbox names and are then dropped."""

    public: bytes
    wrapped: bytes = field(repr=False)
    keys: OpenedAccount = field(repr=False)


@dataclass(frozen=True, slots=True)
class NewQueueKeys:
    """The queue's new key pair: `public` goes to whoever fills the queue, `wrapped` is stored for role `back`."""

    public: bytes
    wrapped: bytes = field(repr=False)


class SealedName(NamedTuple):
    """A mailbox name at rest: `sealed`, and a `tag` of 16 octets, equal for equal names of one account."""

    sealed: bytes
    tag: bytes


class SealedEvidenceKey(NamedTuple):
    """A key of evidence as it is kept: its id, and its cover for the queue."""

    id: bytes
    cover: bytes


class Vault(Protocol):
    """Wrap, unwrap and derive keys under the master key; every unwrapping raises SealBrokenError for anything but exactly that object."""

    def wrap(self, purpose: Purpose, owner: int, object_id: bytes, plain: bytes) -> bytes:
        """Seal `plain` under the master key, bound to purpose, owner and object id."""
        ...

    def unwrap(self, purpose: Purpose, owner: int, object_id: bytes, sealed: bytes) -> bytes:
        """Give what was wrapped."""
        ...

    def database_key(self, name: str = "mail") -> bytes:
        """Give the raw SQLCipher key (32 octets) of the database of that name."""
        ...

    def hash_key(self, name: str) -> bytes:
        """Give the key (32 octets) for keyed hashes of that kind."""
        ...

    def thread_digests(self, account: int, links: Iterable[bytes]) -> list[bytes]:
        """Give for each of `links` (16 octets) 16 others that nobody can tell without the master key, and that no other account has."""
        ...

    def new_account(self, account: int) -> NewAccount:
        """Make an account's keys."""
        ...

    def open_account(self, account: int, wrapped: bytes) -> OpenedAccount:
        """Open an account's keys."""
        ...

    def seal_name(self, mailbox_key: bytes, account: int, mailbox_object_id: bytes, name: bytes) -> SealedName:
        """Seal a mailbox name under the account's mailbox key; `mailbox_object_id` are the 16 random octets of the mailbox row."""
        ...

    def open_name(self, mailbox_key: bytes, account: int, mailbox_object_id: bytes, sealed: bytes) -> bytes:
        """Give a mailbox name."""
        ...

    def seal_credential(self, account: int, credential_id: bytes, secret: bytes) -> bytes:
        """Seal what verifies a credential (hash, SCRAM verifier) under the master key."""
        ...

    def open_credential(self, account: int, credential_id: bytes, sealed: bytes) -> bytes:
        """Give what verifies a credential."""
        ...

    def new_queue_keys(self) -> NewQueueKeys:
        """Make the queue's key pair."""
        ...

    def open_evidence(self, wrapped_queue: bytes, cover: SealedEvidenceKey, object_id: bytes, sealed: bytes) -> bytes:
        """Give the evidence of a decision, through the queue's wrapped private half and the cover of the key it was sealed under."""
        ...

    def open_queue_keys(self, wrapped: bytes) -> bytes:
        """Give the queue's private half (96 octets)."""
        ...
