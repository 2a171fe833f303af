# SPDX-License-Identifier: Apache-2.0
"""Method iprev: names that lead back, and what it says when they do not."""

from __future__ import annotations

from typing import Any

import pytest

from moatmail.mailauth.iprev import check_iprev
from moatmail.mailauth.result import Result
from moatmail.net.resolver_table import TableResolver

FOUR = "4.2.0.192.in-addr.arpa"
SIX = "4.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"
MX = {"mx.a.test": {"A": ["192.0.2.9", "192.0.2.4"], "AAAA": ["2001:DB8:0::4"]}}


@pytest.mark.parametrize(
    ("client", "zone", "result", "names"),
    [
        pytest.param("192.0.2.4", {FOUR: {"PTR": ["MX.a.test."]}, **MX}, Result.PASS, ("mx.a.test",), id="a name that leads back"),
        pytest.param("2001:db8::4", {SIX: {"PTR": ["mx.a.test"]}, **MX}, Result.PASS, ("mx.a.test",), id="over IPv6"),
        pytest.param("::ffff:192.0.2.4", {FOUR: {"PTR": ["mx.a.test"]}, **MX}, Result.PASS, ("mx.a.test",), id="IPv4 inside IPv6 is IPv4"),
        pytest.param("192.0.2.4", {FOUR: {"PTR": ["b.test", "mx.a.test", "mx.a.test"]}, **MX}, Result.PASS, ("mx.a.test",), id="one of several, told once"),
        pytest.param("192.0.2.4", {FOUR: {"PTR": ["b.test"]}, "b.test": {"A": ["192.0.2.5"]}}, Result.FAIL, (), id="a name that leads elsewhere"),
        pytest.param("192.0.2.4", {FOUR: {"PTR": ["gone.test"]}}, Result.FAIL, (), id="a name that leads nowhere"),
        pytest.param("192.0.2.4", {FOUR: {"PTR": ["", "a..b"]}}, Result.FAIL, (), id="what is no name"),
        pytest.param("192.0.2.4", {}, Result.PERMERROR, (), id="no reverse name"),
        pytest.param("192.0.2.4", {FOUR: {"TXT": ["x"]}}, Result.PERMERROR, (), id="a reverse name without PTR"),
        pytest.param("192.0.2.4", {FOUR: "SERVFAIL"}, Result.TEMPERROR, (), id="a reverse name that does not come"),
        pytest.param("192.0.2.4", {FOUR: {"PTR": ["b.test"]}, "b.test": "TIMEOUT"}, Result.TEMPERROR, (), id="a name whose addresses do not come"),
        pytest.param(
            "192.0.2.4", {FOUR: {"PTR": ["b.test", "mx.a.test"]}, "b.test": "TIMEOUT", **MX}, Result.PASS, ("mx.a.test",), id="and another that leads back"
        ),
    ],
)
async def test_iprev(client: str, zone: dict[str, Any], result: Result, names: tuple[str, ...]) -> None:
    found = await check_iprev(TableResolver(zone), client)
    assert (found.result, found.names) == (result, names)
    assert found.lookups[0].kind == "PTR"


async def test_so_many_names_are_looked_at() -> None:
    zone = {FOUR: {"PTR": [f"n{number}.test" for number in range(50)]}, "n10.test": {"A": ["192.0.2.4"]}}
    found = await check_iprev(TableResolver(zone), "192.0.2.4")
    assert (found.result, len(found.lookups)) == (Result.FAIL, 11)


async def test_an_address_that_is_none_is_a_fault_of_the_caller() -> None:
    with pytest.raises(ValueError, match="does not appear"):
        await check_iprev(TableResolver({}), "mx.a.test")
