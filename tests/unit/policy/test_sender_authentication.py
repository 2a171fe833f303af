# SPDX-License-Identifier: Apache-2.0
"""The stages of sender authentication: what they find, which facts they pass on, and what a name service that is away makes of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from moatmail.core.address import Address, parse_mailbox
from moatmail.core.envelope import Envelope, Recipient
from moatmail.core.limits.mailbox import MEMORY_MAX
from moatmail.core.ports.resolver import Answer, DNSError
from moatmail.core.transaction import Session, Transaction
from moatmail.core.verdict import Finding
from moatmail.crypto.seal import new_id
from moatmail.mailauth.arc import ARCResult, check_arc
from moatmail.mailauth.arc_seal import Statement, seal
from moatmail.mailauth.sign import SigningKey, key_record, load_signing_key, new_key, sign
from moatmail.mailauth.signed import read_message
from moatmail.mailbox.incoming import Incoming
from moatmail.mailbox.keep_everything import KeepEverything
from moatmail.message.header import Header
from moatmail.net.questions import Questions
from moatmail.net.resolver_table import TableResolver, Zone
from moatmail.policy import order, pipeline
from moatmail.policy.stage import Phase, Tools
from moatmail.policy.stages.arc import passed_author
from moatmail.store.content import ContentFiles

NOW = 1_800_000_000.0
KEY: SigningKey = load_signing_key("friend.test", "s1", new_key("ed25519"))
LISTS: SigningKey = load_signing_key("list.test", "s1", new_key("ed25519"))
ZONE: Zone = {
    "1.2.0.192.in-addr.arpa": {"PTR": ["mail.friend.test"]},
    "mail.friend.test": {"A": ["192.0.2.1"], "TXT": ["v=spf1 a -all"]},
    "friend.test": {"TXT": ["v=spf1 ip4:192.0.2.1 -all"]},
    "_dmarc.friend.test": {"TXT": ["v=DMARC1; p=reject; rua=mailto:r@friend.test"]},
    "s1._domainkey.friend.test": {"TXT": [key_record(KEY).text]},
    "s1._domainkey.list.test": {"TXT": [key_record(LISTS).text]},
}
HEADER = b"From: Carol <carol@friend.test>\r\nTo: ann@example.test\r\nSubject: hello\r\nDate: Fri, 15 Jan 2027 08:00:00 +0000\r\n\r\n"


class Away(Questions):
    """A name service that never answers."""

    async def ask(self, kind: str, name: str) -> Answer:
        raise DNSError(f"{kind} {name}: no answer")


def signed(body: bytes, header: bytes = HEADER) -> bytes:
    return sign(Header(header), (body,), [KEY], now=int(NOW)) + header + body


async def judge(
    folder: Path, message: bytes, *, ip: str = "192.0.2.1", sender: str | None = "carol@friend.test", away: bool = False
) -> dict[str, list[Finding]]:
    folder.joinpath("content").mkdir(exist_ok=True)
    incoming = Incoming(new_id(int(NOW * 1000)), ContentFiles(folder), watched=True)
    for start in range(0, len(message), 50_000):
        incoming.feed(message[start : start + 50_000])
    incoming.finish()
    path: Address | None = parse_mailbox(sender.encode(), utf8=True) if sender else None
    envelope = Envelope(path, (Recipient(parse_mailbox(b"ann@example.test", utf8=True)),))
    session = Session("1", "mx", ip, 25, helo_name="mail.friend.test")
    tools = Tools(KeepEverything(), Away() if away else TableResolver(ZONE), "mx.example.test")
    judged = await pipeline.run(order.RECEIVE, Phase.DATA, Transaction(session, envelope, NOW, incoming), tools)
    incoming.abandon()
    found: dict[str, list[Finding]] = {}
    for finding in judged.findings:
        found.setdefault(finding.stage, []).append(finding)
    return found


def names(found: dict[str, list[Finding]]) -> list[str]:
    return [finding.name for findings in found.values() for finding in findings]


async def test_a_message_in_order_passes_everything(tmp_path: Path) -> None:
    found = await judge(tmp_path, signed(b"hello\r\n"))
    assert names(found) == ["iprev.pass", "spf.pass", "spf.pass", "dkim.pass", "arc.none", "dmarc.pass"]
    assert found["dkim"][0].evidence["domain"] == "friend.test"
    assert found["dmarc"][0].evidence["aligned_spf"] == "yes"
    assert found["dmarc"][0].evidence["aligned_dkim"] == "friend.test"
    assert all(finding.facts is not None for findings in found.values() for finding in findings)


async def test_a_forged_message_fails_with_what_its_author_asks_for(tmp_path: Path) -> None:
    found = await judge(tmp_path, HEADER + b"send money\r\n", ip="203.0.113.9", sender="mallory@evil.test")
    assert names(found) == ["iprev.permerror", "spf.fail", "spf.none", "dkim.none", "arc.none", "dmarc.fail"]
    assert found["dmarc"][0].evidence["disposition"] == "reject"
    assert found["dmarc"][0].evidence["domain"] == "friend.test"


async def test_a_damaged_body_fails_dkim_and_spf_still_carries_dmarc(tmp_path: Path) -> None:
    found = await judge(tmp_path, signed(b"hello\r\n").replace(b"hello\r\n", b"hullo\r\n"))
    assert found["dkim"][0].name == "dkim.fail"
    assert "body" in found["dkim"][0].evidence["reason"]
    assert found["dmarc"][0].name == "dmarc.pass"
    assert "aligned_dkim" not in found["dmarc"][0].evidence


async def test_the_null_reverse_path_is_judged_by_the_helo_name_once(tmp_path: Path) -> None:
    found = await judge(tmp_path, signed(b"bounce\r\n"), sender=None)
    assert [(finding.name, finding.evidence["identity"]) for finding in found["spf"]] == [("spf.pass", "mailfrom")]


@pytest.mark.parametrize("size", [MEMORY_MAX - 1000, MEMORY_MAX + 1000, 3 * MEMORY_MAX], ids=["in memory", "just spilled", "spilled"])
async def test_signatures_of_content_of_any_size_are_verified(tmp_path: Path, size: int) -> None:
    body = (b"x" * 70 + b" \r\n") * (size // 73)
    assert names(await judge(tmp_path, signed(body)))[3] == "dkim.pass"
    changed = signed(body)[:-4] + b"y \r\n"
    assert names(await judge(tmp_path, changed))[3] == "dkim.fail"


async def test_a_name_service_that_is_away_makes_temporary_findings_and_no_results(tmp_path: Path) -> None:
    found = await judge(tmp_path, signed(b"hello\r\n"), away=True)
    asked = [finding for stage in ("iprev", "spf", "dkim", "dmarc") for finding in found[stage]]
    assert {finding.name.partition(".")[2] for finding in asked} == {"temperror"}
    assert all(finding.temporary for finding in asked)


async def test_a_sealed_chain_names_whom_to_trust_and_for_which_author(tmp_path: Path) -> None:
    message = HEADER.replace(b"Subject: hello", b"Subject: [list] hello") + b"hello\r\n-- \r\nthe list\r\n"
    header, _, body = message.partition(b"\r\n\r\n")
    read = read_message(header + b"\r\n\r\n", (body,))
    none: ARCResult = await check_arc(TableResolver(ZONE), read)
    said = Statement(b"list.test", b"spf=pass smtp.mailfrom=friend.test; dmarc=pass header.from=friend.test", int(NOW))
    found = await judge(tmp_path, seal(read, (body,), LISTS, none, said) + message, ip="203.0.113.9", sender="bounces@list.test")
    assert found["arc"][0].name == "arc.pass"
    assert found["arc"][0].evidence["vouchers"] == "list.test"
    assert found["arc"][0].evidence["passed_author"] == "friend.test"
    assert found["dmarc"][0].name == "dmarc.fail"


@pytest.mark.parametrize(
    ("results", "author"),
    [
        (b"mx.x; spf=pass smtp.mailfrom=a.test; dmarc=pass (p=reject dis=none) header.from=A.test", "a.test"),
        (b"mx.x; dmarc = pass policy.dmarc=none header.from=a.test.; x", "a.test"),
        (b"mx.x; dmarc=fail (dmarc=pass header.from=a.test; ) header.from=b.test", ""),
        (b'mx.x; dkim=pass header.i="@x; dmarc=pass header.from=a.test"', ""),
        (b'mx.x; spf=pass "; dmarc=pass header.from=a.test', ""),
        (b"mx.x; spf=pass (; dmarc=pass header.from=a.test", ""),
        (b"mx.x; dmarc=passed header.from=a.test", ""),
        (b"mx.x; dmarc=pass", ""),
        (b"mx.x; xdmarc=pass header.from=a.test", ""),
    ],
    ids=[
        "plain",
        "blanks",
        "in a comment",
        "in a quoted text",
        "quote that never closes",
        "comment that never closes",
        "other word",
        "no author",
        "other method",
    ],
)
def test_what_a_sealer_says_is_read_outside_of_comments_and_quotes(results: bytes, author: str) -> None:
    assert passed_author(results) == author
