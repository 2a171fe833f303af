# SPDX-License-Identifier: Apache-2.0
"""Records of SPF and their macros: what is one, what is read, what is refused, and at what cost."""

from __future__ import annotations

import ipaddress
import time
import tracemalloc

import pytest

from moatmail.core.limits.mailauth import DNS_NAME_MAX, SPF_RECORD_OCTETS, SPF_TEXT_OCTETS
from moatmail.mailauth.result import Result
from moatmail.mailauth.spf.macro import Facts, MacroError, UnspeakableError, expand, expand_name, parse_domain_spec, parse_explanation, shorten
from moatmail.mailauth.spf.record import RecordError, parse, select

FACTS = Facts(ipaddress.ip_address("192.0.2.3"), "strong-bad", "email.example.com", "mx.example.org", "email.example.com", "mx.receiver.test", 1_700_000_000)
SIX = Facts(ipaddress.ip_address("2001:db8::cb01"), "strong-bad", "email.example.com", "mx.example.org", "email.example.com")


@pytest.mark.parametrize(
    ("record", "is_one"),
    [
        pytest.param(b"v=spf1", True, id="the version alone"),
        pytest.param(b"V=sPf1 -all", True, id="in any letters"),
        pytest.param(b"v=spf10", False, id="another version"),
        pytest.param(b"v=spf1\t-all", False, id="a tab is no space"),
        pytest.param(b" v=spf1 -all", False, id="not at the beginning"),
        pytest.param(b"", False, id="an empty record"),
        pytest.param("v=spf1", False, id="no octets at all"),
    ],
)
def test_a_record_is_known_by_its_version(record: object, is_one: bool) -> None:
    assert bool(select([record])) is is_one


def test_a_record_is_read() -> None:
    record = parse(b"v=spf1 a mx/24//64 ~IP4:192.0.2.0/24 ?include:_spf.%{d2} exists:x.test foo=a:b redirect=y.test exp=%{i}.z.test")
    assert [(one.name, one.result) for one in record.mechanisms] == [
        ("a", Result.PASS),
        ("mx", Result.PASS),
        ("ip4", Result.SOFTFAIL),
        ("include", Result.NEUTRAL),
        ("exists", Result.PASS),
    ]
    assert (record.mechanisms[1].length4, record.mechanisms[1].length6) == (24, 64)
    assert record.mechanisms[2].text == "~IP4:192.0.2.0/24"
    assert expand_name(record.redirect, FACTS) == "y.test"
    assert expand_name(record.explanation, FACTS) == "192.0.2.3.z.test"


@pytest.mark.parametrize(
    "term",
    [
        "all:x",
        "+-all",
        "a:",
        "a:%%_",
        "a:x}",
        "ip4:192.0.2.1/",
        "ip4:192.0.2.1/+8",
        "ip4:192.0.2.01",
        "ip4: 192.0.2.1",
        "ip6:fe80::1%25eth0",
        "ip6:::/0128",
        "include:x.test/24",
        "exists:%{d}x",
        "a/1/2",
        "a//1/2",
        "mx:x.test//",
        "redirect=",
        "exp=x",
        "=x",
        "-",
        "a:x.test\x7f",
        "foo=%",
        "ptr/8",
        "a:%{d0}",
        "a:%{t}",
    ],
)
def test_a_fault_anywhere_refuses_the_record(term: str) -> None:
    with pytest.raises(RecordError):
        parse(b"v=spf1 -all " + term.encode())


def test_an_address_where_a_name_belongs_is_told() -> None:
    with pytest.raises(RecordError, match="ip4: was meant"):
        parse(b"v=spf1 a:192.0.2.1")


