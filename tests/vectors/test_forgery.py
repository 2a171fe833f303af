# SPDX-License-Identifier: Apache-2.0
"""The published cases of forged headers at port 25, taken straight to the code: whose message it is, what DMARC says of it, and which policy is asked for.

What SPF and DKIM found is given by each case. `test_forgery_mx` plays the same cases on a running server, `test_forgery_results` looks at our field.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import Any, Final

import pytest

from moatmail.mailauth.dmarc.author import Author, find_author
from moatmail.mailauth.dmarc.check import DKIMIdentity, DMARCResult, SPFIdentity, check_dmarc
from moatmail.mailauth.result import Result
from moatmail.message.header import Header
from moatmail.net.resolver_table import TableResolver
from tests.vectors.test_forgery_submission import SUITE, content_of

CASES: Final[list[dict[str, Any]]] = [case for case in SUITE["cases"] if case["side"] == "mx"]
pytestmark = pytest.mark.skipif(not CASES, reason="the suite forgery is not here")
VICTIM: Final = "victim.example"
SURE_AUTHOR: Final = {
    "fg-mx-ar-injection-by-mail-from": "the reverse-path is none",
    "fg-mx-mail-from-nul": "the reverse-path holds NUL",
    "fg-mx-mail-from-utf8-no-smtputf8": "the reverse-path is UTF-8 without SMTPUTF8",
    "fg-mx-rcpt-quoted-at": "the forward-path names another host",
    "fg-mx-received-loop": "too many Received fields",
}
"""Cases that are refused though their author is sure, and why."""


def header_of(case: dict[str, Any]) -> Header:
    return Header(content_of(case).partition(b"\r\n\r\n")[0] + b"\r\n\r\n")


async def judge(case: dict[str, Any]) -> tuple[Author, DMARCResult]:
    given = case["given"]
    # RFC 9989 §4.4.2: the HELO name counts only in place of a null reverse-path, and then it is the MAIL FROM identity.
    counts = given["spf"]["scope"] == "mailfrom" or not case["envelope"]["mail_from"]
    spf = [SPFIdentity(given["spf"]["domain"], Result(given["spf"]["result"]))] if counts else []
    dkim = [DKIMIdentity(one["d"], Result(one["result"])) for one in given["dkim"]]
    author = find_author(header_of(case))
    resolver = TableResolver({name: {"TXT": [text]} for name, text in SUITE["dmarc_records"].items()})
    return author, await check_dmarc(resolver, author, spf, dkim)


def _as_list(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def _fits(author: Author, found: DMARCResult, expect: dict[str, Any]) -> bool:
    if expect.get("refuse"):
        # Refused for its author: then there is none that is sure, and stage form says so.
        return author.domain is None
    authors = expect["author_domains"]
    return (
        (author.domain is None if not authors else [author.domain] == authors)
        and (expect.get("dmarc") is None or found.result.value in _as_list(expect["dmarc"]))
        and found.result.value not in _as_list(expect.get("dmarc_not"))
        and (expect.get("disposition") is None or found.disposition.value == expect["disposition"])
    )


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
async def test_author_and_dmarc(case: dict[str, Any]) -> None:
    begun = time.process_time()
    author, found = await judge(case)
    assert time.process_time() - begun < case["expect"].get("max_seconds", 1)
    outcomes = [case["expect"], *({**case["expect"], **other} for other in case.get("also_allowed", []))]
    assert any(_fits(author, found, one) for one in outcomes) is (case["id"] not in SURE_AUTHOR), (author, found)
    # The bar: nobody passes as an author that the case does not name, the victim least of all.
    named = {domain for one in outcomes for domain in one.get("author_domains") or []}
    if found.result is Result.PASS:
        assert found.author_domain in named or (case["id"] in SURE_AUTHOR and found.author_domain != VICTIM)


def test_the_suite_is_whole() -> None:
    assert len(CASES) == 118
    headers = [header_of(case) for case in CASES]
    problems = Counter(author.problem.value if author.problem else "sure" for author in map(find_author, headers))
    print(f"forgery, port 25, straight to the code: {len(CASES)} cases; authors: {dict(problems)}")  # noqa: T201 - counts
    assert problems["sure"] < len(CASES)
