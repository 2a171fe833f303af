# SPDX-License-Identifier: Apache-2.0
"""Published reports, read in place: 40 of DMARC, 14 of TLS and feedback, with the parse that others wanted; the cases of users' trouble."""

from __future__ import annotations

import base64
import json
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from moatmail.core.limits.mailauth import REPORT_ROWS_OCTETS
from moatmail.mailauth.dmarc.record import parse_record
from moatmail.mailauth.reports.aggregate import parse_aggregate
from moatmail.mailauth.reports.failure import FeedbackReport, parse_feedback
from moatmail.mailauth.reports.observed import published_policy
from moatmail.mailauth.reports.received import Arrived, ReceivedReport, open_rows, read_reports
from moatmail.mailauth.reports.report import AggregateReport
from moatmail.mailauth.reports.tls import TLSReport, parse_tls
from moatmail.mailauth.reports.unpack import Form, Room, candidates, unpacked
from moatmail.mailauth.reports.unreadable import UnreadableReportError
from tests.unit.message.reading import CASES, DATA

DMARC = DATA / "dmarc-reports"
TLS = DATA / "tls-rpt"
ARF = DATA / "arf"
TROUBLE = CASES / "reports"

pytestmark = pytest.mark.skipif(not DMARC.is_dir(), reason="the report samples (data/dmarc-reports) are not here")

# What of each aggregate report of parsedmarc must come out: records, messages, and a word of the note where something was mended.
AGGREGATE = {
    "!example.com!1538204542!1538463818.xml": (1, 1, ""),
    "!large-example.com!1711897200!1711983600.xml": (2286, 2286, ""),
    "Report domain- borschow.com Submitter- google.com Report-ID- 949348866075514174.eml": (1, 1, ""),
    "addisonfoods.com!example.com!1536105600!1536191999.xml": (1, 1, ""),
    "empty_reason.xml": (1, 2, ""),
    "estadocuenta1.infonacot.gob.mx!example.com!1536853302!1536939702!2940.xml.zip": (1, 1, ""),
    "example.net!example.com!1529366400!1529452799.xml": (1, 1, ""),
    "fastmail.com!example.com!1516060800!1516147199!102675056.xml.gz": (1, 1, ""),
    "ikea.com!example.de!1538690400!1538776800.xml": (1, 1, "the XML is broken"),
    "invalid_utf_8.xml": (1, 1, "no UTF-8"),
    "invalid_xml.xml": (1, 1, "stray markup"),
    "mimecast-weird-gzip.eml": (1, 1, ""),
    "old_draft_from_wiki.xml": (1, 2, ""),
    "protection.outlook.com!example.com!1711756800!1711843200.xml": (1, 1, ""),
    "rfc9990-example.net!example.com!1700000000!1700086399.xml": (2, 7, ""),
    "rfc9990-sample.xml": (1, 123, ""),
    "report_with_upper_cased_pass.xml": (1, 1, "an odd span"),
    "changed-input.xml": (20, 3047, ""),
    "nice-input.xml": (20, 3047, ""),
    "nice-input.xml.gz": (20, 3047, ""),
    "nice-input.xml.zip": (20, 3047, ""),
    "twilight.eml": (1, 1, ""),
    "usssa.com!example.com!1538784000!1538870399.xml": (2, 2, ""),
    "veeam.com!example.com!1530133200!1530219600.xml": (1, 1, ""),
}
# Nothing is in the one, and the other says in plain words, for people, what RFC 6591 §3 has fields for.
REFUSED = {"empty.xml", "exim_plain_text_only_no_arf_part.eml"}
FAILURES = {
    "DMARC Failure Report for domain.de (mail-from=sharepoint@domain.de, ip=10.10.10.10).eml": ("domain.de", "10.10.10.10", "sharepoint@domain.de"),
    "[Netease DMARC Failure Report] Rent Reminder.eml": ("cardinal.com", "167.89.69.24", "bounces+1137616-c1ad-xsj399=163.com@email.entrata.com"),
    "dmarc_ruf_report_linkedin.crlf.eml": ("example.com", "10.10.10.10", ""),
    "dmarc_ruf_report_linkedin.eml": ("example.com", "10.10.10.10", ""),
}


def octets_of(path: Path) -> bytes:
    """Give the one report that a file holds, unpacked."""
    raw = path.read_bytes()
    found = next(iter(candidates(raw) if path.suffix == ".eml" else unpacked(raw, Room())), None)
    return found.octets if found is not None else b""


def samples(folder: Path, *suffixes: str) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix in suffixes) if folder.is_dir() else []


PARSEDMARC = samples(DMARC / "parsedmarc", ".xml", ".zip", ".gz", ".eml")
STALWART = samples(DMARC / "stalwart", ".xml", ".eml")


