# SPDX-License-Identifier: Apache-2.0
"""Method iprev: the names of a client's address that lead back to it.

Obeys RFC 8601 §3 (iprev) and RFC 7208 §5.5 (validated domain names), RFC 1035 §3.5 and RFC 3596 §2.5 (reverse names).
Must never know what a name is worth.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from functools import lru_cache

from moatmail.core.limits.mailauth import CLIENTS_CACHED, IPREV_NAMES_MAX
from moatmail.core.ports.resolver import Answer, DNSError, Lookup, Resolver
from moatmail.mailauth.dns_name import is_question
from moatmail.mailauth.result import Result

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class IprevResult:
    """What iprev found: pass with the names that lead back, fail, permerror (no name at all) or temperror; and what was asked."""

    result: Result
    client: str
    names: tuple[str, ...] = ()
    lookups: tuple[Lookup, ...] = ()


async def check_iprev(resolver: Resolver, client: str) -> IprevResult:
    """Evaluate iprev for the client's address; ValueError if it is none (RFC 8601 §3)."""
    address = client_address(client)
    names, lookups = await validated_names(resolver, address)
    return IprevResult(_judge(names, lookups), str(address), names, lookups)


def _judge(names: tuple[str, ...], lookups: tuple[Lookup, ...]) -> Result:
    if names:
        return Result.PASS
    reverse = lookups[0].answer
    if reverse is not None and not reverse.records:
        # RFC 8601 §3: no PTR record means that the question itself cannot be put.
        return Result.PERMERROR
    # RFC 8601 §3: a name whose addresses could not be had might have been the right one.
    return Result.TEMPERROR if any(lookup.answer is None for lookup in lookups) else Result.FAIL


@lru_cache(CLIENTS_CACHED)
def client_address(text: str) -> IPAddress:
    """Give an address as what it stands for: IPv4 where IPv6 only carries it (RFC 7208 §5); ValueError."""
    address = ipaddress.ip_address(text.partition("%")[0])
    return address.ipv4_mapped or address if isinstance(address, ipaddress.IPv6Address) else address


async def validated_names(resolver: Resolver, client: IPAddress) -> tuple[tuple[str, ...], tuple[Lookup, ...]]:
    """Give the names, lower-case, whose addresses hold the client's, and what was asked, the reverse name first; a failing lookup makes no name."""
    reverse = client.reverse_pointer
    answer = await _ask(resolver, "PTR", reverse)
    lookups = [Lookup("PTR", reverse, answer)]
    names: list[str] = []
    kind = "A" if client.version == 4 else "AAAA"
    records = answer.records if answer is not None else ()
    for record in records[:IPREV_NAMES_MAX]:
        name = str(record).lower().removesuffix(".")
        if name in names or not is_question(name):
            continue
        found = await _ask(resolver, kind, name)
        lookups.append(Lookup(kind, name, found))
        if found is not None and _holds(found, client):
            names.append(name)
    return tuple(names), tuple(lookups)


def _holds(answer: Answer, client: IPAddress) -> bool:
    # A resolver gives addresses in the one form that they are written in, so most are found without being read.
    return str(client) in answer.records or any(ipaddress.ip_address(str(one)) == client for one in answer.records)


async def _ask(resolver: Resolver, kind: str, name: str) -> Answer | None:
    try:
        return await resolver.ask(kind, name)
    except DNSError:
        return None
