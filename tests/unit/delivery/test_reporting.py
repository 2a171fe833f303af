# SPDX-License-Identifier: Apache-2.0
"""Reports that we owe: made once a day, sent once whatever happens, to who asked and may have them."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import ipaddress
import itertools
import smtplib
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import TypeVar

import pytest

from moatmail.admin import domains
from moatmail.admin import reports as desk_reports
from moatmail.core.address import Address
from moatmail.core.envelope import Envelope, Notify
from moatmail.core.errors import StoreUnavailableError
from moatmail.crypto.content_seal import ContentOpener
from moatmail.crypto.queue_seal import QueueKeys
from moatmail.delivery.reporting import Ports, send_reports
from moatmail.mailauth.dkim import check_dkim
from moatmail.mailauth.dmarc.author import find_author
from moatmail.mailauth.dmarc.check import DKIMIdentity, check_dmarc
from moatmail.mailauth.reports.aggregate import parse_aggregate
from moatmail.mailauth.reports.gather import DAY
from moatmail.mailauth.reports.observed import Observation, encode
from moatmail.mailauth.reports.report import AggregateReport, Published, Record
from moatmail.mailauth.result import Result
from moatmail.mailauth.signed import read_message
from moatmail.mailqueue import spool
from moatmail.message.header import Header
from moatmail.net.resolver_cache import CachingResolver
from moatmail.net.resolver_table import TableResolver, Zone
from moatmail.store.operations import ClaimSpool, Decision, EvidenceKey, ForgetObserved, Observed, Operation, RecordDecision
from moatmail.store.queries import GetContent, GetQueueKeys, ListObserved, ListSigningKeys
from tests.house.indoors import NOW, Indoors, indoors
from tests.unit.delivery.peer import peer
from tests.unit.delivery.work import Queue

R = TypeVar("R")
MARKS = itertools.count(1)
TODAY = int(NOW) // DAY
POLICY = Published("a.test", "reject", "reject", "reject", "r", "r", "0", "n", "treewalk")
ZONE: Zone = {
    "_dmarc.a.test": {"TXT": ["v=DMARC1; p=reject; rua=mailto:d@a.test"]},
    "_dmarc.b.test": {"TXT": ["v=DMARC1; p=none; rua=mailto:d@elsewhere.test,mailto:d@nobody.test"]},
    "b.test._report._dmarc.elsewhere.test": {"TXT": ["v=DMARC1"]},
    "_dmarc.silent.test": {"TXT": "SERVFAIL"},
    "_dmarc.ended.test": {"TXT": ["v=DMARC1; p=none"]},
    "_dmarc.asking.test": {"TXT": ["v=DMARC1; p=none; rua=mailto:d@quiet.test"]},
    "asking.test._report._dmarc.quiet.test": {"TXT": "SERVFAIL"},
    "_dmarc.example.test": {"TXT": ["v=DMARC1; p=none; rua=mailto:reports@example.test"]},
}


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[Indoors]:
    async with indoors(tmp_path) as one:
        yield one


def ports(house: Indoors, zone: Zone = ZONE) -> Ports:
    resolver = CachingResolver(TableResolver(zone), house.clock)
    return Ports(house.store, resolver, house.clock, house.ear, house.ports.queue_key, "mx.example.test", lambda: house.settings)


def row_of(domain: str, ip: str, receiver: str) -> Observed:
    return Observed(domain, encode(Observation(Published(domain, "reject"), Record(ip, domain, envelope_to=receiver))))


async def observe(house: Indoors, domain: str, receivers: Sequence[str] = ("example.test",), *, day: int = TODAY - 1, ip: str = "192.0.2.1") -> None:
    await tell(house, day, [row_of(domain, ip, one) for one in receivers])


async def tell(house: Indoors, day: int, seen: Sequence[Observed]) -> None:
    """Have the store count observations, and wait until it did: soft state is written behind the answer."""
    number = hashlib.sha256(f"{seen[0]}{day}".encode()).digest()[:16]
    await house.store.write(RecordDecision(Decision(number, day * DAY + 7.0, "aaaaaaaa", {}, EvidenceKey(b"k" * 16, b"cover"), b"", 1, "accept", tuple(seen))))
    last = max((one.domain, one.row) for one in seen)
    for _ in range(2000):
        if any(row[:2] == last for row in await house.store.read(ListObserved(day, (last[0], last[1][:-9])))):
            return
        await asyncio.sleep(0.005)
    raise AssertionError("the observation did not arrive")


async def left(house: Indoors, day: int) -> set[str]:
    """Give the domains of which something is left on a day, now that all that was asked before is done."""
    await tell(house, 0, [row_of("marker.test", str(ipaddress.ip_address(next(MARKS))), "x.test")])
    return {row[0] for row in await house.store.read(ListObserved(day))}


async def queued(house: Indoors) -> list[tuple[Envelope, EmailMessage]]:
    """Give what waits in the queue, opened."""
    keys = await house.store.read(GetQueueKeys(private=True))
    found = []
    for claimed in await house.store.write(ClaimSpool(house.clock.time, house.clock.time + 60, "test", 100)):
        opened = spool.open_entry(QueueKeys(keys.private), claimed)
        content = await house.store.read(GetContent(claimed.content))
        assert content is not None
        assert content.blob is not None
        opener = ContentOpener(content.blob, claimed.content, opened.content_key)
        message = message_from_bytes(opener.read(0, opener.size), policy=policy.default)
        assert isinstance(message, EmailMessage)
        found.append((opened.envelope, message))
    return found


def report_of(message: EmailMessage) -> AggregateReport:
    attachment = next(iter(message.iter_attachments()))
    return parse_aggregate(gzip.decompress(attachment.get_content()))


async def test_a_day_that_is_over_is_reported_once(house: Indoors) -> None:
    await observe(house, "a.test")
    await observe(house, "a.test", ip="192.0.2.2")
    assert await send_reports(ports(house)) == 1
    ((envelope, message),) = await queued(house)
    assert [str(one.address) for one in envelope.recipients] == ["d@a.test"]
    # RFC 5321 §4.5.5: only notifications that a standard names have the null reverse-path; and nobody is told of a report that is lost.
    assert envelope.reverse_path == Address("postmaster", "example.test")
    assert envelope.recipients[0].notify == Notify.NEVER
    assert (message["From"], message["To"]) == ("postmaster@example.test", "d@a.test")
    assert message["Subject"].startswith("Report Domain: a.test Submitter: example.test Report-ID: <")
    report = report_of(message)
    assert [(one.source_ip, one.count) for one in report.records] == [("192.0.2.1", 1), ("192.0.2.2", 1)]
    assert (report.begin, report.end) == ((TODAY - 1) * DAY, TODAY * DAY - 1)
    assert (report.org_name, report.email) == ("mx.example.test", "postmaster@mx.example.test")
    assert await send_reports(ports(house)) == 0
    assert await queued(house) == []
    assert await left(house, TODAY - 1) == set()


async def test_each_of_our_domains_has_its_report(house: Indoors) -> None:
    await domains.add(house.desk, "second.test")
    await observe(house, "a.test", ("example.test", "second.test", "given-up.test"))
    assert await send_reports(ports(house)) == 2
    found = await queued(house)
    assert sorted(message["From"] for _, message in found) == ["postmaster@example.test", "postmaster@second.test"]


async def test_a_crash_before_the_day_is_forgotten_sends_nothing_twice(house: Indoors, monkeypatch: pytest.MonkeyPatch) -> None:
    write = house.store.write

    async def dying(operation: Operation[R]) -> R:
        if isinstance(operation, ForgetObserved):
            raise StoreUnavailableError
        return await write(operation)

    await observe(house, "a.test")
    with monkeypatch.context() as patch:
        patch.setattr(house.store, "write", dying)
        with pytest.raises(StoreUnavailableError):
            await send_reports(ports(house))
    assert len(await queued(house)) == 1
    # The process starts again, an hour later, and finds the day as it was.
    await send_reports(ports(house))
    assert await queued(house) == []
    assert await left(house, TODAY - 1) == set()


async def test_today_is_not_over(house: Indoors) -> None:
    await observe(house, "a.test", day=TODAY)
    assert await send_reports(ports(house)) == 0
    assert len(await house.store.read(ListObserved(TODAY))) == 1


async def test_an_external_destination_must_agree(house: Indoors) -> None:
    await observe(house, "b.test")
    assert await send_reports(ports(house)) == 1
    ((envelope, _),) = await queued(house)
    assert [str(one.address) for one in envelope.recipients] == ["d@elsewhere.test"]


@pytest.mark.parametrize("domain", ["ended.test", "gone.test"], ids=["rua is gone", "the policy is gone"])
async def test_who_does_not_ask_any_more_gets_none(house: Indoors, domain: str) -> None:
    await observe(house, domain)
    assert await send_reports(ports(house)) == 0
    assert await left(house, TODAY - 1) == set()


@pytest.mark.parametrize("domain", ["silent.test", "asking.test"], ids=["the policy", "the consent"])
async def test_what_the_dns_does_not_tell_now_is_asked_again(house: Indoors, domain: str) -> None:
    await observe(house, domain)
    await observe(house, "a.test")
    assert await send_reports(ports(house)) == 1
    assert len(await queued(house)) == 1
    # What is done with is forgotten, what is open stays.
    assert await left(house, TODAY - 1) == {domain}
    answering: Zone = {f"_dmarc.{domain}": {"TXT": [f"v=DMARC1; p=none; rua=mailto:d@{domain}"]}}
    assert await send_reports(ports(house, answering)) == 1
    assert [str(one.recipients[0].address) for one, _ in await queued(house)] == [f"d@{domain}"]
    assert await left(house, TODAY - 1) == set()


async def test_a_day_of_long_ago_is_not_reported_any_more(house: Indoors) -> None:
    await observe(house, "a.test", day=TODAY - 4)
    await observe(house, "a.test", day=TODAY - 3)
    assert await send_reports(ports(house)) == 1
    ((_, message),) = await queued(house)
    assert report_of(message).begin == (TODAY - 3) * DAY


async def test_many_domains_and_many_rows_go_in_pages(house: Indoors) -> None:
    zone: Zone = {f"_dmarc.d{number}.test": {"TXT": [f"v=DMARC1; p=none; rua=mailto:d@d{number}.test"]} for number in range(20)}
    rows = [row_of(f"d{number % 20}.test", f"192.0.2.{number // 20}", "example.test") for number in range(1200)]
    await tell(house, TODAY - 1, rows)
    assert await send_reports(ports(house, zone)) == 20
    found = await queued(house)
    assert sorted(len(report_of(message).records) for _, message in found) == [60] * 20
    assert await left(house, TODAY - 1) == set()


async def test_a_run_that_takes_too_long_goes_on_in_the_next(house: Indoors, monkeypatch: pytest.MonkeyPatch) -> None:
    await observe(house, "a.test")
    monkeypatch.setattr("moatmail.delivery.reporting.REPORT_RUN_SECONDS", -1.0)
    assert await send_reports(ports(house)) == 0
    monkeypatch.undo()
    assert await send_reports(ports(house)) == 1


async def test_nothing_is_sent_where_the_administrator_does_not_want_it(house: Indoors) -> None:
    house.settings = replace(house.settings, reports=replace(house.settings.reports, send=False))
    await observe(house, "a.test")
    assert await send_reports(ports(house)) == 0
    assert await queued(house) == []


async def test_who_we_are_is_what_the_administrator_says(house: Indoors) -> None:
    named = replace(house.settings.reports, organization="Example & Sons", contact="dmarc@example.test")
    house.settings = replace(house.settings, reports=named)
    await observe(house, "a.test")
    await send_reports(ports(house))
    ((_, message),) = await queued(house)
    report = report_of(message)
    assert (report.org_name, report.email) == ("Example & Sons", "dmarc@example.test")


async def test_a_report_about_our_own_domain_comes_back_as_a_row(house: Indoors) -> None:
    house.settings = replace(house.settings, reports=replace(house.settings.reports, address="reports@example.test"))
    await observe(house, "example.test")
    assert await send_reports(ports(house)) == 1
    queue = Queue(house, 1)
    queue.mail = house.settings
    await queue.work()
    assert await queue.waiting() == 0
    (row,) = await desk_reports.listing(house.desk)
    assert (row.kind, row.domain, row.totals["messages"]) == ("dmarc", "example.test", 1)
    one = await desk_reports.show(house.desk, row.id.hex())
    assert (one.kept.sender, one.kept.authenticated) == ("example.test", True)


async def test_what_waits_for_the_address_for_reports_and_is_none_fails(house: Indoors) -> None:
    house.settings = replace(house.settings, reports=replace(house.settings.reports, address="reports@example.test"))
    queue = Queue(house, 1)
    queue.mail = house.settings
    await queue.put("reports@example.test", sender=None)
    await queue.work()
    (failed,) = house.ear.named("delivery.bounced")
    assert "5.6.0" in failed.text


async def test_from_a_strangers_mail_to_the_report_about_it(tmp_path: Path) -> None:
    """What was found at the door stands in tomorrow's report, and nothing of the message does."""
    zone: Zone = {
        "friend.test": {"TXT": ["v=spf1 -all"]},
        "_dmarc.friend.test": {"TXT": ["v=DMARC1; p=reject; t=y; rua=mailto:d@friend.test"]},
    }
    text = "From: Carol <carol@news.friend.test>\r\nTo: ann@example.test\r\nSubject: between us\r\n\r\nhello\r\n"
    async with indoors(tmp_path, zone) as house:
        port = await house.open_door("mx")

        def send() -> None:
            with smtplib.SMTP("127.0.0.1", port, "client.friend.test", timeout=10) as client:
                client.sendmail("bounce@friend.test", ["ann@example.test", "bob@example.test"], text)

        for _ in range(2):
            await asyncio.to_thread(send)
        house.clock.time += DAY
        await left(house, TODAY)
        assert await send_reports(ports(house, zone)) == 1
        ((envelope, message),) = await queued(house)
        assert [str(one.address) for one in envelope.recipients] == ["d@friend.test"]
        report = report_of(message)
        (record,) = report.records
        assert (report.published.p, report.published.testing, report.published.discovery_method) == ("reject", "y", "treewalk")
        assert (record.source_ip, record.count, record.header_from) == ("127.0.0.1", 2, "news.friend.test")
        assert (record.envelope_from, record.envelope_to) == ("friend.test", "example.test")
        assert (record.disposition, record.dkim, record.spf) == ("quarantine", "fail", "fail")
        assert [one.type for one in record.reasons] == ["policy_test_mode"]
        assert [(one.domain, one.scope, one.result) for one in record.spf_results] == [("friend.test", "mfrom", "fail")]
        octets = message.as_bytes() + gzip.decompress(next(iter(message.iter_attachments())).get_content())
        for word in (b"carol", b"between us", b"ann@", b"bounce@"):
            assert word not in octets