def test_every_sample_is_looked_at() -> None:
    named = set(AGGREGATE) | REFUSED | set(FAILURES)
    assert {path.name for path in PARSEDMARC} == named
    counts = (len(PARSEDMARC), len(STALWART), len(samples(TLS, ".json", ".eml")) - 2, len(samples(ARF, ".eml")))
    assert counts == (30, 10, 7, 5)
    print(f"reports: {counts[0] + counts[1]} DMARC ({len(REFUSED)} refused as wanted), {counts[2]} TLS, {counts[3]} feedback")  # noqa: T201 - counts


@pytest.mark.parametrize("path", [one for one in PARSEDMARC if one.name in AGGREGATE], ids=lambda path: path.name)
def test_aggregate_reports_of_all_shapes(path: Path) -> None:
    report = parse_aggregate(octets_of(path))
    records, messages, note = AGGREGATE[path.name]
    assert (len(report.records), sum(one.count for one in report.records)) == (records, messages)
    assert bool(report.notes) is bool(note)
    assert note in " ".join(report.notes)
    assert report.published.domain
    assert report.begin <= report.end
    assert all(one.disposition in {"none", "pass", "quarantine", "reject"} and one.dkim in {"pass", "fail"} for one in report.records)


@pytest.mark.parametrize("path", [one for one in PARSEDMARC if one.name in REFUSED], ids=lambda path: path.name)
def test_what_is_no_report_is_refused(path: Path) -> None:
    with pytest.raises(UnreadableReportError):
        read_reports(path.read_bytes(), Arrived(0))


@pytest.mark.parametrize("path", [one for one in PARSEDMARC if one.name in FAILURES], ids=lambda path: path.name)
def test_failure_reports(path: Path) -> None:
    (found,) = candidates(path.read_bytes())
    report, returned = parse_feedback(found.octets, found.original)
    assert (report.feedback_type, report.domains[0], report.source_ip, report.mail_from) == ("auth-failure", *FAILURES[path.name])
    assert b"from:" in returned.header.lower()
    (row,) = read_reports(path.read_bytes(), Arrived(0))
    assert (row.kind, row.domain) == ("dmarc-failure", FAILURES[path.name][0])


# ---- wanted parses of another implementation ----


def word(text: str) -> str:
    """Give a word of the schema for the name that the other implementation has for it."""
    return {"Unspecified": "", "Relaxed": "r", "Strict": "s", "MailFrom": "mfrom"}.get(text, text.lower())


def told(report: AggregateReport) -> dict[str, Any]:
    """Give a report in the words of the wanted parse."""
    return {
        "metadata": (report.org_name, report.email, report.extra_contact or None, report.report_id, report.begin, report.end, list(report.errors)),
        "policy": (report.published.domain, report.published.adkim, report.published.aspf, report.published.p, report.published.sp),
        "testing": report.published.testing == "y",
        "records": [
            (
                (one.source_ip, one.count, one.disposition, one.dkim, one.spf),
                [(reason.type, reason.comment or None) for reason in one.reasons],
                (one.envelope_to or None, one.envelope_from or "", one.header_from),
                [(auth.domain, auth.selector, auth.result, auth.human or None) for auth in one.dkim_results],
                [(auth.domain, auth.scope, auth.result, auth.human or None) for auth in one.spf_results],
            )
            for one in report.records
        ],
    }


def wanted(json_path: Path) -> dict[str, Any]:
    given = json.loads(json_path.read_text())
    metadata, policy = given["report_metadata"], given["policy_published"]
    span = metadata["date_range"]
    return {
        "metadata": (
            metadata["org_name"],
            metadata["email"],
            metadata["extra_contact_info"],
            metadata["report_id"],
            span["begin"],
            span["end"],
            metadata["error"],
        ),
        "policy": (policy["domain"], word(policy["adkim"]), word(policy["aspf"]), word(policy["p"]), word(policy["sp"])),
        "testing": policy["testing"],
        "records": [wanted_record(one) for one in given["record"]],
    }


def wanted_record(one: dict[str, Any]) -> tuple[Any, ...]:
    row, names, results = one["row"], one["identifiers"], one["auth_results"]
    evaluated = row["policy_evaluated"]
    # The other implementation says "other" for a word that RFC 9990 §3.1.6 no longer has; we keep what was written.
    kinds = {"TrustedForwarder": "trusted_forwarder", "Other": "sampled_out"}
    return (
        (row["source_ip"], row["count"], word(evaluated["disposition"]), word(evaluated["dkim"]), word(evaluated["spf"])),
        [(kinds.get(reason["type_"], word(reason["type_"])), reason["comment"]) for reason in evaluated["reason"]],
        (names["envelope_to"], names["envelope_from"] or "", names["header_from"]),
        [(auth["domain"], auth["selector"], word(auth["result"]), auth["human_result"]) for auth in results["dkim"]],
        [(auth["domain"], word(auth["scope"]), word(auth["result"]), auth["human_result"]) for auth in results["spf"]],
    )


