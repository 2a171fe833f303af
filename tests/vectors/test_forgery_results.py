# SPDX-License-Identifier: Apache-2.0
"""The published cases of forged headers, taken straight to the code: what our Authentication-Results says of each, what is removed, and what stays.

What SPF, DKIM and ARC found is given by each case; the author, DMARC and the field are ours. `test_forgery_mx` plays the same cases at port 25.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import pytest

from moatmail.mailauth import results
from moatmail.mailauth.arc import ARCResult
from moatmail.mailauth.arc_seal import own_results
from moatmail.mailauth.dkim import DKIMResult
from moatmail.mailauth.dmarc.author import find_author
from moatmail.mailauth.dmarc.check import DKIMIdentity, DMARCResult, check_dmarc
from moatmail.mailauth.dmarc.check import SPFIdentity as Checked
from moatmail.mailauth.result import Result
from moatmail.mailauth.results import Method
from moatmail.mailauth.signed import SignedMessage
from moatmail.mailauth.spf.check import SPFIdentity, SPFResult
from moatmail.message.header import Header
from moatmail.net.resolver_table import TableResolver
from tests.vectors.test_forgery_submission import SUITE, content_of

CASES: Final[list[dict[str, Any]]] = [case for case in SUITE["cases"] if case["side"] == "mx"]
IDS: Final = [case["id"] for case in CASES]
pytestmark = pytest.mark.skipif(not CASES, reason="the suite forgery is not here")
VICTIM: Final = "victim.example"
ELSEWHERE: Final = frozenset(("fg-mx-our-verdict-imitated",))
"""Cases whose mark is no Authentication-Results: port 25 removes it, `test_forgery_mx` sees to it."""


def header_of(case: dict[str, Any]) -> bytes:
    return content_of(case).partition(b"\r\n\r\n")[0] + b"\r\n\r\n"


def given(case: dict[str, Any]) -> Iterator[SPFResult | DKIMResult | ARCResult]:
    found = case["given"]
    yield SPFResult(Result(found["spf"]["result"]), SPFIdentity(found["spf"]["scope"]), found["spf"]["domain"])
    if "spf_helo" in found:
        yield SPFResult(Result(found["spf_helo"]["result"]), SPFIdentity.HELO, found["spf_helo"]["domain"])
    for one in found["dkim"]:
        yield DKIMResult(Result(one["result"]), "", one["d"], one.get("s", "s1"), f"@{one['d']}", "rsa-sha256", "dzdVyOfAKCdL")
    yield ARCResult(Result(found["arc"]["result"] if found.get("arc") else "none"))


def said(one: SPFResult | DKIMResult | ARCResult) -> Method:
    match one:
        case SPFResult():
            return results.of_spf(one)
        case DKIMResult():
            return results.of_dkim(one)
        case ARCResult():
            return results.of_arc(one)


async def dmarc_of(case: dict[str, Any]) -> DMARCResult:
    found = list(given(case))
    resolver = TableResolver({name: {"TXT": [text]} for name, text in SUITE["dmarc_records"].items()})
    spf = [Checked(one.domain, one.result) for one in found if isinstance(one, SPFResult) and one.identity is SPFIdentity.MAIL_FROM]
    dkim = [DKIMIdentity(one.domain, one.result) for one in found if isinstance(one, DKIMResult)]
    return await check_dmarc(resolver, find_author(Header(header_of(case))), spf, dkim)


async def field_of(case: dict[str, Any]) -> str:
    """Our field, unfolded."""
    methods = [*map(said, given(case)), results.of_dmarc(await dmarc_of(case), "none")]
    return results.compose(SUITE["our"]["authserv_id"], methods).decode("ascii").replace("\r\n", "")


@pytest.mark.parametrize("case", CASES, ids=IDS)
async def test_our_field_says_what_was_found_and_nothing_else(case: dict[str, Any]) -> None:
    field = await field_of(case)
    expect = case["expect"]
    for pattern in expect.get("ar_must", []):
        assert re.search(pattern, field)
    for pattern in expect.get("ar_must_not", []):
        assert not re.search(pattern, field)
    # Whatever stands in a header or a signature, there is one statement about DMARC in it, and it names only an author that there is.
    assert len(re.findall(r"(?<!policy\.)dmarc=", field)) == 1
    named = re.findall(r"header\.from=([^\s;]+)", field)
    authors = {domain for one in (expect, *case.get("also_allowed", [])) for domain in one.get("author_domains") or []}
    if expect.get("refuse"):
        # Some are refused for another reason (a second Sender, a reverse-path with NUL); their author stays who it is, and is not proved.
        assert VICTIM not in named or VICTIM in authors or "dmarc=fail" in field
    else:
        assert set(named) <= authors


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_marks_that_pretend_to_be_ours_go_and_others_stay(case: dict[str, Any]) -> None:
    authserv_id = SUITE["our"]["authserv_id"]
    header = header_of(case)
    left = results.remove_foreign(header, authserv_id)
    for mark in case["expect"].get("fields_removed", []):
        assert (mark.encode() in left) is (case["id"] in ELSEWHERE)
    for mark in case["expect"].get("fields_kept", []):
        assert mark.encode() in left
    assert own_results(SignedMessage(Header(left)), authserv_id.encode()) == b""
    if not case["expect"].get("fields_removed") or case["id"] in ELSEWHERE:
        assert left is header
