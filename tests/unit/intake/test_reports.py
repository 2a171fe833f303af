# SPDX-License-Identifier: Apache-2.0
"""Mail to the address for reports: read, kept once, with a copy for whoever has that address; what cannot be read does not vanish."""

from __future__ import annotations

import asyncio
import gzip
import json
import smtplib
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from email.message import EmailMessage
from pathlib import Path

import pytest

from moatmail.admin import accounts, aliases
from moatmail.admin import reports as desk_reports
from moatmail.mailauth.reports.build import aggregate_xml
from moatmail.mailauth.reports.report import AggregateReport, Published, Record
from moatmail.net.resolver_table import Zone
from moatmail.store.queries import ReportRow
from tests.house.indoors import NOW, PASSWORD, Indoors, indoors

REPORTS = "reports@example.test"
POLICY = Published("example.test", "none")
BEGIN = 1_799_900_000


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[Indoors]:
    async with indoors(tmp_path) as one:
        one.settings = replace(one.settings, reports=replace(one.settings.reports, address=REPORTS))
        await one.open_door("mx")
        yield one


def report(report_id: str = "r1", records: int = 2) -> bytes:
    rows = tuple(
        Record(f"192.0.2.{number % 250}", "example.test", "none", "pass" if number % 2 else "fail", "fail", count=number + 1) for number in range(records)
    )
    return aggregate_xml(AggregateReport("Reporter", "dmarc@reporter.test", report_id, BEGIN, BEGIN + 86_399, POLICY, tuple(rows)))


def mail(octets: bytes, subtype: str = "gzip", *, pad: int = 0) -> str:
    made = EmailMessage()
    made["From"], made["To"], made["Subject"] = "dmarc@reporter.test", REPORTS, "Report Domain: example.test"
    made.set_content("a report" + "\r\n0123456789" * pad)
    made.add_attachment(octets, maintype="application", subtype=subtype, filename="../../etc/passwd")
    return made.as_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n").decode()


def _send(house: Indoors, recipients: list[str], message: str, door: str = "mx") -> dict[str, tuple[int, bytes]]:
    with smtplib.SMTP("127.0.0.1", house.doors[door], "client.reporter.test", timeout=10) as client:
        client.starttls(context=ssl.create_default_context(cafile=str(house.ca)))
        if door == "submission":
            client.login("ann@example.test", PASSWORD)
        return client.sendmail("ann@example.test" if door == "submission" else "dmarc@reporter.test", recipients, message)


async def send(house: Indoors, recipients: list[str], message: str, door: str = "mx") -> dict[str, tuple[int, bytes]]:
    return await asyncio.to_thread(_send, house, recipients, message, door)


async def rows(house: Indoors, kind: str = "", domain: str = "") -> tuple[ReportRow, ...]:
    return await desk_reports.listing(house.desk, kind, domain)


async def test_a_report_becomes_a_row_and_nobody_gets_mail(house: Indoors) -> None:
    assert await send(house, [REPORTS], mail(gzip.compress(report()))) == {}
    (row,) = await rows(house)
    assert (row.kind, row.domain, row.reporter, row.report_id) == ("dmarc", "example.test", "Reporter (not proved)", "r1")
    assert (row.begin, row.end, row.received_at) == (BEGIN, BEGIN + 86_399, NOW)
    assert row.totals == {"messages": 3, "pass": 2, "fail": 1, "sources": 2, "records": 2}
    for name in ("ann", "bob"):
        assert await house.messages_of(f"{name}@example.test") == []
    (told,) = house.ear.named("report.received")
    assert told.text == "report read: dmarc about example.test"


async def test_the_same_report_is_kept_once(house: Indoors) -> None:
    for octets in (gzip.compress(report()), report(), gzip.compress(report("r2"))):
        await send(house, [REPORTS], mail(octets))
    assert sorted(row.report_id for row in await rows(house)) == ["r1", "r2"]


async def test_what_is_told_of_one_report(house: Indoors) -> None:
    await send(house, [REPORTS], mail(gzip.compress(report())))
    (row,) = await rows(house)
    one = await desk_reports.show(house.desk, row.id.hex())
    assert (one.kept.sender, one.kept.authenticated) == ("reporter.test", False)
    assert list(desk_reports.sources_of(one.report)) == [("192.0.2.0", 1, 0), ("192.0.2.1", 2, 2)]
    found = await desk_reports.summary(house.desk, "dmarc", "example.test")
    assert (found.reports, found.totals.messages, found.totals.passed) == (1, 3, 2)
    assert list(found.sources) == ["192.0.2.1", "192.0.2.0"]
    assert await rows(house, "tls") == await rows(house, "", "other.test") == ()


async def test_a_large_report_is_read_from_its_file_which_does_not_stay(house: Indoors) -> None:
    assert await send(house, [REPORTS], mail(gzip.compress(report(records=500)), pad=40_000)) == {}
    (row,) = await rows(house)
    assert row.totals["records"] == 500
    # Its sealed octets were a file of their own, and no row names them.
    assert [path for path in (house.folder / "mail" / "content").rglob("*") if path.is_file()] == []


async def test_whoever_has_the_address_gets_a_copy_too(house: Indoors) -> None:
    await accounts.add(house.desk, REPORTS, PASSWORD)
    await send(house, ["Reports+dmarc@example.test", "bob@example.test"], mail(gzip.compress(report())))
    assert len(await rows(house)) == 1
    assert len(await house.messages_of(REPORTS)) == 1
    assert len(await house.messages_of("bob@example.test")) == 1


