# SPDX-License-Identifier: Apache-2.0
"""The published attacks of "Composition Kills" (2020), message for message: none may pass as the author whom its reader sees.

First straight to the code: our SPF, DKIM and DMARC over the attacker's zone and the victims'. Then at the doors of a running house, where the peer's
address is that of this host, so the attacker's SPF record names it.
"""

from __future__ import annotations

import asyncio
import json
import re
import smtplib
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from moatmail.admin import accounts, domains
from moatmail.mailauth.dkim import DKIMResult, check_dkim
from moatmail.mailauth.dmarc.author import Author, find_author
from moatmail.mailauth.dmarc.check import DKIMIdentity, DMARCResult, SPFIdentity, check_dmarc
from moatmail.mailauth.dmarc.record import Policy
from moatmail.mailauth.result import Result
from moatmail.mailauth.signed import read_message
from moatmail.mailauth.spf.check import SPFClient, SPFResult, check_mail_from
from moatmail.message.header import Header
from moatmail.net.resolver_table import TableResolver, Zone
from moatmail.wire.smtp.grammar import CommandError, parse_mail, parse_rcpt
from tests.house.indoors import PASSWORD, Indoors, indoors
from tests.unit.message.reading import DATA

FOLDER: Final = DATA / "espoofer"
CASES: Final[list[dict[str, Any]]] = json.loads((FOLDER / "cases.json").read_text()) if FOLDER.is_dir() else []
ZONE: Final[dict[str, Any]] = json.loads((FOLDER / "zone.json").read_text()) if FOLDER.is_dir() else {}
pytestmark = pytest.mark.skipif(not CASES, reason="the suite espoofer is not here")
AT_PORT_25: Final = [case for case in CASES if case["mode"].startswith("inbound")]
AT_SUBMISSION: Final = [case for case in CASES if case not in AT_PORT_25]
NOW: Final = 1_795_570_100  # a minute after the messages were signed


def titles(cases: list[dict[str, Any]]) -> list[str]:
    return [f"{case['id']}: {case['description'].partition(',')[0]}" for case in cases]


@dataclass(frozen=True)
class Judged:
    """What our code finds of one attack; nothing but the author where the envelope is none."""

    author: Author
    spf: SPFResult | None = None
    dkim: tuple[DKIMResult, ...] = ()
    dmarc: DMARCResult | None = None

    @property
    def stopped_by(self) -> str:
        """Say what stops it, "" for nothing."""
        if self.dmarc is None:
            return "envelope"
        if self.author.domain is None:
            return "author"
        return "dmarc" if self.dmarc.result is Result.FAIL and self.dmarc.disposition is Policy.REJECT else ""


def zone(ip: str) -> Zone:
    # "the last name of any subdomain of attack.example resolves like attack.example": a wildcard
    told = json.loads(json.dumps(ZONE["zone"]).replace(ZONE["client_ip"], ip))
    return {**told, "*.attack.example": told["attack.example"]}


async def judge(case: dict[str, Any]) -> Judged:
    header, blank, body = (FOLDER / case["file"]).read_bytes().partition(b"\r\n\r\n")
    author = find_author(Header(header + blank))
    try:
        envelope = parse_mail(b"FROM:" + case["mail_from"].encode(), extended=True)
        parse_rcpt(b"TO:" + case["rcpt_to"].encode(), extended=True, utf8=False)
    except CommandError:
        return Judged(author)
    resolver = TableResolver(zone(ZONE["client_ip"]))
    spf = await check_mail_from(resolver, SPFClient(ZONE["client_ip"], case["helo"]), envelope.reverse_path)
    dkim = await check_dkim(resolver, read_message(header + blank, [body]), NOW)
    claims = [DKIMIdentity(one.domain, one.result) for one in dkim]
    return Judged(author, spf, dkim, await check_dmarc(resolver, author, [SPFIdentity(spf.domain, spf.result)], claims))


@pytest.mark.parametrize("case", AT_PORT_25, ids=titles(AT_PORT_25))
async def test_nobody_passes_as_somebody_else(case: dict[str, Any]) -> None:
    judged = await judge(case)
    assert judged.stopped_by, judged
    assert judged.dmarc is None or judged.dmarc.result is not Result.PASS
    # The key of another zone, and the name that a quote would end early: neither is a signature of anybody.
    assert all(one.result is not Result.PASS for one in judged.dkim)


async def test_none_of_22_succeeds() -> None:
    stopped = Counter([(await judge(case)).stopped_by for case in AT_PORT_25])
    print(f"espoofer: 0 of {len(CASES)} succeed; at port 25 stopped by {dict(stopped)}")  # noqa: T201 - counts
    assert len(CASES) == 22
    assert stopped == {"author": 11, "dmarc": 5, "envelope": 3}


# ---------------------------------------------------------------- at the doors


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[Indoors]:
    async with indoors(tmp_path, zone("127.0.0.1")) as one:
        await domains.add(one.desk, "victim.example")
        for name in ("victim", "attacker", "admin"):
            await accounts.add(one.desk, f"{name}@victim.example", PASSWORD, with_scram=False)
        one.clock.time = NOW
        yield one


def deliver(house: Indoors, case: dict[str, Any], door: str) -> tuple[int, str]:
    with smtplib.SMTP("127.0.0.1", house.doors[door], case["helo"], timeout=20) as client:
        if door == "submission":
            client.starttls(context=ssl.create_default_context(cafile=str(house.ca)))
            client.login("attacker@victim.example", PASSWORD)
        else:
            client.ehlo()
        code, text = 250, b""
        for command in (f"MAIL FROM:{case['mail_from']}", f"RCPT TO:{case['rcpt_to']}", "DATA"):
            client.send(command.encode() + b"\r\n")
            code, text = client.getreply()
            if code >= 400:
                return code, text.decode()
        client.send((FOLDER / case["file"]).read_bytes().replace(b"\r\n.", b"\r\n..") + b"\r\n.\r\n")
        code, text = client.getreply()
        return code, text.decode()


@pytest.mark.parametrize("case", AT_PORT_25, ids=titles(AT_PORT_25))
async def test_at_port_25_each_is_refused_or_goes_to_junk_with_its_failure_said(house: Indoors, case: dict[str, Any]) -> None:
    await house.open_door("mx")
    code, text = await asyncio.to_thread(deliver, house, case, "mx")
    assert await house.messages_of("victim@victim.example") == []
    junk = await house.messages_of("victim@victim.example", "junk")
    if code != 250:
        assert re.match(r"5\.[1567]\.", text), (code, text)
        assert junk == []
        return
    (message,) = junk
    field = message[message.index(b"Authentication-Results:") : message.index(b"\r\nReceived:")].decode().replace("\r\n", "")
    assert "dmarc=fail" in field
    assert "dmarc=pass" not in field
    # What was put between the attacker's domain and the victim's is in no property: quote, parenthesis, NUL.
    assert not re.search(r"['\0]|legitimate\.example[(']", field), field


@pytest.mark.parametrize("case", AT_SUBMISSION, ids=titles(AT_SUBMISSION))
async def test_at_submission_nobody_writes_as_a_colleague(house: Indoors, case: dict[str, Any]) -> None:
    await house.open_door("submission")
    code, text = await asyncio.to_thread(deliver, house, case, "submission")
    assert code == 550
    assert text.startswith(("5.6.", "5.7.")), text
    assert await house.messages_of("victim@victim.example") == []
