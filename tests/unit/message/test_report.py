# SPDX-License-Identifier: Apache-2.0
"""Delivery reports: what a bounce says (queue-11), by RFC 3464, read back by the standard library."""

from __future__ import annotations

import email
import email.policy
from dataclasses import replace
from email.message import EmailMessage

import pytest

from moatmail.core.address import Address
from moatmail.core.status import Reply
from moatmail.message.report import DeliveryReport, RecipientOutcome, build, status_of
from tests.unit.message.reading import judge

REPLY = Reply(550, "5.7.1", ("[192.0.2.1] The address has no reverse name.", "See https://remote.example/help", "for details. x-17"))
FAILED = RecipientOutcome(
    final=Address("bob", "remote.example"),
    action="failed",
    original=b"rfc822;robert@remote.example",
    reply=REPLY,
    remote_mta="mx1.remote.example",
    last_attempt=1741158365,
)
HEADER = b"Received: x\r\nFrom: Ann <ann@case.test>\r\nSubject: hi\r\nMessage-ID: <orig@case.test>\r\n\r\n"
REPORT = DeliveryReport(
    to=Address("ann", "case.test"),
    author=Address("postmaster", "case.test"),
    reporting_mta="mx.case.test",
    token="b1",
    now=1741158366,
    outcomes=(FAILED,),
    header=HEADER,
    envid=b"QQ314159",
    arrived_at=1741158300,
)


def read(report: DeliveryReport) -> tuple[EmailMessage, list[EmailMessage], list[dict[str, str]]]:
    octets = build(report)
    judge(octets)
    assert octets.isascii()
    assert b"\n" not in octets.replace(b"\r\n", b"")
    assert max(map(len, octets.split(b"\r\n"))) <= 998
    parsed = email.message_from_bytes(octets, policy=email.policy.default)
    assert isinstance(parsed, EmailMessage)
    parts = [part for part in parsed.iter_parts() if isinstance(part, EmailMessage)]
    payload = parts[1].get_payload()
    assert isinstance(payload, list)
    return parsed, parts, [dict(group.items()) for group in payload if isinstance(group, EmailMessage)]


def test_a_bounce_names_the_failed_recipient_and_the_whole_reply() -> None:
    parsed, parts, groups = read(REPORT)
    assert parsed.get_content_type() == "multipart/report"
    assert parsed.get_param("report-type") == "delivery-status"
    assert [part.get_content_type() for part in parts] == ["text/plain", "message/delivery-status", "text/rfc822-headers"]
    assert groups[0] == {"Reporting-MTA": "dns; mx.case.test", "Original-Envelope-Id": "QQ314159", "Arrival-Date": "Wed, 5 Mar 2025 07:05:00 +0000"}
    assert groups[1] == {
        "Original-Recipient": "rfc822; robert@remote.example",
        "Final-Recipient": "rfc822; bob@remote.example",
        "Action": "failed",
        "Status": "5.7.1",
        "Remote-MTA": "dns; mx1.remote.example",
        "Diagnostic-Code": "smtp; 550-5.7.1 [192.0.2.1] The address has no reverse name. 550-5.7.1 See https://remote.example/help 550 5.7.1 for details. x-17",
        "Last-Attempt-Date": "Wed, 5 Mar 2025 07:06:05 +0000",
    }
    text = parts[0].get_content()
    assert [word for word in ("bob@remote.example", "mx1.remote.example said:", "reverse name", "help", "x-17") if word not in text] == []


def test_the_header_of_a_bounce() -> None:
    parsed, parts, _ = read(REPORT)
    assert (parsed["To"], parsed["From"], parsed["Message-ID"]) == ("ann@case.test", "Mail Delivery System <postmaster@case.test>", "<b1@mx.case.test>")
    assert (parsed["Auto-Submitted"], parsed["In-Reply-To"], parsed["References"]) == ("auto-replied", "<orig@case.test>", "<orig@case.test>")
    assert parts[2].get_content() == HEADER.decode()


def test_several_recipients_share_a_notice() -> None:
    later = RecipientOutcome(final=Address("eve", "b.example"), action="delayed", status="4.4.1", reason="no host answered", retry_until=1741200000)
    parsed, parts, groups = read(replace(REPORT, outcomes=(later, FAILED), header=b"", envid=b"", arrived_at=None))
    assert parsed["Subject"] == "Mail could not be delivered"
    assert [group.get("Final-Recipient") for group in groups[1:]] == ["rfc822; eve@b.example", "rfc822; bob@remote.example"]
    assert (groups[1]["Status"], "Diagnostic-Code" in groups[1], "Will-Retry-Until" in groups[1]) == ("4.4.1", False, True)
    assert len(parts) == 2
    assert "no host answered" in parts[0].get_content()


@pytest.mark.parametrize(
    "outcome",
    [
        pytest.param(replace(FAILED, reply=Reply(550, "", ("a\r\nStatus: 2.0.0", "\r\n\r\nFinal-Recipient: x", "ü\0"))), id="a reply that would add fields"),
        pytest.param(replace(FAILED, original=b"rfc822;a\r\nAction: delivered\r\n\r\nb"), id="an ORCPT that would"),
        pytest.param(replace(FAILED, remote_mta="x\r\n\r\ny"), id="a host name that would"),
        pytest.param(replace(FAILED, reply=Reply(550, "5.0.0", ("x" * 5_000,) * 500)), id="a reply without end"),
    ],
)
def test_no_foreign_text_adds_a_field(outcome: RecipientOutcome) -> None:
    _, _, groups = read(replace(REPORT, outcomes=(outcome,)))
    assert len(groups) == 2
    assert (groups[1]["Final-Recipient"], groups[1]["Action"]) == ("rfc822; bob@remote.example", "failed")
    assert groups[1]["Status"] in {"5.0.0", "5.7.1"}


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(b"Subject: \xfc\r\n\r\n", id="raw octets"),
        pytest.param(b"X: " + b"y" * 5_000 + b"\r\n\r\n", id="a long line"),
        pytest.param(b"X: y\r\n" * 20_000 + b"\r\n", id="a long header"),
        pytest.param(b"A: b\rc\nd\0e\n\n", id="stray line ends"),
        pytest.param(b"Message-ID: <" + b"x" * 980 + b">\r\n\r\n", id="a long Message-ID"),
        pytest.param(b"Message-ID: <a b\x07>\r\n\r\n", id="a damaged Message-ID"),
    ],
)
def test_any_header_is_returned_safely(header: bytes) -> None:
    read(replace(REPORT, header=header))


def test_an_internationalised_recipient_is_told_in_ascii() -> None:
    _, _, groups = read(replace(REPORT, outcomes=(replace(FAILED, final=Address("jürg", "xn--bcher-kva.example")),)))
    assert groups[1]["Final-Recipient"] == "utf-8; j\\x{FC}rg@xn--bcher-kva.example"


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (FAILED, "5.7.1"),
        (replace(FAILED, reply=Reply(554, "", ("no",))), "5.0.0"),
        (replace(FAILED, reply=Reply(421, "", ("later",))), "4.0.0"),
        (replace(FAILED, reply=None, status="4.4.7"), "4.4.7"),
        (replace(FAILED, reply=None), "5.0.0"),
        (replace(FAILED, reply=None, action="delivered"), "2.0.0"),
    ],
)
def test_status(outcome: RecipientOutcome, status: str) -> None:
    assert status_of(outcome) == status


def test_a_report_needs_a_recipient() -> None:
    with pytest.raises(ValueError, match="recipient"):
        build(replace(REPORT, outcomes=()))
