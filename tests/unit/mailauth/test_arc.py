# SPDX-License-Identifier: Apache-2.0
"""Method arc beside its suite: what a result tells, temporary failures, bounds, and chains that we seal ourselves."""

from __future__ import annotations

import asyncio
import itertools
import re

import pytest

from moatmail.core.limits.mailauth import ARC_INSTANCES_MAX, ARC_KEYS_AT_ONCE
from moatmail.core.ports.resolver import Answer, DNSError, Resolver
from moatmail.mailauth.arc import check_arc
from moatmail.mailauth.arc_seal import Statement, own_results, own_verdict, seal
from moatmail.mailauth.result import Result
from moatmail.mailauth.sign import SigningError, SigningKey
from moatmail.mailauth.signed import read_message
from moatmail.net.questions import Questions
from moatmail.net.resolver_table import TableResolver
from tests.unit.mailauth.signing import BODY, HEADER, NOW, arc, both, ed_key, rsa_key

SAID = Statement(b"mx.example.org", b"arc=none; spf=pass smtp.mailfrom=a@b.example; dkim=none", NOW)


async def sealed(header: bytes = HEADER, key: SigningKey | None = None, body: bytes = BODY, resolver: Resolver | None = None, said: Statement = SAID) -> bytes:
    """The header with one more set on top."""
    message = read_message(header, [body])
    found = await check_arc(resolver or both(), message)
    return seal(message, [body], key or rsa_key(), found, said) + header


async def chain(length: int) -> bytes:
    header = HEADER
    for number in range(length):
        header = await sealed(header, rsa_key() if number % 2 else ed_key())
    return header


async def test_a_message_without_arc_has_no_chain() -> None:
    found = await arc(HEADER + BODY, both())
    assert (found.result, found.instance, found.lookups) == (Result.NONE, 0, ())


async def test_a_chain_of_our_own_holds_and_tells_who_sealed() -> None:
    found = await arc(await chain(4) + BODY, both())
    assert (found.result, found.instance, found.failed_at, found.reason) == (Result.PASS, 4, 0, "")
    assert [(one.instance, one.domain, one.selector, one.signed_by) for one in found.sealers] == [
        (number + 1, "example.org", "r" if number % 2 else "e", "example.org") for number in range(4)
    ]
    assert found.sealers[0].results.startswith(b"mx.example.org; arc=none;")
    assert {lookup.name for lookup in found.lookups} == {"r._domainkey.example.org", "e._domainkey.example.org"}


@pytest.mark.parametrize(
    ("old", "new", "instance", "reason"),
    [
        pytest.param(b"Ann", b"Bea", 3, "signature does not fit", id="a signed field changed"),
        pytest.param(b"end", b"End", 3, "body is not the one", id="the body changed"),
        pytest.param(b"i=2; mx.example.org", b"i=2; mx.evil.example", 3, "signature does not fit", id="old results changed"),
        pytest.param(b"i=3; mx.example.org", b"i=3; mx.evil.example", 3, "signature does not fit", id="new results changed"),
        pytest.param(b"cv=none", b"cv=pass", 0, "cv does not fit", id="the first seal says pass"),
        pytest.param(b"i=2; mx", b"i=4; mx", 0, "sets are not complete", id="a set without results"),
        pytest.param(b"i=2; mx", b"i=51; mx", 0, "tag i is no instance", id="an instance beyond the last"),
    ],
)
async def test_changed_chains_fail_where_they_were_changed(old: bytes, new: bytes, instance: int, reason: str) -> None:
    found = await arc((await chain(3) + BODY).replace(old, new), both())
    assert (found.result, found.failed_at) == (Result.FAIL, instance), found
    assert reason in found.reason


async def test_a_key_that_cannot_be_had_now_is_temporary_and_seals_nothing() -> None:
    header = await chain(1)
    resolver = TableResolver({"e._domainkey.example.org": {"TXT": "SERVFAIL"}})
    found = await arc(header + BODY, resolver)
    assert (found.result, found.reason) == (Result.TEMPERROR, "key cannot be had now")
    with pytest.raises(SigningError):
        await sealed(header, resolver=resolver)


