# SPDX-License-Identifier: Apache-2.0
"""The openspf suites, read in place: every case of RFC 7208 with its preferred result and its explanation, and the older ones where they still hold."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from moatmail.core.address import Address
from moatmail.mailauth.spf.check import SPFClient, SPFResult, check_mail_from
from moatmail.net.resolver_table import TableResolver
from tests.unit.message.reading import CASES
from tests.vectors.openspf import SPF, Case, cases

RFC7208 = cases("rfc7208-tests.yml")
RFC7208_MAILAUTH = cases("rfc7208-tests-mailauth.yml")
RFC4408 = cases("rfc4408-tests.yml")
NOW = 1_700_000_000


def title(case: Case) -> str:
    return f"{case.scenario}: {case.name}"


async def check(case: Case) -> SPFResult:
    localpart, at, domain = case.mail_from.rpartition("@")
    return await check_mail_from(case.resolver, SPFClient(case.host, case.helo, "mx.receiver.test", NOW), Address(localpart, domain) if at else None)


@pytest.mark.skipif(not RFC7208, reason=f"the SPF suites ({SPF.parent.name}/spf) are not here")
def test_the_suite_has_its_203_cases() -> None:
    assert len(RFC7208) == 203
    assert len({case.scenario for case in RFC7208}) == 16
    print(f"openspf RFC 7208: {len(RFC7208)} cases; mailauth's copy: {len(RFC7208_MAILAUTH)}; RFC 4408: {len(RFC4408)}")  # noqa: T201 - counts


@pytest.mark.parametrize("case", RFC7208, ids=title)
async def test_rfc_7208(case: Case) -> None:
    found = await check(case)
    assert found.result == case.results[0], found
    if case.explanation is not None:
        assert found.explanation == ("" if case.explanation == "DEFAULT" else case.explanation)
    assert bool(found.problem) is (found.result in {"temperror", "permerror"})
    assert bool(found.steps) is (found.result in {"pass", "fail", "softfail", "neutral"})


@pytest.mark.parametrize("case", RFC7208_MAILAUTH, ids=title)
async def test_the_copy_of_another_implementation(case: Case) -> None:
    assert (await check(case)).result in case.results


@pytest.mark.parametrize("case", RFC4408, ids=title)
async def test_rfc_4408(case: Case) -> None:
    # Where RFC 7208 decided otherwise, the newer suite has a case of the same name with the other result, and that one wins.
    newer = {one.name: one.results for one in RFC7208}
    assert (await check(case)).result in {*case.results, *newer.get(case.name, ())}


def reported() -> Iterator[tuple[str, Path, dict[str, Any]]]:
    for path in sorted(CASES.glob("auth/*-spf-*")):
        yield path.name, path, tomllib.loads((path / "case.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize(("name", "path", "case"), [pytest.param(*one, id=one[0]) for one in reported()])
async def test_what_users_of_others_reported(name: str, path: Path, case: dict[str, Any]) -> None:
    zone = json.loads((path / "zone.json").read_text(encoding="utf-8"))
    queries = json.loads((path / "query.json").read_text(encoding="utf-8"))
    wanted = case["expect"].get("spf_each") or [case["expect"]["spf"]]
    found = []
    for query in queries if isinstance(queries, list) else [queries]:
        localpart, _, domain = query["mail_from"].rpartition("@")
        found.append(str((await check_mail_from(TableResolver(zone), SPFClient(query["ip"], query["helo"]), Address(localpart, domain))).result))
    assert found == wanted
