# SPDX-License-Identifier: Apache-2.0
"""Invariant: any octets as an SPF record are read or refused, what is read makes names that a resolver can be asked, and a check with it ends with a result.

Obeys RFC 7208; started as tests/fuzz/harness.py says.
Must never know how records are read.
"""

from __future__ import annotations

import asyncio
from random import Random

from moatmail.core.address import Address
from moatmail.core.limits.mailauth import DNS_NAME_MAX, SPF_EXPLANATION_MAX
from moatmail.mailauth.iprev import client_address
from moatmail.mailauth.result import Result
from moatmail.mailauth.spf.check import SPFClient, check_mail_from
from moatmail.mailauth.spf.macro import Facts, MacroError, expand, expand_name, parse_explanation
from moatmail.mailauth.spf.record import RecordError, parse, select
from moatmail.net.resolver_table import TableResolver, Zone
from tests.fuzz.harness import Target, changed, joined

SEEDS = (
    b"v=spf1 a mx/24//64 ip4:192.0.2.0/24 ip6:2001:db8::/32 include:b.test exists:%{ir}.%{v}.b.test ptr:b.test ~all",
    b"v=spf1 redirect=%{d2}.b.test exp=why.b.test x-y=%{i} -exists:%{l1r+-}.%{o}",
    b"v=spf1 a:%{p}.b.test ?mx:b.test/0 -include:%{H} +ptr -all exp=%{s}",
    b"See http://b.test/?i=%{C}&s=%{S} %_ %- %% at %{t} by %{r}",
)
TOKENS = (b" ", b"%", b"%{", b"}", b"{", b":", b"/", b"//", b"=", b".", b"-", b"+", b"_", b"0", b"9", b"r", b"a", b"all", b"redirect=", b"exp=", b"\0", b"\xff")
FACTS = Facts(client_address("2001:db8::4"), "ann+tag", "a.test", "mx.a.test", "a.test", "mx.receiver.test", 1)
CLIENT = SPFClient("192.0.2.4", "mx.a.test", "mx.receiver.test", 1)


def check(data: bytes) -> None:
    """Read `data` as a record and as an explanation, and check the invariant."""
    check_text(data)
    check_record(data)
    if not select([data]):  # a fuzzer has no need to find the version first
        check_record(b"v=spf1 " + data)


def check_record(data: bytes) -> None:
    """Read `data` as a record, and let a check meet it."""
    for record in select([data]):
        try:
            read = parse(record)
        except RecordError:
            continue
        for template in (read.redirect, read.explanation, *(one.domain for one in read.mechanisms)):
            name = expand_name(template, FACTS)
            assert len(name) <= DNS_NAME_MAX
            assert name.isascii()
    zone: Zone = {"a.test": {"TXT": [data]}, "b.test": {"TXT": [data], "A": ["192.0.2.9"], "MX": [[1, "b.test"]]}, "why.b.test": {"TXT": [data]}}
    found = asyncio.run(check_mail_from(TableResolver(zone), CLIENT, Address("ann+tag", "a.test")))
    assert found.result in set(Result)
    assert len(found.lookups) < 200
    assert all(text.isascii() and (not text or text.isprintable()) and len(text) <= SPF_EXPLANATION_MAX for text in (found.problem, found.explanation))
    assert all(step.term.isascii() and (not step.term or step.term.isprintable()) for step in found.steps)


def check_text(data: bytes) -> None:
    """Read `data` as an explanation."""
    try:
        expand(parse_explanation(data.decode("latin-1")), FACTS)
    except MacroError:
        return


def mutate(random: Random) -> bytes:
    """Make an input from the seeds: cut, overwritten, grown; the version stays."""
    return changed(random, joined(random, SEEDS, 1), TOKENS, 7)


TARGET = Target(check, mutate)

if __name__ == "__main__":
    TARGET.main()
