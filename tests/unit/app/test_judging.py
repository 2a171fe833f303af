# SPDX-License-Identifier: Apache-2.0
"""A message judged from a file: as at the door, nothing guessed, nothing written; and what is printed of it."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

import pytest

from moatmail.app.explained import Beside, facts, lines
from moatmail.app.judging import Bench, Given, Judgement, judge
from moatmail.core.address import Address
from moatmail.core.envelope import Envelope, Recipient
from moatmail.core.settings.mail import SMTP, Mail
from moatmail.core.status import Reply
from moatmail.core.transaction import Session, Transaction
from moatmail.core.verdict import Disposition, Finding
from moatmail.mailauth.sign import key_record, load_signing_key, new_key, sign
from moatmail.message.header import Header
from moatmail.net.resolver_cache import CachingResolver
from moatmail.net.resolver_table import TableResolver
from moatmail.policy import order
from moatmail.policy.decision import Decided, Outcome, Question
from moatmail.policy.explain import explain
from moatmail.policy.stage import Phase

NOW = 1_800_000_000.0
ANN = Address("ann", "example.test")
BOB = Address("bob", "example.test")
CAROL = Address("carol", "friend.test")
KEY = load_signing_key("friend.test", "s1", new_key("ed25519"))
ZONE = {"friend.test": {"TXT": ["v=spf1 ip4:192.0.2.1 -all"]}, key_record(KEY).name: {"TXT": [key_record(KEY).text]}}
HEAD = b"From: carol@friend.test\r\nTo: ann@example.test\r\nDate: Fri, 15 Jan 2027 08:00:00 +0000\r\n\r\n"
LETTER = sign(Header(HEAD), (b"hello\r\n",), [KEY], now=int(NOW)) + HEAD + b"hello\r\n"
KNOWN = Given("192.0.2.1", "mail.friend.test", CAROL, has_mail_from=True, recipients=(ANN,))


@dataclass
class Clock:
    def now(self) -> float:
        return NOW

    def monotonic(self) -> float:
        return 0.0


async def judged(octets: bytes = LETTER, given: Given = KNOWN, mail: Mail | None = None) -> Judgement:
    return await judge(octets, given, Bench(mail or Mail(), "mx.example.test", CachingResolver(TableResolver(ZONE), Clock()), Clock()))


def names(judgement: Judgement) -> set[str]:
    return {one.name for one in judgement.decided.transaction.findings}


async def test_a_file_is_asked_everything_that_the_door_asks() -> None:
    found = await judged()
    stages = {stage.__module__.rpartition(".")[2] for group in order.RECEIVE[Phase.DATA] for stage in group}
    silent = {"loop", "form", "user_filter"}  # they find nothing in a good letter
    assert {one.stage for one in found.decided.transaction.findings} == stages - silent
    assert {"spf.pass", "dkim.pass"} <= names(found)
    assert (found.unchecked, found.door) == ((), ())


async def test_a_file_saved_with_lines_that_end_in_lf_is_the_same_message() -> None:
    saved = await judged(LETTER.replace(b"\r\n", b"\n"))
    assert saved.decided == (await judged()).decided


async def test_the_door_refuses_line_ends_that_are_mixed() -> None:
    assert (await judged(LETTER + b"bare\n")).door == (("message", "550 5.5.2 content holds a bare CR, LF or NUL; lines end with CR LF"),)


async def test_the_door_refuses_what_is_too_large() -> None:
    mail = Mail(smtp=SMTP(max_message_octets=100_000))
    assert (await judged(LETTER + b"x\r\n" * 50_000, mail=mail)).door == (("message", "552 5.3.4 message exceeds the fixed maximum size"),)


@pytest.mark.parametrize(
    ("given", "gone", "left_out"),
    [
        (Given(), {"iprev", "spf"}, {"iprev": "no --ip", "spf": "no --ip and no --mail-from", "recipients": "no --rcpt"}),
        (replace(KNOWN, has_mail_from=False, mail_from=None), {"spf"}, {"spf": "no --mail-from"}),
        (replace(KNOWN, ip=""), {"iprev", "spf"}, {"iprev": "no --ip", "spf": "no --ip"}),
        (replace(KNOWN, helo=""), set(), {"spf of the greeting": "no --helo"}),
        (replace(KNOWN, recipients=()), set(), {"recipients": "no --rcpt"}),
    ],
    ids=["nothing is known", "no envelope sender", "no client", "no greeting", "no recipient"],
)
async def test_what_is_not_known_is_not_guessed(given: Given, gone: set[str], left_out: dict[str, str]) -> None:
    found = await judged(given=given)
    assert {one.stage for one in found.decided.transaction.findings} & {"iprev", "spf"} == {"iprev", "spf"} - gone
    assert {what: why for what, why in found.unchecked if what != "dmarc by SPF"} == left_out
    assert ("dmarc by SPF" in dict(found.unchecked)) == ("spf" in gone)


async def test_the_null_envelope_sender_is_one() -> None:
    found = await judged(given=replace(KNOWN, mail_from=None))
    assert "spf.none" in names(found)
    assert found.unchecked == ()


async def test_nobody_finds_a_greeting_that_was_not_told() -> None:
    found = await judged(given=replace(KNOWN, helo=""))
    assert [one.evidence["identity"] for one in found.decided.transaction.findings if one.stage == "spf"] == ["mailfrom"]


@pytest.mark.parametrize("octets", [b"", b"\n", b"\x00\xff" * 50, b"no header at all", b"From: x\n\n"], ids=["empty", "blank", "binary", "text", "short"])
async def test_any_octets_get_a_verdict(octets: bytes) -> None:
    found = await judged(octets)
    assert explain(found.decided).recipients[0].outcome.disposition in set(Disposition)


# ---------------------------------------------------------------- what is printed

EVIL = "\x1b[2J\u202eevil\x9b\nsecond line"


def told(recipients: int = 1) -> tuple[str, dict[str, object]]:
    many = tuple(Address(f"a{number}", "example.test") for number in range(recipients))
    session = Session("s", "mx", "192.0.2.1", 25, EVIL)
    findings = (
        Finding("spf.fail", 2.0, {"explanation": EVIL, "domain": EVIL, EVIL: "x"}),
        Finding("odd." + EVIL),
        Finding("loop.delivered_to", recipient=many[0]),
    )
    decided = Decided(
        Transaction(session, Envelope(Address(EVIL, "evil.test"), tuple(map(Recipient, many))), NOW, findings=findings),
        tuple(Outcome(one, Disposition.ACCEPT, "", (EVIL,)) for one in many),
        Reply.of(250, "2.0.0", "message accepted"),
        2.0,
        100,
        questions=(Question("TXT", "evil.test", EVIL * 100),),
    )
    beside = Beside(id="00" * 16, code="abcdefgh", unchecked=((EVIL, EVIL),), door=((EVIL, EVIL),), today="the same")
    explanation = explain(decided)
    return "\n".join(lines(explanation, beside)), facts(explanation, beside)


def test_nothing_a_stranger_wrote_reaches_the_terminal_as_it_is() -> None:
    text, _ = told()
    assert all(line.isprintable() for line in text.split("\n"))
    assert "\\x1b[2J\\u{202e}evil\\x9b" in text


def test_programs_get_it_whole_and_escaped() -> None:
    _, plain = told()
    text = json.dumps(plain)
    assert text.isascii()
    assert text.isprintable()
    findings = json.loads(text)["findings"]
    assert findings[0]["evidence"]["explanation"] == EVIL


def test_a_hundred_recipients_who_met_the_same_are_told_in_one_line() -> None:
    text, plain = told(100)
    assert "a1@example.test, a2@example.test, a3@example.test and 96 more: accepted into" in text
    assert len(text.splitlines()) < 60
    assert isinstance(plain["recipients"], list)
    assert len(plain["recipients"]) == 100


def test_the_answer_comes_first_and_the_code_next() -> None:
    text, plain = told()
    assert text.splitlines()[:2] == ["250 2.0.0 message accepted", f"  code abcdefgh, queue id {'00' * 16}"]
    assert (plain["code"], plain["id"]) == ("abcdefgh", "00" * 16)
