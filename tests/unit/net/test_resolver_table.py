# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from moatmail.core.ports.resolver import Answer, DNSError, Resolver
from moatmail.net.resolver_table import TableResolver, Zone

ZONE: Zone = {
    "example.test": {"MX": [[10, "MX1.example.test."], [20, "mx2.example.test"]], "TXT": [["v=spf1 ", "-all"], "plain"], "A": ["192.0.2.1"]},
    "mx1.example.test": {"A": ["192.0.2.1"], "AAAA": ["2001:db8::1"]},
    "mx2.example.test": {"A": "SERVFAIL", "AAAA": ["2001:db8::2"]},
    "mx3.example.test": {"A": "TIMEOUT"},
    "null.test": {"MX": [[0, "."]]},
    "gone.test": "NXDOMAIN",
    "broken.test": "SERVFAIL",
    "slow.test": "TIMEOUT",
    "partly.test": {"MX": "SERVFAIL", "A": ["192.0.2.7"]},
    "deep.below.test": {"A": ["192.0.2.8"]},
    "*.wild.test": {"MX": [[5, "mx.wild.test"]]},
    "known.wild.test": {"A": ["192.0.2.9"]},
    "alias.test": {"CNAME": ["mx1.example.test"]},
    "dangling.test": {"CNAME": ["nowhere.test"]},
    "loop.test": {"CNAME": ["loop.test"]},
    "octets.test": {"TXT": [b"\xff\x00", [b"\x80", "a"]]},
    "4.2.0.192.in-addr.arpa": {"PTR": ["MAIL.example.test."]},
}
NONE = Answer(exists=False)


@pytest.mark.parametrize(
    ("kind", "name", "answer"),
    [
        ("mx", "example.test", Answer(((10, "mx1.example.test"), (20, "mx2.example.test")))),
        ("mx", "EXAMPLE.Test.", Answer(((10, "mx1.example.test"), (20, "mx2.example.test")))),
        ("txt", "example.test", Answer((b"v=spf1 -all", b"plain"))),
        ("addresses", "mx1.example.test", Answer(("192.0.2.1", "2001:db8::1"))),
        ("addresses", "mx2.example.test", Answer(("2001:db8::2",))),
        ("mx", "null.test", Answer(((0, ""),))),
        ("mx", "mx1.example.test", Answer()),
        ("mx", "below.test", Answer()),
        ("mx", "gone.test", NONE),
        ("addresses", "gone.test", NONE),
        ("txt", "never.heard.of.test", NONE),
        ("mx", "any.wild.test", Answer(((5, "mx.wild.test"),))),
        ("mx", "a.b.wild.test", Answer(((5, "mx.wild.test"),))),
        ("mx", "known.wild.test", Answer()),
        ("mx", "under.known.wild.test", NONE),
        ("addresses", "alias.test", Answer(("192.0.2.1", "2001:db8::1"))),
        ("addresses", "dangling.test", NONE),
        ("addresses", "partly.test", Answer(("192.0.2.7",))),
        ("txt", "octets.test", Answer((b"\xff\x00", b"\x80a"))),
        ("ptr", "4.2.0.192.in-addr.arpa", Answer(("mail.example.test",))),
        ("a", "mx1.example.test", Answer(("192.0.2.1",))),
        ("aaaa", "mx1.example.test", Answer(("2001:db8::1",))),
    ],
    ids=[
        "MX in order, lower-case, without the last dot",
        "names are asked in any letters, with or without the last dot",
        "parts of a TXT record are joined",
        "both kinds of address",
        "one kind of address, the other failing",
        "null MX",
        "a name without the type exists",
        "a name with names below exists",
        "NXDOMAIN",
        "NXDOMAIN for addresses",
        "not in the table",
        "wildcard",
        "wildcard over several labels",
        "a known name hides the wildcard",
        "and so do names below it",
        "CNAME",
        "CNAME to nowhere",
        "a failing type beside one that answers",
        "TXT records of any octets",
        "PTR, lower-case, without the last dot",
        "A alone",
        "AAAA alone",
    ],
)
async def test_the_table_answers(kind: str, name: str, answer: Answer) -> None:
    resolver: Resolver = TableResolver(ZONE)
    assert await getattr(resolver, kind)(name) == answer


@pytest.mark.parametrize(
    ("kind", "name"),
    [("mx", "broken.test"), ("txt", "slow.test"), ("mx", "partly.test"), ("addresses", "mx3.example.test"), ("addresses", "loop.test"), ("mx", "loop.test")],
)
async def test_a_failure_is_a_temporary_error(kind: str, name: str) -> None:
    with pytest.raises(DNSError):
        await getattr(TableResolver(ZONE), kind)(name)


async def test_the_table_may_claim_dnssec() -> None:
    assert (await TableResolver(ZONE, authentic=True).mx("example.test")).authentic


def case_zones() -> list[Path]:
    root = Path(__file__).resolve().parents[3]
    return sorted((Path(os.environ.get("MOATMAIL_TEST_DATA", root / "../shared/data")).parent / "cases").glob("*/*/zone.json"))


@pytest.mark.skipif(not case_zones(), reason="no case bank here")
async def test_the_zones_of_the_case_bank_are_understood() -> None:
    for path in case_zones():
        zone = json.loads(path.read_text())
        resolver = TableResolver(zone)
        for name, types in zone.items():
            for kind, ask in (("MX", resolver.mx), ("TXT", resolver.txt), ("A", resolver.addresses)):
                if isinstance(types, dict) and isinstance(types.get(kind), list):
                    assert len((await ask(name)).records) == len(types[kind]), (path, name)
