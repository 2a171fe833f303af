# SPDX-License-Identifier: Apache-2.0
"""A DMARC report that comes in at port 25 of a running server is a row that `moatmail report` shows, with the server running or not."""

from __future__ import annotations

import gzip
import smtplib
import time
from email import policy
from email.message import EmailMessage

import pytest

from moatmail.mailauth.reports.build import aggregate_xml
from moatmail.mailauth.reports.report import AggregateReport, Published, Record
from tests.e2e.test_cli import answer, moatmail
from tests.e2e.trial import Trial

SECONDS = 10.0


def report(domain: str) -> bytes:
    records = (
        Record("192.0.2.1", domain, "none", "pass", "pass", count=40),
        Record("2001:db8::9", domain, "none", "fail", "fail", count=2),
    )
    made = AggregateReport("Reporter", "dmarc@reporter.test", "e2e-1", 1_700_000_000, 1_700_086_399, Published(domain, "none"), records)
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "dmarc@reporter.test", f"reports@{domain}", f"Report Domain: {domain} Submitter: reporter.test"
    mail.set_content("a report")
    mail.add_attachment(gzip.compress(aggregate_xml(made)), maintype="application", subtype="gzip", filename="reporter.test!x!1!2.xml.gz")
    return mail.as_bytes(policy=policy.SMTP)


def send(server: Trial, recipient: str, message: bytes) -> None:
    """Send as a stranger, as soon as the role that listens knows the address for reports."""
    until = time.monotonic() + SECONDS
    while True:
        with smtplib.SMTP(*server.address("smtp"), "mail.reporter.test", timeout=20) as client:
            try:
                client.sendmail("dmarc@reporter.test", [recipient], message)
            except smtplib.SMTPRecipientsRefused:
                assert time.monotonic() < until
                time.sleep(0.05)
            else:
                return


@pytest.fixture(scope="module")
def informed(server: Trial) -> Trial:
    """A server that knows its address for reports and got the same report twice."""
    domain = server.account(0)[0].partition("@")[2]
    answer(moatmail("settings", "set", "reports.address", f"reports@{domain}", "--json", "--dir", str(server.folder)))
    for _ in range(2):
        send(server, f"reports@{domain}", report(domain))
    return server


def test_a_report_is_listed_once_with_its_totals(informed: Trial) -> None:
    told = answer(moatmail("report", "list", "--kind", "dmarc", "--json", "--dir", str(informed.folder)))
    assert told["totals"] == {"messages": 42, "pass": 40, "fail": 2}
    (one,) = told["reports"]
    assert (one["reporter"], one["report_id"], one["sources"]) == ("Reporter (not proved)", "e2e-1", 2)


def test_its_sources_are_shown(informed: Trial) -> None:
    told = answer(moatmail("report", "show", "--json", "--dir", str(informed.folder)))
    assert [(one["source"], one["pass"]) for one in told["sources"]] == [("192.0.2.1", 40), ("2001:db8::9", 0)]
    number = answer(moatmail("report", "list", "--json", "--dir", str(informed.folder)))["reports"][0]["id"]
    one = answer(moatmail("report", "show", number, "--json", "--dir", str(informed.folder)))
    assert (one["sent_by"], one["proved"]) == ("reporter.test", False)
    assert len(one["report"]["records"]) == 2


def test_rows_stay_when_the_server_is_away(informed: Trial) -> None:
    informed.stop()
    told = answer(moatmail("report", "list", "--json", "--dir", str(informed.folder)))
    assert told["totals"]["messages"] == 42
    informed.start()