class Silent(Questions):
    """A name service that does not answer; keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def ask(self, kind: str, name: str) -> Answer:
        self.asked.append(name)
        raise DNSError(f"{kind} {name}: no answer")


async def test_a_long_chain_of_silent_keys_asks_for_a_few_of_them() -> None:
    """Fifty questions of one message, each with ten seconds to wait, took the places of everybody else's."""
    numbers = itertools.count()
    header = re.sub(rb"\bs=[er];", lambda _: b"s=n%d;" % next(numbers), await chain(20))
    resolver = Silent()
    found = await arc(header + BODY, resolver)
    assert (found.result, found.instance) == (Result.TEMPERROR, 20)
    assert len(resolver.asked) == 1 + ARC_KEYS_AT_ONCE


async def test_a_broken_chain_is_sealed_as_failed_once() -> None:
    header = (await chain(2)).replace(b"Ann", b"Bea")
    failed = await sealed(header)
    found = await arc(failed + BODY, both())
    assert b"cv=fail" in failed.split(b"ARC-Message-Signature")[0]
    assert (found.result, found.sealed_as_failed, found.reason) == (Result.FAIL, True, "a seal tells of a failed chain")
    assert await sealed(failed) == failed


async def test_a_chain_without_order_is_not_sealed() -> None:
    header = (await chain(2)).replace(b"i=2; mx", b"i=1; mx")
    assert await sealed(header) == header


async def test_fifty_sets_are_the_most() -> None:
    header = await chain(ARC_INSTANCES_MAX)
    assert (await arc(header + BODY, both())).result is Result.PASS
    assert await sealed(header) == header
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    waiting = asyncio.create_task(others())
    await arc(header + BODY, both())
    waiting.cancel()
    assert turns >= ARC_INSTANCES_MAX, "others have their turn between two seals"
    one_more = b"".join(field for field in (b"ARC-Seal: i=51;\r\n", b"ARC-Message-Signature: i=51;\r\n", b"ARC-Authentication-Results: i=51; x\r\n"))
    found = await arc(one_more + header + BODY, both())
    assert (found.result, found.reason) == (Result.FAIL, "too many sets")


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(Statement(b"", b"arc=none", NOW), id="no authserv-id"),
        pytest.param(Statement(b"mx", b"", NOW), id="no results"),
        pytest.param(Statement(b"mx", b"arc=none\r\nFrom: evil", NOW), id="a line end in the results"),
        pytest.param(Statement(b"mx", b"arc=none", NOW, (b"from", b"arc-seal")), id="a seal that the signature would sign"),
    ],
)
async def test_what_cannot_be_said_is_not_sealed(said: Statement) -> None:
    with pytest.raises(SigningError):
        await sealed(said=said)


async def test_lines_fit_the_wire() -> None:
    made = await sealed()
    assert all(len(line) <= 998 for line in made.split(b"\r\n"))


def test_our_results_are_joined_and_foreign_ones_left() -> None:
    header = (
        b"Authentication-Results: MX.example.org 1; spf=pass\r\n smtp.mailfrom=a;\r\n"
        b"Authentication-Results: other.example; dkim=pass\r\n"
        b"Authentication-Results: mx.example.org; dkim=none\r\n\r\n"
    )
    assert own_results(read_message(header, []), b"mx.example.org") == b"spf=pass smtp.mailfrom=a; dkim=none"
    assert own_results(read_message(header, []), b"mx2.example.org") == b""


@pytest.mark.parametrize(
    ("results", "verdict"),
    [
        pytest.param(b"arc=pass", Result.PASS, id="alone"),
        pytest.param(b"spf=pass smtp.mailfrom=a.example; arc=fail (i=2) header.s=x; dkim=none", Result.FAIL, id="between others"),
        pytest.param(b"iprev=pass; Arc = none", None, id="not in the form we write"),
        pytest.param(b"arc = none", Result.NONE, id="with blanks"),
        pytest.param(b"spf=pass smtp.mailfrom=a.example", None, id="nothing said of it"),
        pytest.param(b"", None, id="nothing said at all"),
        pytest.param(b'spf=fail reason="; arc=pass; " smtp.mailfrom=a', None, id="inside a quoted string"),
        pytest.param(b"spf=fail (a comment; arc=pass; b) smtp.mailfrom=a; arc=fail", Result.FAIL, id="inside a comment"),
        pytest.param(b"arc=pass; dkim=none; arc=none", None, id="two things said"),
        pytest.param(b"arc=passed", None, id="no result"),
        pytest.param(b"dkim=pass header.d=arc=pass", None, id="inside a property"),
        pytest.param(b"arc=temperror", Result.TEMPERROR, id="not judged"),
    ],
)
def test_what_we_found_of_the_chain_is_read_from_our_own_results(results: bytes, verdict: Result | None) -> None:
    assert own_verdict(results) is verdict
