# SPDX-License-Identifier: Apache-2.0
"""The cases of DMARC after RFC 9989: records, tree walk, alignment, existence, test mode, From, failing queries, report destinations."""

from __future__ import annotations

import json
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import pytest
import yaml

from moatmail.core.ports.resolver import Answer, DNSError, Resolver
from moatmail.mailauth.dmarc.author import author_of, find_author
from moatmail.mailauth.dmarc.check import DKIMIdentity, DMARCResult, SPFIdentity, check_dmarc
from moatmail.mailauth.dmarc.consent import Destinations, report_addresses
from moatmail.mailauth.dmarc.walk import questions
from moatmail.mailauth.result import Result
from moatmail.message.header import Header
from moatmail.net.questions import Questions
from moatmail.net.resolver_cache import CachingResolver
from moatmail.net.resolver_table import TableResolver
from tests.store_contract.given import StandingClock
from tests.unit.message import reading
from tests.unit.message.reading import DATA

FOLDER = DATA / "dmarc-rfc9989"
CASES: list[dict[str, Any]] = yaml.safe_load((FOLDER / "cases.yaml").read_text())["cases"] if FOLDER.is_dir() else []
REPORTED = reading.CASES / "auth"
TTL: Final = 300.0
OTHERWISE: Final = {
    "syn-45": "p twice: RFC 9989 says nothing of it. The first counts, so that an addition at the end (a provider's template) weakens nothing.",
    "walk-23": "A top level with a record but without psd=y: RFC 9989 §11.8 names the danger that strangers align; no single label is an organization.",
    "from-41": "A dot at the end of the domain fits no rule of RFC 5322 §3.4.1, so readers differ: malformed, which port 25 refuses, instead of an author.",
}
"""Cases where we give another of the answers that the suite allows, and why."""
_REPEAT: Final = re.compile(r"\{repeat:(.*?):(\d+)\}", re.DOTALL)
_MISSING: Final = Answer((), exists=False, ttl=TTL)
needs_suite = pytest.mark.skipif(not CASES, reason="the suite dmarc-rfc9989 is not here")
needs_cases = pytest.mark.skipif(not REPORTED.is_dir(), reason="the case bank is not here")


class CaseResolver(Questions):
    """Answers from a case's zone, and keeps what was asked."""

    def __init__(self, zone: dict[str, Any]) -> None:
        self.zone: dict[str, dict[str, Any] | str] = {name.lower(): types for name, types in zone.items()}
        self.asked: list[tuple[str, str]] = []

    async def ask(self, kind: str, name: str) -> Answer:
        name = name.lower()
        if (kind, name) not in self.asked:
            self.asked.append((kind, name))
        types = self._types(name)
        if types == "temperror":
            raise DNSError(name)
        if types == "nodata":
            return Answer((), ttl=TTL)
        if not isinstance(types, dict):
            return _MISSING
        if "CNAME" in types and kind != "CNAME":
            target = types["CNAME"]
            return await self.ask(kind, (target[0] if isinstance(target, list) else target).removesuffix("."))
        return Answer(tuple(_record(kind, one) for one in types.get(kind, ())), ttl=TTL)

    def _types(self, name: str) -> dict[str, Any] | str | None:
        if name in self.zone:
            return self.zone[name]
        if any(known.endswith("." + name) for known in self.zone):
            return "nodata"
        labels = name.split(".")
        for cut in range(1, len(labels)):
            above = ".".join(labels[cut:])
            if "*." + above in self.zone:
                return self.zone["*." + above]
            if above in self.zone or any(known.endswith("." + above) for known in self.zone):
                return None  # RFC 4592 §3.3.1: the closest name that exists ends the search
        return None

    @property
    def texts(self) -> list[str]:
        return [name for kind, name in self.asked if kind == "TXT"]


def _record(kind: str, record: str | list[Any]) -> object:
    if kind == "TXT":
        return ("".join(record) if isinstance(record, list) else record).encode()
    return tuple(record) if isinstance(record, list) else record