async def test_an_alias_that_leads_there_is_read_as_well(house: Indoors) -> None:
    await aliases.add(house.desk, "dmarc@example.test", [REPORTS, "bob@example.test"])
    await send(house, ["dmarc@example.test"], mail(gzip.compress(report())))
    assert len(await rows(house)) == 1
    assert len(await house.messages_of("bob@example.test")) == 1


@pytest.mark.parametrize(
    "octets",
    [b"no report", gzip.compress(b"<feedback>" + b" " * 2_000_000), b'<!DOCTYPE x [<!ENTITY a "b">]><feedback/>'],
    ids=["what is no report", "a bomb", "an entity"],
)
async def test_what_cannot_be_read_goes_to_the_postmasters_junk(house: Indoors, octets: bytes) -> None:
    assert await send(house, [REPORTS], mail(octets)) == {}
    assert await rows(house) == ()
    (kept,) = await house.messages_of("ann@example.test", "junk")
    assert b"Delivered-To: reports@example.test\r\n" in kept
    assert await house.messages_of("ann@example.test") == []
    assert len(house.ear.named("report.unreadable")) == 1


async def test_what_cannot_be_read_stays_with_whoever_has_the_address(house: Indoors) -> None:
    await aliases.add(house.desk, REPORTS, ["bob@example.test"])
    await send(house, [REPORTS], mail(b"no report"))
    assert len(await house.messages_of("bob@example.test")) == 1
    assert await house.messages_of("ann@example.test", "junk") == []


async def test_a_frozen_account_does_not_swallow_what_cannot_be_read(house: Indoors) -> None:
    await accounts.add(house.desk, REPORTS, PASSWORD)
    await accounts.set_state(house.desk, REPORTS, status="frozen")
    assert await send(house, [REPORTS], mail(b"no report")) == {}
    assert len(await house.messages_of("ann@example.test", "junk")) == 1


async def test_without_any_account_an_unreadable_message_is_refused(house: Indoors) -> None:
    for name in ("ann", "bob"):
        await accounts.set_state(house.desk, f"{name}@example.test", status="frozen")
    with pytest.raises(smtplib.SMTPDataError, match="this is no report that can be read here") as refused:
        await send(house, [REPORTS], mail(b"no report"))
    assert refused.value.smtp_code == 550
    assert await send(house, [REPORTS], mail(gzip.compress(report()))) == {}
    assert len(await rows(house)) == 1


async def test_our_own_users_may_send_there(house: Indoors) -> None:
    await house.open_door("submission")
    own = mail(gzip.compress(report())).replace("From: dmarc@reporter.test", "From: ann@example.test")
    assert await send(house, [REPORTS], own, "submission") == {}
    assert len(await rows(house)) == 1


async def test_without_the_setting_the_address_is_nobody(house: Indoors) -> None:
    house.settings = replace(house.settings, reports=replace(house.settings.reports, address=""))
    with pytest.raises(smtplib.SMTPRecipientsRefused):
        await send(house, [REPORTS], mail(gzip.compress(report())))


async def test_rows_hold_what_was_reported_as_json(house: Indoors) -> None:
    await send(house, [REPORTS], mail(gzip.compress(report())))
    (listed,) = await rows(house)
    assert listed.rows == ""
    one = await desk_reports.show(house.desk, listed.id.hex())
    assert json.loads(one.row.rows)["report"]["published"] == {"domain": "example.test", "p": "none"}


async def test_reports_without_end_are_put_off(house: Indoors, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moatmail.store.apply.signing.REPORTS_A_DAY", 2)
    for number in range(2):
        await send(house, [REPORTS], mail(report(f"r{number}")))
    with pytest.raises(smtplib.SMTPDataError) as refused:
        await send(house, [REPORTS], mail(report("r3")))
    assert refused.value.smtp_code == 452
    house.clock.time += 86_401.0
    assert await send(house, [REPORTS], mail(report("r4"))) == {}
    assert len(await rows(house)) == 3


PROVED: Zone = {
    "reporter.test": {"TXT": ["v=spf1 ip4:127.0.0.1 -all"]},
    "_dmarc.reporter.test": {"TXT": ["v=DMARC1; p=reject"]},
}


async def test_a_reporter_that_proves_its_domain_is_named_with_it(tmp_path: Path) -> None:
    async with indoors(tmp_path, PROVED) as house:
        house.settings = replace(house.settings, reports=replace(house.settings.reports, address=REPORTS))
        await house.open_door("mx")
        await send(house, [REPORTS], mail(gzip.compress(report())))
        (row,) = await rows(house)
        assert row.reporter == "Reporter (reporter.test)"
        assert (await desk_reports.show(house.desk, row.id.hex())).kept.authenticated


async def test_a_forged_report_is_no_row(tmp_path: Path) -> None:
    """RFC 9990 §3.5.2, §8.2: reports pass DMARC; one that its domain disowns is kept as the suspicious mail it is."""
    forged = {**PROVED, "reporter.test": {"TXT": ["v=spf1 -all"]}}
    async with indoors(tmp_path, forged) as house:
        house.settings = replace(house.settings, reports=replace(house.settings.reports, address=REPORTS))
        await house.open_door("mx")
        await send(house, [REPORTS], mail(gzip.compress(report())))
        assert await rows(house) == ()
        assert len(await house.messages_of("ann@example.test", "junk")) == 1
