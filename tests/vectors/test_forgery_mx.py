# SPDX-License-Identifier: Apache-2.0
"""The published cases of forged headers at port 25, played the whole way: what is refused, what our own field says, what is gone from the header.

What SPF, DKIM and ARC found is given by each case; author, policy, refusal and fields are ours.
"""

from __future__ import annotations

import asyncio
import re
import smtplib
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from moatmail.admin import accounts, domains
from moatmail.core.transaction import Transaction
from moatmail.core.verdict import Finding
from moatmail.mailauth.arc import ARCResult
from moatmail.mailauth.dkim import DKIMResult
from moatmail.mailauth.result import Result
from moatmail.mailauth.spf.check import SPFIdentity, SPFResult
from moatmail.policy import order
from moatmail.policy.stage import Group, Phase, Stage, Tools
from moatmail.policy.stages import arc, dkim, iprev, spf
from tests.house.indoors import PASSWORD, Indoors, indoors
from tests.vectors.test_forgery_submission import SUITE, content_of

CASES: list[dict[str, Any]] = [case for case in SUITE["cases"] if case["side"] == "mx"]
pytestmark = pytest.mark.skipif(not CASES, reason="the suite forgery is not here")
VICTIM: Final = "victim.example"


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[Indoors]:
    zone: dict[str, dict[str, list[object]]] = {name: {"TXT": [text]} for name, text in SUITE["dmarc_records"].items()}
    async with indoors(tmp_path, zone) as one:
        await domains.add(one.desk, "home.example")
        await accounts.add(one.desk, "bob@home.example", PASSWORD, with_scram=False)
        one.ports = replace(one.ports, hostname=SUITE["our"]["authserv_id"])
        await one.open_door("mx")
        yield one


def given_stages(given: dict[str, Any], *, null_path: bool) -> dict[Stage, Stage]:
    """Give what stands in for the stages whose results a case brings along."""
    found = given["spf"]
    # RFC 7208 §2.4: for the null reverse-path the HELO name is what MAIL FROM stands for.
    scope = SPFIdentity.MAIL_FROM if null_path else SPFIdentity(found["scope"])
    results = [SPFResult(Result(found["result"]), scope, found["domain"])]
    if "spf_helo" in given:
        results.append(SPFResult(Result(given["spf_helo"]["result"]), SPFIdentity.HELO, given["spf_helo"]["domain"]))
    signatures = [DKIMResult(Result(one["result"]), "", one["d"], one.get("s", "s1"), f"@{one['d']}", "rsa-sha256", "c2ln") for one in given["dkim"]]
    chain = ARCResult(Result(given["arc"]["result"] if given.get("arc") else "none"))

    async def nothing(_transaction: Transaction, _tools: Tools) -> tuple[Finding, ...]:
        return ()

    async def check_spf(_transaction: Transaction, _tools: Tools) -> tuple[Finding, ...]:
        return tuple(Finding(f"spf.{one.result}", facts=one) for one in results)

    async def check_dkim(_transaction: Transaction, _tools: Tools) -> tuple[Finding, ...]:
        return tuple(Finding(f"dkim.{one.result}", facts=one) for one in signatures)

    async def check_arc(_transaction: Transaction, _tools: Tools) -> tuple[Finding, ...]:
        return (Finding(f"arc.{chain.result}", facts=chain),)

    return {iprev.check: nothing, spf.check: check_spf, dkim.check: check_dkim, arc.check: check_arc}


def deliver(house: Indoors, case: dict[str, Any]) -> tuple[int, str]:
    envelope = case["envelope"]
    utf8 = " SMTPUTF8" if envelope.get("smtputf8") else ""
    with smtplib.SMTP("127.0.0.1", house.doors["mx"], case["connection"]["helo"] or "x", timeout=20) as client:
        if case["connection"].get("tls", True):
            client.starttls(context=ssl.create_default_context(cafile=str(house.ca)))
        client.send(b"EHLO %b\r\n" % case["connection"]["helo"].encode())
        client.getreply()
        for command in (f"MAIL FROM:<{envelope['mail_from']}>{utf8}", *(f"RCPT TO:<{one}>" for one in envelope["rcpt_to"]), "DATA"):
            client.send(command.encode() + b"\r\n")
            code, text = client.getreply()
            if code >= 400:
                return code, text.decode()
        client.send(content_of(case).replace(b"\r\n.", b"\r\n..") + b".\r\n")
        code, text = client.getreply()
        return code, text.decode()


async def play(house: Indoors, case: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    stand_ins = given_stages(case["given"], null_path=not case["envelope"]["mail_from"])
    groups: tuple[Group, ...] = tuple(tuple(stand_ins.get(stage, stage) for stage in group) for group in order.RECEIVE[Phase.DATA])
    monkeypatch.setitem(order.RECEIVE, Phase.DATA, groups)
    return await asyncio.to_thread(deliver, house, case)


def own_field(header: str) -> str:
    """Give our Authentication-Results: the topmost, above our Received field."""
    above = header[: header.index("\r\nReceived:")].replace("\r\n", "\n")
    field: str
    (field,) = re.findall(r"^Authentication-Results:.*(?:\n[ \t].*)*", above, re.MULTILINE)
    return field.replace("\n", "")


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
async def test_mx(house: Indoors, case: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    code, text = await play(house, case, monkeypatch)
    outcomes = [case["expect"], *({**case["expect"], **other} for other in case.get("also_allowed", []))]
    fitting = [one for one in outcomes if bool(one.get("refuse")) == (code != 250)]
    assert fitting, (code, text)
    if code != 250:
        refused = [one["refuse"] for one in fitting]
        assert any(code in one["code"] and text.startswith(tuple(one["enhanced_starts_with"])) for one in refused), (code, text)
        return
    kept = [*await house.messages_of("bob@home.example"), *await house.messages_of("bob@home.example", "junk")]
    assert len(kept) == 1
    header = kept[0].partition(b"\r\n\r\n")[0].decode("utf-8", "replace")
    assert any(_fits(header, one) for one in fitting), (own_field(header), fitting)


def _fits(header: str, expect: dict[str, Any]) -> bool:
    field = own_field(header)
    authors = expect.get("author_domains")
    if authors is not None and VICTIM not in authors and re.search(rf"header\.from={VICTIM}", field):
        return False
    said = re.findall(r";\s*dmarc=(\w+)", field)
    wanted = expect.get("dmarc")
    if wanted is not None and said[0] not in (wanted if isinstance(wanted, list) else [wanted]):
        return False
    if expect.get("dmarc_not") and said[0] == expect["dmarc_not"]:
        return False
    below = header[header.index("\r\nReceived:") :]
    return (
        all(re.search(pattern, field) for pattern in expect.get("ar_must", []))
        and not any(re.search(pattern, field) for pattern in expect.get("ar_must_not", []))
        and not any(mark in below for mark in expect.get("fields_removed", []))
    )