async def test_a_report_arrives_signed_and_passes_dmarc_itself(house: Indoors) -> None:
    """RFC 9990 §3.5.2: the receiver's own domain signs it, so that its reader knows whose word it is."""
    wanting: Zone = {"_dmarc.faraway.test": {"TXT": ["v=DMARC1; p=none; rua=mailto:d@faraway.test"]}}
    await observe(house, "faraway.test")
    assert await send_reports(ports(house, wanting)) == 1
    async with peer() as host:
        await Queue(house, host.port).work()
        (arrived,) = host.messages
    head, line, body = arrived.partition(b"\r\n\r\n")
    rows = await house.store.read(ListSigningKeys())
    dns = TableResolver(
        {f"{row.selector}._domainkey.{row.domain}": {"TXT": [row.record]} for row in rows} | {"_dmarc.example.test": {"TXT": ["v=DMARC1; p=reject"]}}
    )
    signatures = await check_dkim(dns, read_message(head + line, [body]), NOW)
    judged = await check_dmarc(dns, find_author(Header(head + line)), (), [DKIMIdentity(one.domain, one.result) for one in signatures])
    assert (judged.result, judged.author_domain, judged.aligned_dkim) == (Result.PASS, "example.test", ("example.test",))
    assert any(command.startswith("MAIL FROM:<postmaster@example.test>") for command in host.commands)
