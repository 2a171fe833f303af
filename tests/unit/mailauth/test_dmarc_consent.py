# SPDX-License-Identifier: Apache-2.0
"""Where DMARC reports may go, beyond the published cases: who is asked, who is not, and what an answer may change."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from moatmail.core.limits.mailauth import DMARC_URIS_MAX
from moatmail.core.ports.resolver import Answer, DNSError
from moatmail.mailauth.dmarc.consent import Destinations, report_addresses
from moatmail.mailauth.dmarc.record import parse_record
from moatmail.net.questions import Questions
from moatmail.net.resolver_table import TableResolver

CONSENT = "a.test._report._dmarc."


class Asked(Questions):
    """Answers from TXT records by name (None: silence), and keeps what was asked and how much at once."""

    def __init__(self, texts: Mapping[str, list[str] | None]) -> None:
        self._table = TableResolver({name: {"TXT": records} for name, records in texts.items() if records is not None})
        self._silent = {name for name, records in texts.items() if records is None}
        self.names: list[str] = []
        self.at_once = 0
        self._under_way = 0

    async def ask(self, kind: str, name: str) -> Answer:
        self.names.append(name)
        self._under_way += 1
        self.at_once = max(self.at_once, self._under_way)
        await asyncio.sleep(0)
        self._under_way -= 1
        if name in self._silent:
            raise DNSError(name)
        return await self._table.ask(kind, name)


async def ask(resolver: Asked, rua: str, ruf: str = "", more: str = "", policy_domain: str = "a.test") -> Destinations:
    def uris(names: str) -> str:
        return ",".join(f"mailto:{name}" for name in names.split())

    record = parse_record(f"v=DMARC1; p=none{more}; rua={uris(rua)}; ruf={uris(ruf)}".encode())
    return await report_addresses(resolver, policy_domain, record)


def told(found: Destinations) -> tuple[list[str], list[str], list[str]]:
    return tuple([str(one.address) for one in part] for part in (found.aggregate, found.failure, found.deferred))  # type: ignore[return-value]


async def test_the_same_name_and_the_same_organization_are_not_asked() -> None:
    resolver = Asked({"_dmarc.a.test": ["v=DMARC1; p=none"]})
    assert told(await ask(resolver, "d@a.test d@reports.a.test")) == (["d@a.test", "d@reports.a.test"], [], [])
    assert not any("._report." in name for name in resolver.names)


async def test_strangers_are_asked_side_by_side_and_who_does_not_answer_is_tried_later() -> None:
    resolver = Asked({CONSENT + "yes.example": ["v=DMARC1"], CONSENT + "broken.example": ["v=spf1"], CONSENT + "silent.example": None})
    found = await ask(resolver, "d@yes.example d@no.example d@broken.example d@silent.example", "f@yes.example f@silent.example")
    assert told(found) == (["d@yes.example"], ["f@yes.example"], ["d@silent.example", "f@silent.example"])
    assert resolver.at_once == 4
    assert len(resolver.names) == 4
    assert [one.name for one in found.lookups] == resolver.names


async def test_a_host_below_the_same_top_level_is_a_stranger() -> None:
    resolver = Asked({"_dmarc.a.test": ["v=DMARC1; p=none"]})
    assert told(await ask(resolver, "d@b.test")) == ([], [], [])
    assert CONSENT + "b.test" in resolver.names


async def test_an_organization_that_cannot_be_told_is_asked() -> None:
    resolver = Asked({"_dmarc.a.test": ["v=DMARC1; p=none"], "_dmarc.reports.a.test": None, CONSENT + "reports.a.test": ["v=DMARC1"]})
    assert told(await ask(resolver, "d@reports.a.test")) == (["d@reports.a.test"], [], [])
    assert CONSENT + "reports.a.test" in resolver.names


@pytest.mark.parametrize(
    ("consent", "rua", "ruf"),
    [
        pytest.param(["v=DMARC1;"], ["d@h.example"], ["f@h.example"], id="plain consent"),
        pytest.param(["v=DMARC1; rua=mailto:other@h.example"], ["other@h.example"], ["f@h.example"], id="another address of the same host"),
        pytest.param(["v=DMARC1; rua=mailto:x@third.example"], [], ["f@h.example"], id="a third host: neither is used"),
        pytest.param(["v=DMARC1; rua=mailto:other@h.example,mailto:x@third.example"], [], ["f@h.example"], id="a third host among its own"),
        pytest.param(["v=DMARC1", "v=DMARC1"], ["d@h.example"], ["f@h.example"], id="several records agree as one does"),
        pytest.param(["v=DMARC1; ruf=mailto:ff@h.example"], ["d@h.example"], ["ff@h.example"], id="failure reports to another address"),
    ],
)
async def test_what_a_host_may_change(consent: list[str], rua: list[str], ruf: list[str]) -> None:
    assert told(await ask(Asked({CONSENT + "h.example": consent}), "d@h.example", "f@h.example")) == (rua, ruf, [])


async def test_addresses_that_hosts_put_in_are_bounded_together() -> None:
    instead = ["v=DMARC1; rua=" + ",".join(f"mailto:d{number}x{n}@h.example" for n in range(DMARC_URIS_MAX)) for number in range(20)]
    assert len((await ask(Asked({CONSENT + "h.example": instead}), "d@h.example")).aggregate) == DMARC_URIS_MAX


async def test_a_public_suffix_gets_no_failure_reports() -> None:
    assert told(await ask(Asked({}), "d@test", "f@test", "; psd=y", "test")) == (["d@test"], [], [])
