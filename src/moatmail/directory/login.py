# SPDX-License-Identifier: Apache-2.0
"""The only place where a password is judged.

Obeys RFC 4954 §6 and RFC 9051 §6.2.2 (one answer for every wrong credential), RFC 4616 §2 (authorization identity), RFC 5802 §5 (SCRAM verifier).
Must never know a protocol or the network; it never logs what was typed.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from moatmail.core.address import Address, AddressError, parse_mailbox
from moatmail.core.errors import NotPermittedError, PermanentError
from moatmail.core.limits.directory import HASHING_MAX
from moatmail.core.ports.clock import Clock
from moatmail.core.transaction import Identity
from moatmail.crypto import password
from moatmail.directory.remembered import Remembered
from moatmail.store.interface import Store
from moatmail.store.queries import FetchLogin, LoginFacts

ARGON2ID: Final = "argon2id"
SCRAM_SHA_256: Final = "scram-sha-256"


class WrongCredentialsError(PermanentError):
    """The credentials are wrong; which part of them is never said (535 5.7.8, `NO [AUTHENTICATIONFAILED]`)."""

    status = "5.7.8"
    public = "authentication failed: the address or the password is wrong"


class FrozenAccountError(NotPermittedError):
    """The credentials are right and the account is frozen (RFC 4954 §6: 525 5.7.13)."""

    status = "5.7.13"
    public = "this account is disabled; ask the administrator"


@dataclass(frozen=True, slots=True)
class Verifier:
    """What SCRAM needs of an account (RFC 5802 §5.1): its facts, and the stored verifier octets or None (then the exchange must fail)."""

    facts: LoginFacts | None
    value: bytes | None


class Login:
    """Judges logins of one process; hashes at most two passwords at once, and none that was right within the last ten minutes."""

    def __init__(self, store: Store, clock: Clock, remembered: Remembered | None = None) -> None:
        """Share `remembered` with other processes; without it this one remembers for itself."""
        self._store = store
        self._clock = clock
        self._remembered = remembered or Remembered()
        self._hashing = asyncio.Semaphore(HASHING_MAX)

    async def with_password(self, username: str, secret: str, authzid: str = "") -> Identity:
        """Judge a clear password (PLAIN, LOGIN); raises WrongCredentialsError, FrozenAccountError, StoreUnavailableError."""
        facts = await self._facts(username)
        if not await self._matches(facts, secret) or facts is None:
            raise WrongCredentialsError
        return self._admit(facts, authzid)

    async def verifier(self, username: str) -> Verifier:
        """Give what a SCRAM exchange needs; unknown names and accounts without verifier look alike to the client (RFC 5802 §5.1)."""
        facts = await self._facts(username)
        return Verifier(facts, _credential(facts, SCRAM_SHA_256))

    @staticmethod
    def wrong() -> WrongCredentialsError:
        """Give the error of a failed proof, for the door to tell."""
        return WrongCredentialsError()

    def after_scram(self, verifier: Verifier, authzid: str = "") -> Identity:
        """Admit who proved to know the password; raises WrongCredentialsError, FrozenAccountError."""
        if verifier.facts is None or verifier.value is None:
            raise WrongCredentialsError
        return self._admit(verifier.facts, authzid)

    async def _facts(self, username: str) -> LoginFacts | None:
        try:
            address = parse_mailbox(username.encode(), utf8=True).canonical
        except AddressError:
            return None
        return await self._store.read(FetchLogin(address.localpart, address.domain))

    async def _matches(self, facts: LoginFacts | None, secret: str) -> bool:
        """Compare in a thread; an unknown account costs the same time as a known one, and only what was right is remembered."""
        stored = _credential(facts, ARGON2ID)
        mark = facts.account.id if facts is not None else 0, stored or b"", secret
        if self._remembered.knows(*mark, self._clock.monotonic()) and stored is not None:
            return True
        async with self._hashing:
            matched = await asyncio.to_thread(password.verify_password, stored, secret)
        if matched:
            self._remembered.note(*mark, self._clock.monotonic())
        return matched

    def _admit(self, facts: LoginFacts, authzid: str) -> Identity:
        account = facts.account
        address = Address(account.localpart, account.domain)
        # RFC 4616 §2: acting as somebody else needs a right of its own, which nobody has yet; naming oneself is fine.
        if authzid and not _names(authzid, address):
            raise WrongCredentialsError
        if account.status != "active":
            raise FrozenAccountError
        return Identity(account.id, address, frozenset(_addresses(facts.granted)))


def _credential(facts: LoginFacts | None, kind: str) -> bytes | None:
    return next((value for known, value in facts.credentials if known == kind), None) if facts is not None else None


def _names(authzid: str, address: Address) -> bool:
    try:
        return parse_mailbox(authzid.encode(), utf8=True).canonical == address.canonical
    except AddressError:
        return False


def _addresses(texts: tuple[str, ...]) -> list[Address]:
    return [parse_mailbox(text.encode(), utf8=True) for text in texts]
