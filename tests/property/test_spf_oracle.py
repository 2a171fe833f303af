# SPDX-License-Identifier: Apache-2.0
"""Our SPF against pyspf over made-up zones: the same result and the same explanation, whatever the records say.

Where the two are known to differ, RFC 7208 decides, the zones keep away, and tests/unit/mailauth proves what is right:
- void lookups: pyspf counts questions, §4.6.4 speaks of terms (the limit is lifted on both sides);
- the lookup for %{p} is not counted there, §4.6.4 counts it (%{p} stands in explanations only);
- a reverse name whose addresses do not come is a temperror there, §5.5 skips the name;
- an unknown modifier that stands twice is a permerror there, §6 says so of `redirect` and `exp` alone;
- a record that includes itself is a permerror there before a mechanism in front of it may match;
- a macro that asks for zero parts gives all of them there, §7.3 forbids it.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moatmail.core.address import Address
from moatmail.mailauth.spf import evaluation
from moatmail.mailauth.spf.check import SPFClient, check_mail_from
from moatmail.net.resolver_table import TableResolver

pyspf = pytest.importorskip("spf", reason="pyspf, the second opinion on SPF, is not installed")

DOMAINS = ["d0.test", "d1.test", "d2.test", "sub.d0.test"]
HOSTS = ["h0.test", "h1.d0.test", "x.d0.test", "lost.test", "slow.test", "4.2.0.192.in-addr.d0.test", "ann.d1.test", "tag.ann.d1.test"]
CLIENTS = ["192.0.2.4", "192.0.2.77", "198.51.100.9", "2001:db8::4", "2001:db8:1::77"]
Zone = dict[str, Any]

addresses = st.fixed_dictionaries(
    {},
    optional={
        "A": st.lists(st.sampled_from(["192.0.2.4", "192.0.2.80", "198.51.100.9"]), min_size=1, max_size=3, unique=True),
        "AAAA": st.lists(st.sampled_from(["2001:db8::4", "2001:db8:1::1"]), min_size=1, max_size=2, unique=True),
        "MX": st.lists(st.tuples(st.integers(0, 20), st.sampled_from([*HOSTS[:3], ""])), min_size=1, max_size=3, unique_by=lambda mx: mx[1]),
    },
)
GOOD_NAMES = ["%{d}", "%{ir}.%{v}.%{d}", "%{l}.d1.test", "%{l1r+}.%{o}", "%{lr+}.d1.test", "%{h}", "%{d2}", "%{D}", "%%x.test", "a..b.test", "h0.test."]
BAD_NAMES = ["%{i", "%z.test", "h0.123", "museum", "%{c}.test", ""]


def mostly(good: st.SearchStrategy[str], bad: list[str]) -> st.SearchStrategy[str]:
    """Give something good in 24 of 25 draws: one fault makes a permerror of the whole record."""
    return st.integers(0, 24).flatmap(lambda draw: st.sampled_from(bad) if draw == 24 else good)


names = mostly(st.sampled_from([*HOSTS[:4], *HOSTS, *DOMAINS, *GOOD_NAMES]), BAD_NAMES)
lengths = mostly(st.sampled_from(["", "", "", "/24", "/0", "//48", "/16//32"]), ["/33", "//129", "/24/64", "/024"])
mechanisms = st.one_of(
    st.builds(lambda name, rest: f"a{rest}" if name is None else f"a:{name}{rest}", st.none() | names, lengths),
    st.builds(lambda name, rest: f"mx{rest}" if name is None else f"MX:{name}{rest}", st.none() | names, lengths),
    st.builds(lambda name: "ptr" if name is None else f"ptr:{name}", st.none() | names),
    st.builds("exists:{}".format, names),
    st.builds("include:{}".format, st.sampled_from(DOMAINS)),
    mostly(
        st.sampled_from(["ip4:192.0.2.4", "ip4:192.0.2.0/25", "ip4:0.0.0.0/0", "ip6:2001:db8::/32", "ip6:2001:db8::4", "ip6:::/0"]),
        ["ip4:192.0.2.256", "ip6:1:2"],
    ),
)
directives = st.builds("{}{}".format, st.sampled_from(["", "+", "-", "~", "?"]), mechanisms)
modifiers = mostly(
    st.one_of(
        st.builds("redirect={}".format, st.sampled_from(DOMAINS)),
        st.builds("exp={}".format, st.sampled_from(["why.test", "why.test", "two.test", "lost.test", "slow.test", "%{l}.d1.test"])),
        st.sampled_from(["x-y=%{i}", "ra=a:b"]),
    ),
    ["foo", "-all:x", "x=%", "all.", "1=x", "exp=", "redirect=test"],
)
records = st.builds(
    lambda first, last, end, space: space.join(["v=spf1", *first, *last, *end]),
    st.lists(directives, max_size=3),
    st.lists(modifiers, max_size=2, unique_by=lambda term: term.partition("=")[0]),
    st.sampled_from([[], ["-all"], ["-all"], ["~all"], ["?all"], ["all"]]),
    st.sampled_from([" ", "  "]),
)
explanations = st.lists(
    st.sampled_from(["See %{d}", "%{s}", "%{c}", "%{p}", "%{L}", "%{h}", "%{v}", " ", "%_", "%-", "%{ir}", "%{o1}", "%{x}", "%", "!"]), min_size=1, max_size=4
).map("".join)


@st.composite
def zones(draw: st.DrawFn) -> Zone:
    zone: Zone = {name: draw(addresses) for name in HOSTS if name not in {"lost.test", "slow.test"}}
    for name in DOMAINS:
        found = draw(st.one_of(*[st.lists(records, min_size=1, max_size=1)] * 9, st.sampled_from([[], ["v=spf10"], ["v=spf1 a", "V=SPF1 mx"]])))
        zone[name] = {**draw(addresses), "TXT": [text.replace(f"include:{name}", "ptr") for text in found]}
    zone["slow.test"] = "TIMEOUT"
    zone["why.test"] = {"TXT": [draw(explanations)]}
    zone["two.test"] = {"TXT": ["one", "two"]}
    for client in CLIENTS:
        zone[ipaddress.ip_address(client).reverse_pointer] = {"PTR": draw(st.lists(st.sampled_from(HOSTS[:4]), max_size=3, unique=True))}
    return zone


def lookup_in(zone: Zone) -> Any:  # noqa: ANN401 - pyspf has no types
    """Give pyspf's one way to the DNS, over the zone."""

    def lookup(name: str, kind: str, _strict: object = True, _timeout: object = None) -> Iterator[tuple[tuple[str, str], object]]:
        types: Mapping[str, list[Any]] | str = zone.get(str(name).lower(), {})
        if isinstance(types, str):
            raise pyspf.TempError("DNS timeout")
        for value in types.get(kind, ()):
            if kind == "AAAA":
                yield (name, kind), ipaddress.ip_address(value).packed
            else:
                yield (name, kind), (value.encode(),) if kind == "TXT" else value

    return lookup


@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(
    zone=zones(),
    client=st.sampled_from(CLIENTS),
    helo=st.sampled_from(["h0.test", "d2.test", "OEM", "[192.0.2.4]"]),
    localpart=st.sampled_from(["ann", "ann+tag", "a b"]),
    domain=st.sampled_from(DOMAINS),
)
def test_pyspf_says_the_same(monkeypatch: pytest.MonkeyPatch, zone: Zone, client: str, helo: str, localpart: str, domain: str) -> None:
    monkeypatch.setattr(pyspf, "DNSLookup", lookup_in(zone))
    monkeypatch.setattr(pyspf, "MAX_VOID_LOOKUPS", 1000)
    monkeypatch.setattr(evaluation, "SPF_VOID_MAX", 1000)
    ours = asyncio.run(check_mail_from(TableResolver(zone), SPFClient(client, helo, "mx.receiver.test"), Address(localpart, domain)))
    asked = pyspf.query(i=client, s=f"{localpart}@{domain}", h=helo, receiver="mx.receiver.test", strict=True)
    asked.set_default_explanation("")
    result, _, explanation = asked.check()
    assert (ours.result, ours.explanation) == (result, explanation if result == "fail" else ""), ours
