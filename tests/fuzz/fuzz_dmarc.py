# SPDX-License-Identifier: Apache-2.0
"""Invariant: any octets as From fields and as policies end in a result after few questions, an author's domain is written there, and nobody else passes for it.

Obeys RFC 9989 §4 and §5, RFC 5322 §3.4; started as tests/fuzz/harness.py says.
Must never know how fields and records are read.
"""

from __future__ import annotations

import asyncio
from random import Random

from moatmail.core.limits.mailauth import DMARC_QUESTIONS_MAX, DMARC_URIS_MAX
from moatmail.core.ports.resolver import Answer
from moatmail.mailauth.dmarc.author import Author, author_of, find_author
from moatmail.mailauth.dmarc.check import DKIMIdentity, SPFIdentity, check_dmarc
from moatmail.mailauth.dmarc.consent import report_addresses
from moatmail.mailauth.dmarc.record import Policy, is_record, parse_record
from moatmail.mailauth.result import Result
from moatmail.message.header import Header
from moatmail.net.questions import Questions
from tests.fuzz.harness import Target, changed, joined

EVIL = "evil.example"
SEEDS = (
    b"From: Carol <carol@shop.good.example>\r\n",
    b'From: "a \\" b" (c (d) \\) e) <@x.example,@y.example:carol . x@good . example>\r\n',
    b"From: group: a@good.example, b@evil.example;, =?utf-8?q?x=40y?= <c@good.example>\r\n",
    "\x01From : ü@bücher.example\r\nFrom\r\n : <a@evil.example>\r\n".encode(),
    b"v=DMARC1; p=reject; sp=quarantine; np=none; psd=n; t=y; adkim=s; aspf=r\r\n",
    b"v=DMARC1; p=none; psd=y; rua=mailto:a@evil.example!10m, mailto:b%40c@good.example?x=y; ruf=mailto:c@d.test; fo=1:d\r\n",
    b"V = DMARC1 ; p=x ; p=y ;;; =;\r\n",
)
TOKENS = (
    *(b"\r\n", b"\n ", b"\r", b"\0", b"\xff", b"\xc2\xa0", b" ", b"\t", b"(", b")", b"<", b">", b'"', b"\\", b",", b";", b":", b"@", b".", b"[", b"]"),
    *(b"=", b"=?", b"?=", b"!", b"%", b"%00", b"From:", b"from", b"evil.example", b"good.example", b"a@evil.example", b"mailto:"),
    *(b"v=DMARC1;", b"p=none", b"psd=y", b"psd=n", b"np=reject", b"x." * 9),
)
_LOOP = asyncio.new_event_loop()  # one for all inputs: making loops would take the time


class Everywhere(Questions):
    """Has the input for a policy at every name but the stranger's, who is an organization of its own."""

    def __init__(self, text: bytes) -> None:
        self.text = text
        self.asked: set[tuple[str, str]] = set()

    async def ask(self, kind: str, name: str) -> Answer:
        self.asked.add((kind, name))
        return Answer((b"v=DMARC1; p=none; psd=n" if name == f"_dmarc.{EVIL}" else self.text,))


def is_evil(domain: str) -> bool:
    return ("." + domain).endswith("." + EVIL)


def check_author(author: Author, written: bytes) -> None:
    """The domain of an author is made of what is written."""
    if author.domain is None:
        assert author.problem is not None or not author.domains
        return
    assert author.domain == author.domain.lower()
    assert author.domain.isascii()
    assert all(label.encode() in written or label.startswith("xn--") for label in author.domain.split(".")), author


async def judge(data: bytes, author: Author) -> None:
    """Let a stranger pass, whatever policies say."""
    resolver = Everywhere(data)
    found = await check_dmarc(resolver, author, [SPFIdentity("m." + EVIL, Result.PASS)], [DKIMIdentity(EVIL, Result.PASS)])
    assert found.result in {Result.PASS, Result.FAIL, Result.NONE}
    if found.result is Result.PASS:
        assert found.author_domain is not None
        assert is_evil(found.author_domain), found
    assert found.disposition is Policy.NONE or found.result is Result.FAIL
    assert found.disposition.strength <= found.policy.strength
    assert len({name for kind, name in resolver.asked if kind == "TXT"}) <= 3 * DMARC_QUESTIONS_MAX
    if found.record is not None and found.policy_domain is not None:
        places = await report_addresses(resolver, found.policy_domain, found.record)
        assert max(len(places.aggregate), len(places.failure)) <= DMARC_URIS_MAX
        assert not any(set(one.uri) & set("\0\r\n ,") for one in (*places.aggregate, *places.failure))


def check(data: bytes) -> None:
    """Read `data` as a header, as From fields and as a policy, and check the invariant."""
    written = data.lower()
    authors = [find_author(Header(data + b"\r\n\r\n")), *(author_of([line]) for line in data.split(b"\r\n")[:4])]
    for author in authors:
        check_author(author, written)
    assert author_of([data, data]).domain is None
    for text in (data, b"v=DMARC1; p=reject; " + data):
        if is_record(text):
            record = parse_record(text)
            assert record == parse_record(bytes(text))
            assert record.usable or record.p is Policy.NONE
        for author in (*authors[:2], author_of([b"x@a.b.good.example"]), author_of([b"x@a.evil.example"])):
            _LOOP.run_until_complete(judge(text, author))


def mutate(random: Random) -> bytes:
    """Make an input from the seeds: joined, cut, overwritten."""
    return changed(random, joined(random, SEEDS, 3), TOKENS)


TARGET = Target(check, mutate, SEEDS)

if __name__ == "__main__":
    TARGET.main()
