# SPDX-License-Identifier: Apache-2.0
"""SPF of a message: its two identities, HELO name and MAIL FROM, each with a result that explains itself.

Obeys RFC 7208 §2.3 and §2.4 (identities), §4.3 (initial processing), RFC 8601 §2.7.2 (result words), RFC 8616 §4 (U-labels).
Must never know how a record is evaluated or what a result is worth.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from moatmail.core.address import Address
from moatmail.core.ports.resolver import Lookup, Resolver
from moatmail.mailauth.dns_name import to_a_labels
from moatmail.mailauth.iprev import client_address
from moatmail.mailauth.result import Result
from moatmail.mailauth.spf.evaluation import Check, Outcome, Step
from moatmail.mailauth.spf.macro import Facts

POSTMASTER: Final = "postmaster"
"""The local-part where the identity has none (RFC 7208 §2.4, §4.3)."""


class SPFIdentity(StrEnum):
    """Which identity a result speaks of; each value is the property of Authentication-Results (RFC 8601 §2.7.2)."""

    HELO = "helo"
    MAIL_FROM = "mailfrom"


@dataclass(frozen=True, slots=True)
class SPFClient:
    """Who delivers: IP address, the HELO or EHLO name as it was given; our own name and the time (epoch seconds) for explanations."""

    ip: str
    helo_name: str
    receiver: str = "unknown"
    now: int = 0


@dataclass(frozen=True, slots=True)
class SPFResult:
    """What SPF found about one identity.

    `steps` are the terms that decided, outermost first (the last is the term inside includes); `problem` says why it is an error;
    `explanation` holds the publisher's own words for a fail, printable ASCII, not ours to vouch for; `lookups` is what was asked.
    """

    result: Result
    identity: SPFIdentity
    domain: str
    localpart: str = POSTMASTER
    steps: tuple[Step, ...] = ()
    problem: str = ""
    explanation: str = ""
    lookups: tuple[Lookup, ...] = ()

    @property
    def mechanism(self) -> str:
        """Give the term of the checked record that decided, as it stands there; "" if none did."""
        return self.steps[0].term if self.steps else ""


async def check_helo(resolver: Resolver, client: SPFClient) -> SPFResult:
    """Evaluate the HELO identity (RFC 7208 §2.3); ValueError if the client's IP is none."""
    return await _check(resolver, client, SPFIdentity.HELO, POSTMASTER, client.helo_name)


async def check_mail_from(resolver: Resolver, client: SPFClient, mail_from: Address | None) -> SPFResult:
    """Evaluate the MAIL FROM identity; None is the null reverse-path, postmaster at the HELO name (RFC 7208 §2.4); ValueError if the IP is none."""
    if mail_from is None or mail_from.is_bare:
        return await _check(resolver, client, SPFIdentity.MAIL_FROM, POSTMASTER, client.helo_name)
    return await _check(resolver, client, SPFIdentity.MAIL_FROM, mail_from.localpart or POSTMASTER, mail_from.domain)


async def _check(resolver: Resolver, client: SPFClient, identity: SPFIdentity, localpart: str, domain: str) -> SPFResult:
    name = to_a_labels(domain)
    if name is None or name.startswith("["):  # RFC 7208 §4.3: an address literal and what is no name have no record
        return SPFResult(Result.NONE, identity, domain, localpart)
    helo = client.helo_name if client.helo_name.isascii() else to_a_labels(client.helo_name) or ""
    facts = Facts(client_address(client.ip), localpart, name, helo, name, client.receiver, client.now)
    check = Check(resolver)
    outcome: Outcome = await check.check_host(facts)
    return SPFResult(outcome.result, identity, name, localpart, outcome.steps, outcome.problem, outcome.explanation, tuple(check.lookups))
