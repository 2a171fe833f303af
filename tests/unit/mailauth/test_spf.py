# SPDX-License-Identifier: Apache-2.0
"""What SPF says of its two identities, why, and what it asked: limits, errors, internationalized names."""

from __future__ import annotations

from typing import Any

import pytest

from moatmail.core.address import Address
from moatmail.mailauth.result import Result
from moatmail.mailauth.spf.check import SPFClient, SPFIdentity, SPFResult, check_helo, check_mail_from
from moatmail.mailauth.spf.evaluation import Step
from moatmail.net.resolver_table import TableResolver

ANN = Address("ann", "a.test")
REVERSE = "4.2.0.192.in-addr.arpa"


async def spf(zone: dict[str, Any], mail_from: Address | None = ANN, *, ip: str = "192.0.2.4", helo: str = "mx.a.test") -> SPFResult:
    return await check_mail_from(TableResolver(zone), SPFClient(ip, helo, "mx.receiver.test", 1_700_000_000), mail_from)


def of(record: str, **more: object) -> dict[str, Any]:
    """Give a zone where a.test has this record; names written with underscores for dots."""
    return {"a.test": {"TXT": [record], "A": ["192.0.2.4"]}, **{name.replace("_", "."): types for name, types in more.items()}}


# ---- identities ----


async def test_the_null_reverse_path_is_postmaster_at_the_helo_name() -> None:
    zone = {"mx.a.test": {"TXT": ["v=spf1 exists:%{l}.%{d} -all"]}, "postmaster.mx.a.test": {"A": ["127.0.0.2"]}}
    found = await spf(zone, None)
    assert (found.result, found.identity, found.domain, found.localpart) == (Result.PASS, SPFIdentity.MAIL_FROM, "mx.a.test", "postmaster")


async def test_the_helo_name_is_an_identity_of_its_own() -> None:
    zone = {"mx.a.test": {"TXT": ["v=spf1 ip4:192.0.2.4 -all"]}, "a.test": {"TXT": ["v=spf1 -all"]}}
    found = await check_helo(TableResolver(zone), SPFClient("192.0.2.4", "MX.A.test."))
    assert (found.result, found.identity, found.domain) == (Result.PASS, SPFIdentity.HELO, "mx.a.test")
    assert (await spf(zone)).result == Result.FAIL


@pytest.mark.parametrize("helo", ["[192.0.2.4]", "localhost", "", "a..test", "x" * 64 + ".test", "b\u0378d.test", "%{d}"])
async def test_what_is_no_name_has_no_record(helo: str) -> None:
    found = await check_helo(TableResolver({}), SPFClient("192.0.2.4", helo))
    assert (found.result, found.lookups) == (Result.NONE, ())


async def test_an_address_that_is_none_is_a_fault_of_the_caller() -> None:
    with pytest.raises(ValueError, match="x"):
        await check_helo(TableResolver({}), SPFClient("x", "mx.a.test"))


# ---- what decided ----


async def test_the_result_tells_the_terms_that_decided_and_what_was_asked() -> None:
    zone = of("v=spf1 mx redirect=b.test", b_test={"TXT": ["v=spf1 ?include:c.test -all"]}, c_test={"TXT": ["v=spf1 ip6:::/0 ip4:192.0.2.0/24 -all"]})
    found = await spf(zone)
    assert (found.result, found.mechanism) == (Result.NEUTRAL, "?include:c.test")
    assert found.steps == (Step("b.test", "?include:c.test"), Step("c.test", "ip4:192.0.2.0/24"))
    assert [(one.kind, one.name) for one in found.lookups] == [("TXT", "a.test"), ("MX", "a.test"), ("TXT", "b.test"), ("TXT", "c.test")]


async def test_the_default_at_the_end_is_told_as_such() -> None:
    found = await spf(of("v=spf1 ip4:198.51.100.1"))
    assert (found.result, found.mechanism, found.steps) == (Result.NEUTRAL, "", (Step("a.test", ""),))


async def test_an_error_tells_its_reason_and_where() -> None:
    found = await spf(of("v=spf1 include:b.test", b_test={"TXT": ["v=spf1 ip4:1.2.3"]}))
    assert found.result == Result.PERMERROR
    assert found.problem.startswith("b.test: ip4:1.2.3: ")


