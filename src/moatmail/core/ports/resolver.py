# SPDX-License-Identifier: Apache-2.0
"""Port Resolver: DNS as plain answers (implemented in `net/resolver`; a table in tests and in trial mode).

Obeys RFC 1035 and RFC 2308 (a name without records is not a name that does not exist).
Must never know the DNS library.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from moatmail.core.errors import TemporaryError


class DNSError(TemporaryError):
    """No usable answer: SERVFAIL, timeout, garbage; the same question may work later."""

    status = "4.4.3"
    public = "DNS lookup failed, please try again later"


@dataclass(frozen=True, slots=True)
class Answer:
    """The records of one name and type: MX as ``(preference, host)``, TXT as joined octets, others as text; `exists` is False for NXDOMAIN."""

    records: tuple[object, ...] = ()
    exists: bool = True
    authentic: bool = False


class Resolver(Protocol):
    """Asks the DNS. Every method raises `DNSError` when no usable answer came."""

    async def mx(self, name: str) -> Answer:
        """Give MX records as ``(preference, host)``, the host without trailing dot; the null MX host is the empty text (RFC 7505)."""

    async def addresses(self, name: str) -> Answer:
        """Give the A and AAAA records of `name` as texts."""

    async def txt(self, name: str) -> Answer:
        """Give TXT records, each one octet string joined from its parts."""
