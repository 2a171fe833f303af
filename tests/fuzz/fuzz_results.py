# SPDX-License-Identifier: Apache-2.0
"""Invariant: of any header no field is left that our own reader takes for ours, others stay octet for octet, and no stranger's word changes our own field.

Obeys RFC 8601 §2.2, §5; started as tests/fuzz/harness.py says.
Must never know how a claim is found.
"""

from __future__ import annotations

import re
from random import Random

from moatmail.core.limits.mailauth import RESULTS_FIELDS_MAX, RESULTS_LINE_OCTETS
from moatmail.mailauth import results
from moatmail.mailauth.arc import ARCResult
from moatmail.mailauth.arc_seal import own_results, own_verdict
from moatmail.mailauth.dkim import DKIMResult
from moatmail.mailauth.dmarc.check import DMARCResult
from moatmail.mailauth.iprev import IprevResult
from moatmail.mailauth.result import Result
from moatmail.mailauth.signed import SignedMessage
from moatmail.mailauth.spf.check import SPFIdentity, SPFResult
from moatmail.message.header import Header
from tests.fuzz.harness import Target, changed, joined

ID = "mx.moat.example"
SEEDS = (
    b"Authentication-Results: mx.moat.example; dmarc=pass header.from=victim.example\r\n",
    b"AUTHENTICATION-results : (from (in) \\) us) Mx.Moat.Example. 1;\r\n\tspf=pass\r\n",
    b'Authentication-Results:\r\n "mx.moat.example"; none\r\n',
    b"Authentication-Results: =?utf-8?q?mx.moat.example=3B_dkim=3Dpass?=\r\n",
    b"Authentication-Results: mx.other.example (mx.moat.example); dkim=fail header.d=a.example\r\n",
    b"ARC-Authentication-Results: i=1; mx.moat.example; arc=pass\r\n",
    b"[IPv6:2001:db8::1%eth0]",
    b"[192.0.2.1]",
    "\x01Authentication-Results: mx.mo\u00adat.example; x\r\n".encode(),
    b"Subject: x\r\n Authentication-Results: mx.moat.example; x\r\nFrom: a@b.example\r\n",
)
TOKENS = (
    b"(",
    b")",
    b'"',
    b"\\",
    b";",
    b"=",
    b".",
    b" ",
    b"\r\n ",
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b"\x01",
    b"\xff",
    b"=?",
    b"?=",
    b":",
    b"mx.moat.example",
    b"-",
    b"1",
)
PLAIN = re.compile(rb"(?:Authentication-Results:|\t)[ -~]+")
VALUE = re.compile(r'[a-z]+\.[a-z-]+=(?:@?[A-Za-z0-9._+-]+|"[A-Za-z0-9.:/+=\[\]]+")')


def check(data: bytes) -> None:
    """Take `data` for a header, and for the words of a stranger."""
    check_header(data)
    check_words(data.decode("utf-8", "surrogateescape"))


def check_header(block: bytes) -> None:
    """Remove what claims to be ours, and look at what is left."""
    left = results.remove_foreign(block, ID)
    assert own_results(SignedMessage(Header(left)), ID.encode()) == b""
    assert left is block or len(left) < len(block)
    kept = [one for one in _fields(block) if one[0] != b"authentication-results"]
    assert [one for one in _fields(left) if one[0] != b"authentication-results"] == kept
    assert Header(left).count(b"authentication-results") <= RESULTS_FIELDS_MAX


def _fields(block: bytes) -> list[tuple[bytes, bytes]]:
    header = Header(block)
    return [(name, block[start:end]) for name, (_, start, end) in zip(header.names, header.spans, strict=True)]


def check_words(text: str) -> None:
    """Let every result carry `text` wherever a stranger chooses, and read our field."""
    found = DKIMResult(Result.FAIL, text, text, text, f"{text}@{text}", text, text)
    methods = [
        results.of_iprev(IprevResult(Result.FAIL, text)),
        results.of_spf(SPFResult(Result.NEUTRAL, SPFIdentity.HELO, text, text, problem=text, explanation=text)),
        results.of_dkim(found),
        results.of_arc(ARCResult(Result.FAIL, text), text),
        results.of_dmarc(DMARCResult(Result.FAIL, text), text),
    ]
    field = results.compose(ID, methods)
    lines = field.split(b"\r\n")
    assert lines.pop() == b""
    for line in lines:
        assert PLAIN.fullmatch(line), line
        assert len(line) <= RESULTS_LINE_OCTETS or b" " not in line, line
    said = own_results(SignedMessage(Header(field)), ID.encode())
    assert own_verdict(said) is Result.FAIL
    statements = said.decode().split("; ")
    assert [one.split(" ", 1)[0] for one in statements] == ["iprev=fail", "spf=neutral", "dkim=fail", "arc=fail", "dmarc=fail"]
    for statement in statements:
        words = re.sub(r'\([^()]*\)|reason="[^"]*"', "", statement).split()[1:]
        assert all(VALUE.fullmatch(word) for word in words), statement


def mutate(random: Random) -> bytes:
    """Make an input from the seeds: joined, cut, overwritten."""
    return changed(random, joined(random, SEEDS, 4), TOKENS)


TARGET = Target(check, mutate, SEEDS)

if __name__ == "__main__":
    TARGET.main()