def _repeated(found: re.Match[str]) -> str:
    return ", ".join(found[1].replace("%d", str(number)) for number in range(int(found[2])))


async def evaluate(case: dict[str, Any], resolver: Resolver) -> DMARCResult:
    author = author_of([_REPEAT.sub(_repeated, value).encode() for value in case["header_from"]])
    found = case["spf"]
    spf = [SPFIdentity(found["domain"], Result(found["result"]))] if found.get("domain") and found.get("identity") != "helo" else []
    dkim = [DKIMIdentity(one["d"], Result(one["result"])) for one in case["dkim"]]
    return await check_dmarc(resolver, author, spf, dkim)


def _told(result: DMARCResult) -> dict[str, Any]:
    return {
        "result": result.result.value,
        "author_domain": result.author_domain,
        "policy_domain": result.policy_domain,
        "org_domain": result.org_domain,
        "tag": result.tag,
        "policy": result.policy.value,
        "testing": result.testing,
        "disposition": result.disposition.value,
        "from_problem": result.problem.value if result.problem else None,
    }


def _fits(result: DMARCResult, asked: list[str], expect: dict[str, Any]) -> list[str]:
    told = _told(result)
    wrong = [f"{key}: {told[key]} instead of {expect[key]}" for key in told if key in expect and told[key] != expect[key]]
    # An organization is told only where the verdict needed the whole walk.
    wrong = [text for text in wrong if not text.startswith("org_domain: None")]
    aligned = expect.get("aligned")
    if aligned is not None:
        wrong += [] if result.aligned_spf == aligned["spf"] else [f"spf aligned: {result.aligned_spf}"]
        wrong += [] if list(result.aligned_dkim) == aligned["dkim"] else [f"dkim aligned: {result.aligned_dkim}"]
    if "queries" in expect:
        # The author's walk alone: names asked for other identifiers, which may meet it further up, stand in no case that tells its questions.
        walk = [name for name in asked if name.removeprefix("_dmarc.") in questions(str(result.author_domain))]
        wrong += [] if walk == expect["queries"] else [f"asked {asked}"]
    return wrong


@needs_suite
@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
async def test_verdict(case: dict[str, Any]) -> None:
    resolver = CaseResolver(case["zone"])
    result = await evaluate(case, resolver)
    expect = case["expect"]
    assert result.result.value not in expect.get("never", [])
    wrongs = [_fits(result, resolver.texts, one) for one in (expect, *expect.get("also_ok", []))]
    assert [] in wrongs, wrongs
    assert (wrongs[0] != []) is (case["id"] in OTHERWISE), wrongs[0]
    assert len(resolver.asked) <= expect.get("max_queries", 40)
    if "reports" in expect:
        await _check_reports(result, resolver, expect)


@needs_suite
@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
async def test_a_cache_changes_nothing(case: dict[str, Any]) -> None:
    plain = CaseResolver(case["zone"])
    cache = CachingResolver(CaseResolver(case["zone"]), StandingClock())
    once = await evaluate(case, plain)
    for _ in range(2):
        again = await evaluate(case, cache.for_message())
        assert replace(again, lookups=()) == replace(once, lookups=())
        # Walks go side by side, so only the order of the questions may differ.
        assert len(again.lookups) == len(once.lookups)
        assert {str(one) for one in again.lookups} == {str(one) for one in once.lookups}
    assert cache.counters.hits >= cache.counters.asked > 0 or not plain.asked


async def _check_reports(result: DMARCResult, resolver: CaseResolver, expect: dict[str, Any]) -> None:
    assert result.record is not None
    assert result.policy_domain is not None
    before = len(resolver.asked)
    found = await report_addresses(resolver, result.policy_domain, result.record)
    told = _uris(found)
    wanted = [expect["reports"], *expect.get("also_reports", [])]
    assert any(told["rua"] == one["rua"] and told["ruf"] == one["ruf"] and told["deferred"] == one.get("deferred", []) for one in wanted), (told, wanted)
    if "queries" in expect["reports"]:
        assert [name for kind, name in resolver.asked[before:] if kind == "TXT" and "._report." in name] == expect["reports"]["queries"]


