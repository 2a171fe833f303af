# SPDX-License-Identifier: Apache-2.0
"""The cases of DMARC after RFC 9989: records, tree walk, alignment, existence, test mode, From, failing queries, report destinations."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Final

import pytest

from moatmail.core.ports.resolver import Answer, DNSError
from moatmail.mailauth.dmarc.author import author_of
from moatmail.mailauth.dmarc.check import DKIMIdentity, DMARCResult, SPFIdentity, check_dmarc
from moatmail.mailauth.dmarc.consent import Destinations, report_addresses
from moatmail.mailauth.result import Result
from moatmail.net.questions import Questions

yaml = pytest.importorskip("yaml")
FOLDER = Path(os.environ.get("MOATMAIL_TEST_DATA", Path(__file__).parents[2].parent / "shared" / "data")) / "dmarc-rfc9989"
CASES: list[dict[str, Any]] = yaml.safe_load((FOLDER / "cases.yaml").read_text())["cases"] if FOLDER.is_dir() else []
pytestmark = pytest.mark.skipif(not CASES, reason="the suite dmarc-rfc9989 is not here")
_REPEAT: Final = re.compile(r"\{repeat:(.*?):(\d+)\}", re.DOTALL)
_MISSING: Final = Answer((), exists=False)


class CaseResolver(Questions):
    """Answers from a case's zone, and keeps what was asked."""

    def __init__(self, zone: dict[str, Any]) -> None:
        self.zone = {name.lower(): types for name, types in zone.items()}
        self.asked: list[tuple[str, str]] = []

    async def ask(self, kind: str, name: str) -> Answer:
        name = name.lower()
        if (kind, name) not in self.asked:
            self.asked.append((kind, name))
        types = self._types(name)
        if types is None or types == "nxdomain":
            return _MISSING
        if types == "temperror":
            raise DNSError(name)
        if types == "nodata":
            return Answer(())
        if "CNAME" in types and kind != "CNAME":
            target = types["CNAME"]
            return await self.ask(kind, (target[0] if isinstance(target, list) else target).removesuffix("."))
        return Answer(tuple(_record(kind, one) for one in types.get(kind, ())))

    def _types(self, name: str) -> Any:  # noqa: ANN401 - a case's own form
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


async def evaluate(case: dict[str, Any]) -> tuple[DMARCResult, CaseResolver]:
    resolver = CaseResolver(case["zone"])
    author = author_of([_REPEAT.sub(_repeated, value).encode() for value in case["header_from"]])
    found = case["spf"]
    spf = [SPFIdentity(found["domain"], Result(found["result"]))] if found.get("domain") and found.get("identity") != "helo" else []
    dkim = [DKIMIdentity(one["d"], Result(one["result"])) for one in case["dkim"]]
    return await check_dmarc(resolver, author, spf, dkim), resolver


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
        walk = [name for name in asked if name in expect["queries"]]
        wrong += [] if walk == expect["queries"] else [f"asked {asked}"]
    return wrong


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
async def test_verdict(case: dict[str, Any]) -> None:
    result, resolver = await evaluate(case)
    expect = case["expect"]
    assert result.result.value not in expect.get("never", [])
    wrongs = [_fits(result, resolver.texts, one) for one in (expect, *expect.get("also_ok", []))]
    assert [] in wrongs, wrongs
    assert len(resolver.asked) <= expect.get("max_queries", 40)
    if "reports" in expect:
        await _check_reports(result, resolver, expect)


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


def test_the_suite_is_whole() -> None:
    assert len(CASES) >= 184