@pytest.mark.parametrize("path", STALWART, ids=lambda path: path.name)
def test_aggregate_reports_have_the_wanted_parse(path: Path) -> None:
    assert told(parse_aggregate(octets_of(path))) == wanted(path.with_suffix(".json"))


@pytest.mark.parametrize("path", samples(ARF, ".eml"), ids=lambda path: path.name)
def test_feedback_reports_have_the_wanted_parse(path: Path) -> None:
    (found,) = candidates(path.read_bytes())
    assert found.form is Form.FEEDBACK
    report, returned = parse_feedback(found.octets, found.original)
    given = json.loads(path.with_suffix(".json").read_text())
    assert in_their_words(report) == {
        "feedback_type": {"Abuse": "abuse", "AuthFailure": "auth-failure"}[given["feedback_type"]],
        "arrival_date": given["arrival_date"],
        "authentication_results": [" ".join(one.split()) for one in given["authentication_results"]],
        "incidents": given["incidents"],
        "original_envelope_id": given["original_envelope_id"],
        "original_mail_from": (given["original_mail_from"] or "").strip("<>") or None,
        "original_rcpt_to": (given["original_rcpt_to"] or "").strip("<>") or None,
        "reported_domain": given["reported_domain"],
        "reported_uri": given["reported_uri"],
        "reporting_mta": given["reporting_mta"],
        "source_ip": given["source_ip"],
        "user_agent": given["user_agent"],
        "version": str(given["version"]),
        "source_port": given["source_port"],
        "auth_failure": {"Unspecified": "", "BodyHash": "bodyhash", "Dmarc": "dmarc"}[given["auth_failure"]],
        "dkim_domain": given["dkim_domain"],
        "dkim_identity": given["dkim_identity"],
        "dkim_selector": given["dkim_selector"],
    }
    # The other implementation leaves these two in the base64 of RFC 6591 §3.2.4.
    assert returned.canonical_body == base64.b64decode(given["dkim_canonicalized_body"] or "")
    assert returned.canonical_header == base64.b64decode(given["dkim_canonicalized_header"] or "")


def in_their_words(report: FeedbackReport) -> dict[str, Any]:
    """Give what the report itself says, without what we took from the message."""
    derived = set(report.derived)
    return {
        "feedback_type": report.feedback_type,
        "arrival_date": None if "arrival" in derived else report.arrival,
        "authentication_results": list(report.results),
        "incidents": report.incidents,
        "original_envelope_id": report.envelope_id or None,
        "original_mail_from": report.mail_from or None,
        "original_rcpt_to": None if "recipients" in derived or not report.recipients else report.recipients[0],
        "reported_domain": [] if "domains" in derived else list(report.domains),
        "reported_uri": list(report.uris),
        "reporting_mta": report.reporting_mta or None,
        "source_ip": None if "source_ip" in derived else report.source_ip or None,
        "user_agent": report.user_agent,
        "version": report.version,
        "source_port": report.source_port,
        "auth_failure": ",".join(report.auth_failure),
        "dkim_domain": report.dkim_domain or None,
        "dkim_identity": report.dkim_identity or None,
        "dkim_selector": report.dkim_selector or None,
    }


# ---- TLS ----

# (organization, successes, failures, failures named in the details, domains)
TLS_WANTED = {
    "google.com_smtp_tls_report.eml": ("Google Inc.", 48, 0, 0, {"cardinalhealth.ca"}),
    "mail.ru.json": ("Mail.ru", 0, 1, 2, {"example.com"}),
    "rfc8460.json": ("Company-X", 5326, 303, 303, {"company-y.example"}),
    "smtp_tls.json": ("Example Inc.", 0, 3, 3, {"example.com"}),
    "rpt01.eml": ("Company-X", 5326, 303, 303, {"company-y.example"}),
    "rpt02.eml": ("Google Inc.", 23, 1, 1, {"example.com"}),
    "rpt03.json": ("Google Inc.", 2, 0, 0, {""}),
}


@pytest.mark.parametrize("name", TLS_WANTED)
def test_tls_reports(name: str) -> None:
    report = parse_tls(octets_of(next(iter(TLS.rglob(name)))))
    counts = (sum(one.successes for one in report.policies), sum(one.failures for one in report.policies))
    details = sum(detail.count for one in report.policies for detail in one.details)
    assert (report.org_name, *counts, details, {one.domain for one in report.policies}) == TLS_WANTED[name]
    assert report.begin < report.end


