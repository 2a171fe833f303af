# SPDX-License-Identifier: Apache-2.0
"""A stranger who makes every check ask as much as it may cannot keep another check from its answer: else the author's policy would not count."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from moatmail.core.address import parse_mailbox
from moatmail.core.envelope import Envelope, Recipient
from moatmail.core.limits.mailauth import ARC_INSTANCES_MAX, DKIM_SIGNATURES_MAX
from moatmail.core.transaction import Session, Transaction
from moatmail.crypto.seal import new_id
from moatmail.mailauth.arc import check_arc
from moatmail.mailauth.arc_seal import Statement, seal
from moatmail.mailauth.sign import key_record, load_signing_key, new_key
from moatmail.mailauth.signed import read_message
from moatmail.mailbox.incoming import Incoming
from moatmail.mailbox.keep_everything import KeepEverything
from moatmail.net.resolver_cache import CachingResolver
from moatmail.net.resolver_table import TableResolver, Zone
from moatmail.policy import order, pipeline
from moatmail.policy.stage import Phase, Tools
from moatmail.store.content import ContentFiles
from tests.store_contract.given import StandingClock

NOW: Final = 1_800_000_000.0
BODY: Final = b"send money\r\n"
PRIVATE: Final = new_key("ed25519")
SEALERS: Final = [load_signing_key("evil.test", f"a{number}", PRIVATE) for number in range(ARC_INSTANCES_MAX)]
HOSTS: Final = [(term, host) for term in range(10) for host in range(10)]
ZONE: Final[Zone] = {
    "victim.test": {"TXT": ["v=spf1 " + " ".join(f"include:s{n}.victim.test" for n in range(10)) + " -all"]},
    **{f"s{n}.victim.test": {"TXT": ["v=spf1 ip4:198.51.100.1 -all"]} for n in range(10)},
    "_dmarc.victim.test": {"TXT": ["v=DMARC1; p=reject"]},
    # As many questions as SPF and iprev may ask.
    "helo.evil.test": {"TXT": ["v=spf1 " + " ".join(f"mx:m{term}.evil.test" for term in range(10)) + " -all"]},
    **{f"m{term}.evil.test": {"MX": [(10, f"h{host}.m{term}.evil.test") for host in range(10)]} for term in range(10)},
    **{f"h{host}.m{term}.evil.test": {"A": ["203.0.113.7"]} for term, host in HOSTS},
    "1.2.0.192.in-addr.arpa": {"PTR": [f"p{number}.evil.test" for number in range(10)]},
    **{f"p{number}.evil.test": {"A": ["203.0.113.8"]} for number in range(10)},
    **{key_record(one).name: {"TXT": [key_record(one).text]} for one in SEALERS},
}


def signatures() -> bytes:
    common = "a=ed25519-sha256; d=evil.test; t=1799999999; b=AAAA"
    return "".join(f"DKIM-Signature: v=1; s=k{n}; {common}; h=from; bh=AAAA; c=relaxed/relaxed\r\n" for n in range(DKIM_SIGNATURES_MAX)).encode()


async def sealed(header: bytes) -> bytes:
    """Give the header under as long a chain as there may be, a key of its own for every set: it holds, so that all of them are asked for."""
    for key in SEALERS:
        message = read_message(header, (BODY,))
        found = await check_arc(TableResolver(ZONE), message)
        header = seal(message, (BODY,), key, found, Statement(b"evil.test", b"none", int(NOW))) + header
    return header


async def test_every_check_at_its_limit_leaves_the_others_theirs(tmp_path: Path) -> None:
    tmp_path.joinpath("content").mkdir()
    incoming = Incoming(new_id(int(NOW * 1000)), ContentFiles(tmp_path), watched=True)
    header = signatures() + b"From: ceo@victim.test\r\nTo: ann@example.test\r\nDate: Fri, 15 Jan 2027 08:00:00 +0000\r\n\r\n"
    incoming.feed(await sealed(header) + BODY)
    incoming.finish()
    view = CachingResolver(TableResolver(ZONE), StandingClock()).for_message()
    envelope = Envelope(parse_mailbox(b"ceo@victim.test", utf8=True), (Recipient(parse_mailbox(b"ann@example.test", utf8=True)),))
    session = Session("1", "mx", "192.0.2.1", 25, helo_name="helo.evil.test")
    transaction = Transaction(session, envelope, NOW, incoming)
    judged = await pipeline.run(order.RECEIVE, Phase.DATA, transaction, Tools(KeepEverything(), view, "mx.example.test"))
    incoming.abandon()
    found = {finding.name: finding for finding in judged.findings}
    assert len(view.lookups) > 200
    assert found["arc.pass"].evidence["instances"] == str(ARC_INSTANCES_MAX)
    assert not any(finding.temporary for finding in judged.findings), found
    assert found["dmarc.fail"].evidence["disposition"] == "reject"