@pytest.mark.parametrize(
    ("text", "made"),
    [
        # The examples of RFC 7208 §7.4, and its rules.
        ("%{s}", "strong-bad@email.example.com"),
        ("%{d4}", "email.example.com"),
        ("%{d1}", "com"),
        ("%{dr}", "com.example.email"),
        ("%{d2r}", "example.email"),
        ("%{l-}", "strong.bad"),
        ("%{lr-}", "bad.strong"),
        ("%{l1r-}", "strong"),
        ("%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com"),
        ("%{lr-}.lp.%{ir}.%{v}._spf.%{d2}", "bad.strong.lp.3.2.0.192.in-addr._spf.example.com"),
        ("%{p}", "unknown"),
        ("%{S}", "strong-bad%40email.example.com"),
        ("%%-%_-%-", "%- -%20"),
        ("%{d99999999999999999999}", "email.example.com"),
    ],
)
def test_macros_stand_for_facts(text: str, made: str) -> None:
    assert expand(parse_explanation(text), FACTS) == made


def test_ipv6_stands_as_nibbles() -> None:
    name = expand_name(parse_domain_spec("%{ir}.%{v}._spf.%{d2}"), SIX)
    assert name == "1.0.B.C.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.B.D.0.1.0.0.2.ip6._spf.example.com"


def test_receiver_and_time_stand_in_explanations_only() -> None:
    assert expand(parse_explanation("%{r} %{t} %{c}"), FACTS) == "mx.receiver.test 1700000000 192.0.2.3"
    for letter in "rtc":
        with pytest.raises(MacroError):
            parse_domain_spec(f"%{{{letter}}}.test")


@pytest.mark.parametrize(("length", "kept"), [(253, 253), (254, 252), (600, 252)])
def test_a_long_name_loses_labels_from_the_left(length: int, kept: int) -> None:
    name = ("a." * length)[-length:-1] + "z"
    assert len(name) == length
    short = shorten(name)
    assert name.endswith(short)
    assert len(short) in {kept, kept + 1}
    assert len(short) <= DNS_NAME_MAX


def test_a_local_part_outside_ascii_makes_no_name() -> None:
    facts = Facts(FACTS.client, "bücher", "email.example.com", "mx.example.org", "email.example.com")
    for text in ("%{l}.test", "%{s}", "a.%{L1r-}"):
        with pytest.raises(UnspeakableError):
            expand_name(parse_domain_spec(text), facts)
    assert expand_name(parse_domain_spec("%{o}"), facts) == "email.example.com"


# ---- cost ----

HEAD = b"v=spf1 "
FULL = SPF_RECORD_OCTETS - len(HEAD)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"a " * (FULL // 2), id="four thousand terms"),
        pytest.param(b"a:" + b"%{d}" * (FULL // 4 - 1), id="two thousand macros"),
        pytest.param(b"a:" + b"%{l" + b".-+" * (FULL // 3 - 3) + b"}", id="a macro of delimiters"),
        pytest.param(b"a:" + b"%{l" + b"9" * (FULL - 6) + b"}", id="a macro of digits"),
        pytest.param(b"a:" + b"a-" * (FULL // 2 - 3) + b".a", id="hyphens"),
        pytest.param(b"a:x." + b"1-" * (FULL // 2 - 3), id="a top label of digits and hyphens"),
        pytest.param(b"a" + b"/1" * (FULL // 2 - 1), id="slashes"),
        pytest.param(b"a" * FULL, id="one long name"),
        pytest.param(b"x=" + b"%" * (FULL - 2), id="percent signs"),
    ],
)
def test_the_worst_record_costs_little(body: bytes) -> None:
    start = time.process_time()
    try:
        record = parse(HEAD + body)
        for mechanism in record.mechanisms:
            assert len(expand_name(mechanism.domain, FACTS)) <= DNS_NAME_MAX if mechanism.domain else True
    except RecordError:
        pass
    assert time.process_time() - start < 0.25


def test_a_longer_record_is_refused_unread() -> None:
    with pytest.raises(RecordError, match="too long"):
        parse(HEAD + b" " * SPF_RECORD_OCTETS)


def test_an_expansion_is_bounded() -> None:
    template = parse_explanation("%{s}" * 2000)
    facts = Facts(FACTS.client, "x" * 64, "y" * 250, "h", "d.test")
    tracemalloc.start()
    assert len(expand(template, facts)) == SPF_TEXT_OCTETS
    assert tracemalloc.get_traced_memory()[1] < 256 * 1024
    tracemalloc.stop()