@pytest.mark.parametrize("name", ["rpt01", "rpt02"])
def test_tls_reports_have_the_wanted_parse(name: str) -> None:
    mail, given = TLS / "stalwart" / f"{name}.eml", TLS / "stalwart" / f"{name}.json"
    # The wanted parse of one was laid out by a formatter, which put blanks into an address of the web.
    assert without_blanks(parse_tls(octets_of(mail))) == without_blanks(parse_tls(given.read_bytes()))


def without_blanks(report: TLSReport) -> str:
    return "".join(repr(report).split())


# ---- the cases of users' trouble ----


def case(number: str) -> tuple[Path, dict[str, Any]]:
    folder = next(iter(TROUBLE.glob(f"{number}-*")), None)
    if folder is None:
        pytest.skip(f"case {number} of the reports is not here")
    return folder, tomllib.loads((folder / "case.toml").read_text()).get("expect", {})


@pytest.mark.parametrize("number", ["03", "05"])
def test_a_damaged_or_odd_report_keeps_its_records_and_says_what_was_done(number: str) -> None:
    folder, expect = case(number)
    report = parse_aggregate((folder / "report.xml").read_bytes())
    assert len(report.records) == expect["records"]
    assert sum(one.count for one in report.records) == expect.get("messages", 2)
    assert bool(report.notes) is expect["noted"]


def test_plain_xml_a_generic_type_and_a_body_of_gzip_are_one_report() -> None:
    folder, expect = case("06")
    mails = [(folder / f"{name}.eml").read_bytes() for name in ("plain", "body", "octet")]
    rows = [row for mail in mails for row in read_reports(mail, Arrived(0))]
    assert len(rows) == expect["readable"]
    assert len({(row.kind, row.reporter, row.report_id, row.domain) for row in rows}) == expect["counted"]


def test_tls_reports_with_absent_and_null_fields_are_read() -> None:
    folder, _ = case("07")
    names = ("null-contact", "no-mta-ip", "no-policy-domain")
    rows = [one for name in names for one in read_reports(as_mail((folder / f"{name}.json").read_bytes()), Arrived(0, "reporter.example", "example.org"))]
    assert [(row.totals["pass"], row.totals["fail"]) for row in rows] == [(1, 0), (0, 3), (1, 0)]
    # The third says nothing of a domain: it is booked to that of the address it came to.
    assert {row.domain for row in rows} == {"example.org"}


def test_a_sparse_complaint_is_completed_from_the_message_it_returns() -> None:
    folder, expect = case("11")
    (found,) = candidates((folder / "input.eml").read_bytes())
    report, _ = parse_feedback(found.octets, found.original)
    assert (report.feedback_type, report.source_ip) == (expect["type"], expect["source_ip"])
    assert (report.recipients, report.message_id) == (("reader@provider.example",), "<news-1@example.org>")
    assert {"source_ip", "recipients", "message_id"} <= set(report.derived)


def test_our_own_report_names_the_defaults_of_what_a_record_leaves_out() -> None:
    """The case wants `pct` too, which RFC 9989 appendix A.6 retired and RFC 9990 §3.1.1.5 has no element for."""
    folder, _ = case("13")
    facts = json.loads((folder / "facts.json").read_text())
    published = published_policy("example.org", parse_record(facts["policy"].encode()))
    assert (published.adkim, published.aspf, published.p, published.sp, published.np) == ("r", "r", "none", "none", "none")


def as_mail(octets: bytes) -> bytes:
    return b"From: tls@reporter.example\r\nMIME-Version: 1.0\r\nContent-Type: application/tlsrpt+json\r\n\r\n" + octets


# ---- as rows ----


def test_the_rows_of_every_sample_are_bounded_and_hold_no_content() -> None:
    rows = list(all_rows())
    assert len(rows) == 20
    for row in rows:
        assert len(row.rows) <= REPORT_ROWS_OCTETS
        kept, opened = open_rows(row.kind, row.rows)
        assert (kept.sender, kept.authenticated) == ("o.test", True)
        assert type(opened).__name__ == {"dmarc": "AggregateReport", "tls": "TLSReport"}.get(row.kind, "FeedbackReport")
        # The subject and the body of a returned message are somebody's letter.
        assert "Spam Spam" not in row.rows
        assert "Earn money" not in row.rows
        assert "Wir kaufen" not in row.rows
        assert row.totals["messages"] == row.totals["pass"] + row.totals["fail"]


def all_rows() -> Iterable[ReceivedReport]:
    for path in (*samples(DMARC, ".eml"), *samples(ARF, ".eml"), *samples(TLS, ".eml")):
        if path.name not in REFUSED:
            yield from read_reports(path.read_bytes(), Arrived(0, "o.test", authenticated=True))
