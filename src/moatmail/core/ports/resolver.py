# SPDX-License-Identifier: Apache-2.0
"""Port Resolver: DNS as plain answers (implemented in `net`: over the DNS, over a table, with a cache, and as the view of one message's checks).

Obeys RFC 1035 and RFC 2308 (a name without records is not a name that does not exist).
Must never know the DNS library.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from moatmail.core.errors import TemporaryError


class DNSError(TemporaryError):
    """No usable answer: SERVFAIL, timeout, garbage; the same question may work later."""

    status = "4.4.3"
    public = "DNS lookup failed, please try again later"


class LookupsSpentError(DNSError):
    """The checks of one message asked too much or took too long: nothing is asked for them any more."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The records of one name and type: MX as ``(preference, host)``, TXT as joined octets, others as text; `exists` is False for NXDOMAIN.

    `authentic` says that a resolver worth believing checked DNSSEC; `ttl` is how many seconds the answer may be kept (0: not at all).
    """

    records: tuple[object, ...] = ()
    exists: bool = True
    authentic: bool = False
    ttl: float = field(default=0.0, compare=False)


@dataclass(frozen=True, slots=True)
class Lookup:
    """A question of the past with its answer, kept so that a result can be explained; `answer` is None where no usable one came."""

    kind: str
    name: str
    answer: Answer | None

    @property
    def outcome(self) -> str:
        """Say in a few words what came: the records, "no data", "no such name" or "no answer"."""
        if self.answer is None:
            return "no answer"
        if not self.answer.exists:
            return "no such name"
        return "; ".join([_text(record) for record in self.answer.records]) or "no data"


def _text(record: object) -> str:
    if isinstance(record, bytes):
        return record.decode("ascii", "backslashreplace")
    return " ".join(map(str, record)) if isinstance(record, tuple) else str(record)


class Resolver(Protocol):
    """Asks the DNS. Every method raises `DNSError` when no usable answer came; what cannot be a name does not exist."""

    async def ask(self, kind: str, name: str) -> Answer:
        """Give the records of one kind (A, AAAA, MX, TXT or PTR), as the method of that kind does."""

    async def mx(self, name: str) -> Answer:
        """Give MX records as ``(preference, host)``, the host without trailing dot; the null MX host is the empty text (RFC 7505)."""

    async def addresses(self, name: str) -> Answer:
        """Give the A and AAAA records of `name` as texts; one kind is enough if the other cannot be had."""

    async def a(self, name: str) -> Answer:
        """Give the A records of `name` as texts."""

    async def aaaa(self, name: str) -> Answer:
        """Give the AAAA records of `name` as texts."""

    async def txt(self, name: str) -> Answer:
        """Give TXT records, each one octet string joined from its parts."""

    async def ptr(self, name: str) -> Answer:
        """Give the host names that a name below in-addr.arpa or ip6.arpa points to, lower-case, without trailing dot."""


class MessageLookups(Resolver, Protocol):
    """The view that the checks of one message ask through: bounded in questions and time (raises `LookupsSpentError`), and remembered."""

    @property
    def lookups(self) -> tuple[Lookup, ...]:
        """Give what was asked so far and what came, each question once, in order."""

    def still(self, lookups: Sequence[Lookup]) -> bool:
        """Tell whether each of these questions has, without waiting, the very answer that it had; those looked at count as asked."""


class Lookups(Resolver, Protocol):
    """A resolver that gives each message a view of its own."""

    def for_message(self) -> MessageLookups:
        """Give a fresh view; its time begins now."""
