# SPDX-License-Identifier: Apache-2.0
"""Decisions over strangers' mail: what a forged message meets under each setting, what is kept of it, and what its author's domain will be told."""

from __future__ import annotations

import asyncio
import re
import smtplib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest

from moatmail.core.errors import MoatmailError, SealBrokenError, StoreUnavailableError
from moatmail.core.ports.resolver import Answer, DNSError
from moatmail.core.settings.mail import Policy
from moatmail.intake.history import History
from moatmail.mailauth.reports.observed import decode
from moatmail.net.questions import Questions
from moatmail.net.resolver_cache import CachingResolver
from moatmail.net.resolver_table import TableResolver
from moatmail.policy.decision import code_of
from moatmail.policy.decision import decode as decode_evidence
from moatmail.store.queries import GetDecision, ListDecisions, ListObserved
from tests.house.indoors import NOW, Indoors, indoors

T = TypeVar("T")
DAY = int(NOW // 86400)
FORGED = "From: Bank <help@bank.test>\r\nTo: ann@example.test\r\nSubject: your account\r\n\r\nclick here\r\n"
ZONE: dict[str, dict[str, list[object]]] = {
    "bank.test": {"TXT": ["v=spf1 -all"]},
    "_dmarc.bank.test": {"TXT": ["v=DMARC1; p=reject; rua=mailto:r@bank.test"]},
}


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[Indoors]:
    async with indoors(tmp_path, ZONE) as one:
        await one.open_door("mx")
        yield one


async def send(house: Indoors, message: str = FORGED, sender: str = "mallory@evil.test", to: tuple[str, ...] = ("ann@example.test",)) -> tuple[int, str]:
    def play() -> tuple[int, str]:
        with smtplib.SMTP("127.0.0.1", house.doors["mx"], "client.evil.test", timeout=10) as client:
            client.starttls(context=ssl.create_default_context(cafile=str(house.ca)))
            client.ehlo()
            client.mail(sender)
            for one in to:
                client.rcpt(one)
            code, text = client.data(message)
            return code, text.decode()

    return await asyncio.to_thread(play)


async def eventually(read: Callable[[], Awaitable[T]]) -> T:
    """Give the first answer that is not empty: soft state is written beside what people wait for."""
    for _ in range(500):
        if answer := await read():
            return answer
        await asyncio.sleep(0.01)
    raise AssertionError("nothing was kept")


def judge_by(house: Indoors, **policy: object) -> None:
    house.settings = replace(house.settings, policy=Policy(**policy))  # type: ignore[arg-type]


async def test_a_forged_message_lands_in_junk_with_the_reason_on_top(house: Indoors) -> None:
    code, text = await send(house)
    assert code == 250, text
    assert await house.messages_of("ann@example.test") == []
    (kept,) = await house.messages_of("ann@example.test", "junk")
    field = kept[kept.index(b"Authentication-Results:") : kept.index(b"\r\nReceived:")]
    assert b"dmarc=fail (p=reject dis=quarantine) header.from=bank.test" in b" ".join(field.split())


async def test_a_decision_is_kept_with_findings_questions_and_the_settings_that_decided(house: Indoors) -> None:
    _, text = await send(house)
    content_id = bytes.fromhex(text.rpartition(" ")[2])
    row = await eventually(lambda: house.store.read(GetDecision(id=content_id)))
    assert row is not None
    assert (row.code, row.verdict, row.facts["mail_from"], row.facts["recipients"]) == (
        code_of(content_id),
        "quarantine",
        "mallory@evil.test",
        "ann@example.test",
    )
    decided = decode_evidence(row.evidence)
    assert {"spf.none", "dkim.none", "dmarc.fail"} <= {finding.name for finding in decided.transaction.findings}
    assert "_dmarc.bank.test" in {question.name for question in decided.questions}
    assert decided.settings["policy.dmarc_failed"] == "junk"


async def test_a_refusal_bears_the_code_by_which_it_is_found(house: Indoors) -> None:
    judge_by(house, dmarc_failed="reject")
    code, text = await send(house)
    assert code == 550
    assert text.startswith("5.7.26 ")
    found = re.search(r"\(code ([a-z2-7]{8})\)$", text)
    assert found is not None, text
    row = await eventually(lambda: house.store.read(GetDecision(code=found[1])))
    assert row is not None
    assert row.verdict == "reject"
    assert row.facts["reply"] == f"550 {text}"
    assert [one.reason for one in decode_evidence(row.evidence).outcomes] == ["dmarc.fail"]


@pytest.mark.parametrize("error", [StoreUnavailableError(), SealBrokenError("the queue's public half is damaged")], ids=["store away", "queue key damaged"])
async def test_a_refusal_stays_one_where_no_record_of_it_can_be_made(house: Indoors, monkeypatch: pytest.MonkeyPatch, error: MoatmailError) -> None:
    async def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr(History, "decide", fails)
    judge_by(house, dmarc_failed="reject")
    assert (await send(house))[0] == 550


@pytest.mark.parametrize("sender", ["x@lame.bank.test", "x@bank.test"], ids=["a name below the author's", "the author's own name"])
@pytest.mark.parametrize("failed", ["junk", "reject"])
async def test_a_name_that_does_not_answer_and_that_the_forger_chose_is_no_way_into_the_inbox(tmp_path: Path, sender: str, failed: str) -> None:
    """bank.test has p=reject; one delegation below it, and an include of its SPF record, lead nowhere: DMARC is undecided for ever."""
    async with indoors(tmp_path) as house:
        house.ports = replace(house.ports, resolver=CachingResolver(Lame(), house.clock))
        judge_by(house, dmarc_failed=failed)
        await house.open_door("mx")
        assert (await send(house, sender=sender))[0] == 250  # never refused: it may be that somebody would speak for it
        assert await house.messages_of("ann@example.test") == []
        (kept,) = await house.messages_of("ann@example.test", "junk")
        assert b"dmarc=temperror" in kept.partition(b"\r\nReceived:")[0]


async def test_a_setting_per_author_domain_goes_before_what_it_publishes(house: Indoors) -> None:
    judge_by(house, dmarc_overrides=("bank.test=none",))
    await send(house)
    assert len(await house.messages_of("ann@example.test")) == 1


@pytest.mark.parametrize(
    ("policy", "disposition", "reasons"),
    [({"dmarc_failed": "reject"}, "reject", []), ({}, "quarantine", ["local_policy"]), ({"dmarc_failed": "mark"}, "none", ["local_policy"])],
    ids=["refused", "junk", "only marked"],
)
async def test_the_author_domain_will_be_told_what_was_done_and_why(house: Indoors, policy: dict[str, object], disposition: str, reasons: list[str]) -> None:
    judge_by(house, **policy)
    for _ in range(2):
        await send(house)
    ((domain, row, count),) = await eventually(lambda: _counted(house, 2))
    told = decode(row).record
    assert (domain, count, told.source_ip, told.header_from, told.envelope_to) == ("bank.test", 2, "127.0.0.1", "bank.test", "example.test")
    assert (told.disposition, told.spf, told.dkim, [one.type for one in told.reasons]) == (disposition, "fail", "fail", reasons)


async def _counted(house: Indoors, count: int) -> tuple[tuple[str, str, int], ...]:
    rows = await house.store.read(ListObserved(DAY))
    return rows if sum(row[2] for row in rows) == count else ()


async def test_of_an_author_who_asked_for_no_report_nothing_is_counted(house: Indoors) -> None:
    await send(house, FORGED.replace("bank.test", "quiet.test"))
    await eventually(lambda: house.store.read(ListDecisions()))
    assert await house.store.read(ListObserved(DAY)) == ()


async def test_many_recipients_are_told_in_short(house: Indoors) -> None:
    await send(house, to=("ann@example.test", "bob@example.test"))
    (row,) = await eventually(lambda: house.store.read(ListDecisions()))
    assert row.facts["recipients"] == "ann@example.test, bob@example.test"


async def test_the_key_of_evidence_is_changed_by_the_hour(house: Indoors, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(house.clock, "monotonic", lambda: now)
    history = History(house.ports.queue_key, house.clock, lambda: 1)
    first = await history._current()
    now = 3599.0
    assert await history._current() is first
    now = 3600.0
    assert (await history._current()).id != first.id


async def test_what_could_not_be_checked_is_told_in_the_log_and_above_the_message(tmp_path: Path) -> None:
    async with indoors(tmp_path) as house:
        house.ports = replace(house.ports, resolver=CachingResolver(Away(), house.clock))
        await house.open_door("mx")
        code, _ = await send(house)
        assert code == 250
        (kept,) = await house.messages_of("ann@example.test")
        assert b"dmarc=temperror" in kept.partition(b"\r\nReceived:")[0]
        (event,) = house.ear.named("message.accepted")
        assert event.text.endswith("; could not be checked now: iprev, spf, dmarc")


class Lame(TableResolver):
    """The zone of bank.test, in which two names have no servers that answer."""

    def __init__(self) -> None:
        super().__init__(ZONE | {"bank.test": {"TXT": ["v=spf1 include:gone.test -all"]}})

    async def ask(self, kind: str, name: str) -> Answer:
        if name.endswith(("lame.bank.test", "gone.test")):
            raise DNSError(f"{kind} {name}: no answer")
        return await super().ask(kind, name)


class Away(Questions):
    """A name service that never answers."""

    async def ask(self, kind: str, name: str) -> Answer:
        raise DNSError(f"{kind} {name}: no answer")
