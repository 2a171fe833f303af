# SPDX-License-Identifier: Apache-2.0
"""Where reports about a policy may be sent: hosts of another organization must agree to it in the DNS.

Obeys RFC 9990 §4 (external destinations), RFC 9991 §2 and §5 (failure reports), RFC 9989 §4.10.2 (which organization).
Must never know a report.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from moatmail.core.limits.mailauth import DMARC_URIS_MAX
from moatmail.core.ports.resolver import Answer, DNSError, Lookup, Resolver
from moatmail.mailauth.dmarc.record import Record, ReportAddress, Suffix, is_record, parse_record
from moatmail.mailauth.dmarc.walk import PolicyRecords, Walk


@dataclass(frozen=True, slots=True)
class Destinations:
    """Addresses that may be used now, for aggregate and for failure reports; `deferred` are those whose host could not be asked; and what was asked."""

    aggregate: tuple[ReportAddress, ...]
    failure: tuple[ReportAddress, ...]
    deferred: tuple[ReportAddress, ...] = ()
    lookups: tuple[Lookup, ...] = ()


@dataclass(frozen=True, slots=True)
class _Consent:
    """What a host agrees to: `given` None where it could not be asked; addresses that it puts in place of ours."""

    given: bool | None
    rua: tuple[ReportAddress, ...] = ()
    ruf: tuple[ReportAddress, ...] = ()


async def report_addresses(resolver: Resolver, policy_domain: str, record: Record) -> Destinations:
    """Give where reports about the `record` of `policy_domain` may go, all hosts asked side by side; raises nothing (RFC 9990 §4)."""
    # RFC 9991 §2: what fails below a public suffix is none of its operator's business.
    failure = () if record.suffix is Suffix.YES else record.ruf
    asking = _Asking(resolver, policy_domain)
    hosts = list(dict.fromkeys(one.address.domain for one in (*record.rua, *failure)))
    await asking.find_organization(hosts)
    consents = dict(zip(hosts, await asyncio.gather(*(asking.ask(host) for host in hosts)), strict=True))
    return Destinations(
        _granted(record.rua, {host: one.rua for host, one in consents.items() if one.given}),
        _granted(failure, {host: one.ruf for host, one in consents.items() if one.given}),
        tuple(dict.fromkeys(one for one in (*record.rua, *failure) if consents[one.address.domain].given is None)),
        asking.lookups,
    )


def _granted(wanted: Sequence[ReportAddress], agreeing: Mapping[str, tuple[ReportAddress, ...]]) -> tuple[ReportAddress, ...]:
    """Give the addresses that may be used, each agreeing host's own ones in place of ours where it named some (RFC 9990 §4 step 9)."""
    found: dict[ReportAddress, None] = {}
    for one in wanted:
        host = one.address.domain
        instead = agreeing.get(host)
        # RFC 9990 §4: whoever points to a third host is not believed at all: it would flood a stranger.
        if instead is not None and all(other.address.domain == host for other in instead):
            found.update(dict.fromkeys(instead or (one,)))
    # Each may name as many as a record may, so they are bounded together.
    return tuple(found)[:DMARC_URIS_MAX]


class _Asking:
    """The questions about one policy domain."""

    def __init__(self, resolver: Resolver, policy_domain: str) -> None:
        self._resolver = resolver
        self._policy_domain = policy_domain
        self._organization = ""  # not known
        self._records = PolicyRecords(resolver)
        self._asked: list[Lookup] = []

    @property
    def lookups(self) -> tuple[Lookup, ...]:
        return (*self._records.lookups, *self._asked)

    async def find_organization(self, hosts: Iterable[str]) -> None:
        """Find the organization of the policy domain, if a host may belong to it."""
        top = self._policy_domain.rpartition(".")[2]
        if any(host != self._policy_domain and host.rpartition(".")[2] == top for host in hosts):
            self._organization = await self._organization_of(self._policy_domain)

    async def ask(self, host: str) -> _Consent:
        """Tell what a host agrees to; hosts of the same organization need not be asked."""
        if host == self._policy_domain or await self._is_ours(host):
            return _Consent(given=True)
        # RFC 9990 §4 step 3: the name is made of where the policy was found, not of the author's domain.
        name = f"{self._policy_domain}._report._dmarc.{host}"
        try:
            answer: Answer | None = await self._resolver.txt(name)
        except DNSError:
            answer = None
        self._asked.append(Lookup("TXT", name, answer))
        if answer is None:
            return _Consent(given=None)
        # RFC 9990 §4 step 8: at least one record agrees; unlike policies several may stand there.
        records = [parse_record(text) for text in answer.records if isinstance(text, bytes) and is_record(text)]
        return _Consent(
            given=bool(records),
            rua=tuple(dict.fromkeys(one for record in records for one in record.rua)),
            ruf=tuple(dict.fromkeys(one for record in records for one in record.ruf)),
        )

    async def _is_ours(self, host: str) -> bool:
        """Tell whether a host is of the policy domain's organization; if that cannot be told, it is asked."""
        organization = self._organization
        return bool(organization) and ("." + host).endswith("." + organization) and await self._organization_of(host) == organization

    async def _organization_of(self, name: str) -> str:
        walk = Walk(name, self._records)
        await walk.finish()
        return "" if walk.failed else walk.organization