def _uris(found: Destinations) -> dict[str, list[str]]:
    return {"rua": [one.uri for one in found.aggregate], "ruf": [one.uri for one in found.failure], "deferred": [one.uri for one in found.deferred]}


@needs_suite
def test_the_suite_is_whole() -> None:
    assert len(CASES) == 184
    sure = Counter(case["sure"] for case in CASES)
    assert {case["sure"] for case in CASES if case["id"] in OTHERWISE} == {"open"}
    print(f"DMARC (RFC 9989): {len(CASES)} cases, {dict(sure)}; otherwise than preferred: {len(OTHERWISE)}")  # noqa: T201 - counts


def records() -> Iterator[dict[str, str]]:
    if REPORTED.is_dir():
        yield from json.loads((REPORTED / "16-dmarc-record-forms" / "records.json").read_text())


@needs_cases
@pytest.mark.parametrize("case", [pytest.param(one, id=one["txt"]) for one in records()])
async def test_records_as_people_write_them(case: dict[str, str]) -> None:
    found = await check_dmarc(TableResolver({"_dmarc.acme.test": {"TXT": [case["txt"]]}}), author_of([b"a@acme.test"]), [], [])
    told = found.policy.value if found.result is Result.FAIL else found.reason
    assert told in {case["policy"].partition(",")[0], _NO_POLICY.get(case["policy"])}


_NO_POLICY: Final = {"not a DMARC record": "no policy is published", "no policy: DMARC does not apply": "the policy record cannot be used"}


@needs_cases
@pytest.mark.parametrize("folder", ["18-from-quoted-comma", "20-from-group-or-none"])
async def test_authors_that_users_of_others_met(folder: str) -> None:
    case = tomllib.loads((REPORTED / folder / "case.toml").read_text())["expect"]
    zone = json.loads((REPORTED / folder / "zone.json").read_text())
    query = json.loads((REPORTED / folder / "query.json").read_text())
    messages = sorted((REPORTED / folder).glob("*.eml"))
    assert messages
    for path in messages:
        author = find_author(Header(path.read_bytes()))
        found = await check_dmarc(TableResolver(zone), author, [SPFIdentity(query["spf"]["domain"], Result(query["spf"]["result"]))], [])
        assert list(author.domains) == case["author_domains"]
        assert (author.problem is None) is bool(case["author_domains"])
        assert found.result.value in case["dmarc"].split("|")


def pairs() -> Iterator[dict[str, Any]]:
    if REPORTED.is_dir():
        yield from json.loads((REPORTED / "21-align-public-suffix-self" / "query.json").read_text())


@needs_cases
@pytest.mark.parametrize("pair", [pytest.param(one, id=f"{one['from']} by {one['dkim']}") for one in pairs()])
async def test_equal_names_align_and_siblings_below_a_suffix_do_not(pair: dict[str, Any]) -> None:
    # The case is of the days of the suffix list; RFC 9989 §4.10.2 asks the DNS instead, so here the suffixes say what they are (psd=y), and every
    # organization of the case has its record.
    zone = {f"_dmarc.{name}": {"TXT": [f"v=DMARC1; p=reject; psd={psd}"]} for name, psd in _ORGANIZATIONS.items()}
    found = await check_dmarc(TableResolver(zone), author_of([f"x@{pair['from']}".encode()]), [], [DKIMIdentity(pair["dkim"], Result.PASS)])
    assert (found.aligned_dkim == (pair["dkim"],)) is pair["aligned"]
    assert found.result is (Result.PASS if pair["aligned"] else Result.FAIL)


_ORGANIZATIONS: Final = {"github.io": "y", "a.github.io": "u", "b.github.io": "u", "co.uk": "y", "example.co.uk": "u", "one.co.uk": "u", "two.co.uk": "u"}
