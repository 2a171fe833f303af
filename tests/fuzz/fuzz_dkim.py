# SPDX-License-Identifier: Apache-2.0
"""Invariant: any octets as a message are verified without an exception, nothing is asked that is no DNS name, and nothing passes that was not signed.

Obeys RFC 6376, RFC 8617; started as tests/fuzz/harness.py says.
Must never know how signatures are read.
"""

from __future__ import annotations

import asyncio
from random import Random

from moatmail.core.limits.mailauth import DKIM_SIGNATURES_MAX
from moatmail.core.ports.resolver import Answer
from moatmail.mailauth.arc import check_arc
from moatmail.mailauth.canonical import BodyForm, BodyHashes, Canonicalization
from moatmail.mailauth.dkim import check_dkim
from moatmail.mailauth.dkim_key import parse_key
from moatmail.mailauth.dns_name import is_question
from moatmail.mailauth.result import Result
from moatmail.mailauth.signed import read_message
from moatmail.mailauth.tags import TagError, Tags
from moatmail.net.resolver_table import TableResolver
from tests.fuzz.harness import Target, changed, joined

SEEDS = (
    b"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/simple; d=example.org; s=s1;\r\n\th=from : to:from; l=5; t=1; x=2;\r\n bh=AAAA; b=AAAA BBBB\r\n",
    b"DKIM-Signature: v=1; a=rsa-sha1; d=example.org; s=a.b; i=@a.example.org; q=dns/txt; h=from; bh=; b=\r\n",
    b"ARC-Seal: i=1; a=ed25519-sha256; cv=none; d=one.example; s=a; t=1740000000; b=AAAA\r\n",
    b"ARC-Message-Signature: i=1; a=rsa-sha256; c=relaxed/relaxed; d=one.example; s=a; h=from:subject; bh=AAAA; b=AAAA\r\n",
    b"ARC-Authentication-Results: i=1; mx.example; spf=pass\r\n",
    "DKIM-Signature: v=1; a=rsa-sha256; d=bücher.example; s=schlüssel; i=ü@bücher.example; h=from; bh=AAAA; b=AAAA\r\n".encode(),
    b"From: a@example.org\r\nSubject: x\r\n",
    b"\r\nbody \t \r\n \r\n\r\n",
    b"v=DKIM1; k=rsa; t=y:s; s=email:*; h=sha256; n=x; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQ",
)
_LOOP = asyncio.new_event_loop()  # one for all inputs: making loops would take the time
TOKENS = (
    b"\r\n",
    b"\n ",
    b"\r",
    b";",
    b"=",
    b":",
    b"/",
    b"@",
    b".",
    b"..",
    b"i=2",
    b"i=50",
    b"cv=pass",
    b"p=",
    b"l=0",
    b"h=",
    b"\0",
    b"\xff",
    b"  ",
    b"\t",
    b"xn--",
)


class Strict(TableResolver):
    """Holds no record, and takes no question that the DNS could not be asked."""

    async def ask(self, kind: str, name: str) -> Answer:
        assert kind == "TXT"
        assert is_question(name), name
        assert not set(name) & set("\0\r\n\t \"'();\\"), name
        return await super().ask(kind, name)


async def judge(data: bytes) -> None:
    """Verify `data` as a message."""
    header, line, body = data.partition(b"\r\n\r\n")
    message = read_message(header + line, [body[:7], body[7:]])
    resolver = Strict({})
    found = await check_dkim(resolver, message, 1_740_000_000)
    assert len(found) <= DKIM_SIGNATURES_MAX
    for one in found:
        assert one.result is not Result.PASS
        assert one.reason
        assert not one.domain or is_question(one.domain)
        assert not one.selector or is_question(one.selector)
        assert not set(one.identity + one.domain + one.selector) & set("\0\r\n\t "), one
    chain = await check_arc(resolver, message)
    assert chain.result in {Result.NONE, Result.FAIL}


def check(data: bytes) -> None:
    """Read `data` as a message, a tag list, a key record and a body, and check the invariant."""
    _LOOP.run_until_complete(judge(data))
    try:
        tags = Tags(data)
    except TagError:
        pass
    else:
        for name, (start, end) in tags.places.items():
            assert data[start:end].strip(b" \t\r\n") == tags.values[name]
            assert len(tags.without(name)) == len(data) - (end - start)
    key = parse_key(data)
    assert bool(key.problem) is (key.public is None)
    check_body(data)


def check_body(data: bytes) -> None:
    """Cut a body in two ways, and compare its hashes."""
    wanted = [BodyForm(form, length) for form in Canonicalization for length in (None, 3)]
    whole, pieces = BodyHashes(wanted), BodyHashes(wanted)
    whole.feed(data)
    size = 5 + len(data) // 100
    for start in range(0, len(data), size):
        pieces.feed(data[start : start + size])
    for one in wanted:
        assert whole.digest(one) == pieces.digest(one)


def mutate(random: Random) -> bytes:
    """Make an input from the seeds: joined, cut, overwritten."""
    return changed(random, joined(random, SEEDS, 7), TOKENS)


TARGET = Target(check, mutate)

if __name__ == "__main__":
    TARGET.main()