async def test_a_reason_holds_no_octet_that_could_break_a_line() -> None:
    found = await spf(of("v=spf1 foo\r\nX-Evil:yes"))
    assert found.problem.isprintable()
    assert found.problem.isascii()


async def test_a_mapped_address_is_the_ipv4_address_it_carries() -> None:
    assert (await spf(of("v=spf1 ip4:192.0.2.4 -all"), ip="::ffff:192.0.2.4")).result == Result.PASS
    assert (await spf(of("v=spf1 ip6:::/0 ?all"), ip="::ffff:192.0.2.4")).result == Result.NEUTRAL


@pytest.mark.parametrize(
    ("name", "result"),
    [("mx.a.test", Result.PASS), ("a.test", Result.PASS), ("evil-a.test", Result.FAIL), ("a.test.b.test", Result.FAIL)],
    ids=["a name below", "the name itself", "a name that only ends alike", "a name that only begins alike"],
)
async def test_a_reverse_name_matches_at_its_dots(name: str, result: Result) -> None:
    zone = {"a.test": {"TXT": ["v=spf1 ptr -all"]}, REVERSE: {"PTR": [name]}}
    zone.setdefault(name, {})["A"] = ["192.0.2.4"]
    assert (await spf(zone)).result == result


async def test_a_reverse_name_whose_addresses_do_not_come_is_skipped() -> None:
    zone = {"a.test": {"TXT": ["v=spf1 ptr -all"]}, REVERSE: {"PTR": ["slow.test", "mx.a.test"]}, "slow.test": "TIMEOUT", "mx.a.test": {"A": ["192.0.2.4"]}}
    assert (await spf(zone)).result == Result.PASS
    assert (await spf({**zone, REVERSE: {"PTR": ["slow.test"]}})).result == Result.FAIL


@pytest.mark.parametrize(
    "record", ["x=1 x=2 ip4:192.0.2.4 -all", "ip4:192.0.2.4 include:a.test -all"], ids=["an unknown modifier twice", "an include of itself behind the match"]
)
async def test_what_is_no_error(record: str) -> None:
    assert (await spf(of(f"v=spf1 {record}"))).result == Result.PASS


# ---- limits (RFC 7208 §4.6.4) ----


@pytest.mark.parametrize(
    ("record", "result"),
    [
        pytest.param("a:lost.test a:gone.test ip4:192.0.2.4", Result.PASS, id="two terms that find nothing"),
        pytest.param("a:lost.test a:gone.test a:none.test ip4:192.0.2.4", Result.PERMERROR, id="three terms that find nothing"),
        pytest.param("a:lost.test exists:gone.test mx:none.test ip4:192.0.2.4", Result.PERMERROR, id="of any kind"),
        pytest.param("a:lost.test mx:dead.test ip4:192.0.2.4", Result.PASS, id="a term with three hosts that are not there is one term"),
        pytest.param("mx:dead.test mx:dead.test mx:dead.test ip4:192.0.2.4", Result.PERMERROR, id="MX hosts that are not there are nothing found"),
        pytest.param("a:lost.test a:gone.test a:%{l}@..test ip4:192.0.2.4", Result.PASS, id="what cannot be asked was not asked"),
        pytest.param("a:lost.test ptr ptr ptr ip4:192.0.2.4", Result.PASS, id="the reverse name is asked once"),
    ],
)
async def test_terms_that_find_nothing_are_limited(record: str, result: Result) -> None:
    zone = of(f"v=spf1 {record} -all", dead_test={"MX": [[number, f"h{number}.dead.test"] for number in range(3)]})
    assert (await spf(zone)).result == result


@pytest.mark.parametrize(
    ("record", "result"),
    [
        pytest.param("a:b.test " * 10 + "ip4:192.0.2.4", Result.PASS, id="ten lookups"),
        pytest.param("a:b.test " * 11 + "ip4:192.0.2.4", Result.PERMERROR, id="eleven"),
        pytest.param("a:b.test " * 9 + "exists:%{p}.b.test ip4:192.0.2.4", Result.PERMERROR, id="the lookup for a validated name counts"),
        pytest.param("ip4:198.51.100.1 " * 40 + "ip4:192.0.2.4", Result.PASS, id="what needs no lookup does not count"),
        pytest.param("mx:many.test ip4:192.0.2.4", Result.PERMERROR, id="eleven MX hosts"),
        pytest.param("mx:ten.test ip4:192.0.2.4", Result.PASS, id="ten MX hosts"),
        pytest.param("include:a.test", Result.PERMERROR, id="an include of itself"),
        pytest.param("redirect=a.test", Result.PERMERROR, id="a redirect to itself"),
    ],
)
async def test_lookups_are_limited(record: str, result: Result) -> None:
    zone = of(
        f"v=spf1 {record}",
        b_test={"A": ["198.51.100.9"]},
        many_test={"MX": [[number, f"h{number}.test"] for number in range(11)]},
        ten_test={"MX": [[number, "b.test" if number else "h.test"] for number in range(10)]},
    )
    zone[REVERSE] = {"PTR": ["mx.a.test"]}
    zone["mx.a.test"] = {"A": ["192.0.2.4"]}
    assert (await spf(zone)).result == result


async def test_the_worst_records_ask_a_bounded_number_of_questions() -> None:
    hosts = {f"h{number}.test": {"A": ["198.51.100.9"]} for number in range(10)}
    zone = of("v=spf1 " + "mx:b.test " * 10 + "-all", b_test={"MX": [[number, f"h{number}.test"] for number in range(10)]}) | hosts
    assert len((await spf(zone)).lookups) == 1 + 10 * 11


# ---- DNS trouble ----


@pytest.mark.parametrize(
    ("record", "result"),
    [
        pytest.param("a:slow.test", Result.TEMPERROR, id="an address that does not come"),
        pytest.param("mx:slow.test", Result.TEMPERROR, id="an MX that does not come"),
        pytest.param("include:slow.test", Result.TEMPERROR, id="an include that does not come"),
        pytest.param("redirect=slow.test", Result.TEMPERROR, id="a redirect that does not come"),
        pytest.param("ip4:192.0.2.4 a:slow.test", Result.PASS, id="not asked after a match"),
        pytest.param("ptr:slow.test -all", Result.FAIL, id="a reverse name that does not come matches nothing"),
        pytest.param("-all exp=slow.test", Result.FAIL, id="an explanation that does not come changes nothing"),
    ],
)
async def test_dns_trouble(record: str, result: Result) -> None:
    found = await spf({**of(f"v=spf1 {record}", slow_test="TIMEOUT"), REVERSE: "SERVFAIL"})
    assert (found.result, found.explanation) == (result, "")


async def test_a_record_that_does_not_come_is_a_temperror() -> None:
    found = await spf({"a.test": "SERVFAIL"})
    assert (found.result, found.lookups[0].outcome) == (Result.TEMPERROR, "no answer")


# ---- internationalized mail (RFC 8616) ----


@pytest.mark.parametrize(
    ("record", "result"),
    [
        pytest.param("exists:%{l}.b.test -all", Result.FAIL, id="an exists matches nothing"),
        pytest.param("include:%{l}.b.test ?all", Result.NEUTRAL, id="an include matches nothing, and is no error"),
        pytest.param("redirect=%{s}", Result.PERMERROR, id="a redirect leads nowhere"),
        pytest.param("exists:%{d2}.b.test -all", Result.PASS, id="other macros do as always"),
    ],
)
async def test_a_local_part_outside_ascii_matches_nothing(record: str, result: Result) -> None:
    zone = {"xn--bcher-kva.test": {"TXT": [f"v=spf1 {record}"]}, "xn--bcher-kva.test.b.test": {"A": ["127.0.0.2"]}}
    found = await spf(zone, Address("jürgen", "bücher.test"))
    assert (found.result, found.domain) == (result, "xn--bcher-kva.test")


async def test_an_explanation_with_such_a_local_part_stays_printable() -> None:
    found = await spf(of("v=spf1 -all exp=b.test", b_test={"TXT": ["%{l} may not, says %{r} to %{h}"]}), Address("jürgen", "a.test"), helo="x\r\ny")
    assert found.explanation == "j?rgen may not, says mx.receiver.test to x??y"


# ---- explanations ----


async def test_an_explanation_is_cut() -> None:
    assert len((await spf(of("v=spf1 -all exp=b.test", b_test={"TXT": ["x" * 4000]}))).explanation) == 500


@pytest.mark.parametrize("record", ["~all", "?all", "all"])
async def test_only_a_fail_is_explained(record: str) -> None:
    found = await spf(of(f"v=spf1 {record} exp=b.test", b_test={"TXT": ["why"]}))
    assert (found.explanation, len(found.lookups)) == ("", 1)
