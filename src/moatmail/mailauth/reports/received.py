# SPDX-License-Identifier: Apache-2.0
"""A received report mail as rows: of which kind, about which domain, by whom, with totals, and what it says as JSON.

Obeys RFC 9990 §3.5.4 (duplicates share their Report-ID), RFC 8460 §4.4, RFC 5965 §3; RFC 9990 §8.2 (nothing of it is believed).
Must never know where rows are kept; never hands on what a person wrote: no header, subject or body of a returned message.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import msgspec

from moatmail.core.limits.mailauth import REPORT_CANDIDATES_MAX, REPORT_KEY_MAX, REPORT_ROWS_OCTETS, TLS_DOMAINS_MAX
from moatmail.mailauth.dns_name import is_question, to_a_labels
from moatmail.mailauth.reports.aggregate import parse_aggregate
from moatmail.mailauth.reports.failure import AUTH_FAILURE, DMARC, FeedbackReport, parse_feedback
from moatmail.mailauth.reports.report import AggregateReport, Record
from moatmail.mailauth.reports.tls import TLSPolicy, TLSReport, parse_tls
from moatmail.mailauth.reports.unpack import Candidate, Form, candidates
from moatmail.mailauth.reports.unreadable import UnreadableReportError

KIND_DMARC: Final = "dmarc"
KIND_TLS: Final = "tls"
KIND_ABUSE: Final = "abuse"
KIND_DMARC_FAILURE: Final = "dmarc-failure"
_NAME: Final = re.compile(r"[a-z0-9_.-]++")
KINDS: Final = (KIND_DMARC, KIND_TLS, KIND_ABUSE, KIND_DMARC_FAILURE)


class ReceivedReport(msgspec.Struct, frozen=True):
    """One row: `domain` (A-labels, "" if the report names none), `reporter` (with who proved to have sent it) and `report_id` name it, times are epoch seconds.

    `totals` are messages (of TLS reports: sessions), pass and fail, and of DMARC reports sources and records; `rows` is the report as JSON, cut to
    REPORT_ROWS_OCTETS by whole records, which `totals` still count.
    """

    kind: str
    domain: str
    reporter: str
    report_id: str
    begin: int
    end: int
    totals: dict[str, int]
    rows: str


@dataclass(frozen=True, slots=True)
class Arrived:
    """How a report came: when (epoch seconds), from which author domain, and to which domain of ours; a sparse report is completed from it."""

    at: int
    sender: str = ""
    domain: str = ""
    authenticated: bool = False
    """Whether `sender` is proved by DMARC, as RFC 9990 §3.5.2 demands of reports."""


class KeptReport(msgspec.Struct, frozen=True):
    """What `rows` holds: the author domain of the mail, whether it was proved, and the report."""

    sender: str
    authenticated: bool
    report: msgspec.Raw


def open_rows(kind: str, rows: str) -> tuple[KeptReport, AggregateReport | TLSReport | FeedbackReport]:
    """Read the `rows` of a row of this kind; ValueError for what `read_reports` did not make."""
    kept = msgspec.json.decode(rows.encode(), type=KeptReport)
    return kept, msgspec.json.decode(kept.report, type=_SHAPES[kind])


def read_reports(content: bytes, arrived: Arrived) -> tuple[ReceivedReport, ...]:
    """Read the report that a mail (its octets, header first) brings, as one row for each domain it is about; raises UnreadableReportError.

    Bounded: REPORT_MAIL_OCTETS come in, REPORT_OCTETS are unpacked, REPORT_CANDIDATES_MAX parts are tried; at worst a second of CPU and 100 MiB.
    """
    refused: UnreadableReportError | None = None
    for number, candidate in enumerate(candidates(content)):
        if number == REPORT_CANDIDATES_MAX:
            break
        try:
            return tuple(_READERS[candidate.form](candidate, arrived))
        except UnreadableReportError as error:
            refused = refused or error
    raise refused or UnreadableReportError("no part of the mail holds a report")


def _aggregate(candidate: Candidate, arrived: Arrived) -> Iterable[ReceivedReport]:
    report = parse_aggregate(candidate.octets)
    passed = sum(one.count for one in report.records if "pass" in (one.dkim, one.spf))
    messages = sum(one.count for one in report.records)
    totals = {
        "messages": messages,
        "pass": passed,
        "fail": messages - passed,
        "sources": len({one.source_ip for one in report.records}),
        "records": len(report.records),
    }
    reporter = _reporter(arrived, report.org_name, report.email)
    report_id = _identifier(report.report_id, candidate.octets)
    yield ReceivedReport(KIND_DMARC, _domain(report.published.domain), reporter, report_id, report.begin, report.end, totals, _cut(report, arrived))


def _tls(candidate: Candidate, arrived: Arrived) -> Iterable[ReceivedReport]:
    report = parse_tls(candidate.octets)
    by_domain: dict[str, list[TLSPolicy]] = {}
    for policy in report.policies:
        by_domain.setdefault(_domain(policy.domain) or arrived.domain, []).append(policy)
    reporter, report_id = _reporter(arrived, report.org_name, report.contact), _identifier(report.report_id, candidate.octets)
    for domain, policies in list(by_domain.items())[:TLS_DOMAINS_MAX]:
        passed, failed = sum(one.successes for one in policies), sum(one.failures for one in policies)
        totals = {"messages": passed + failed, "pass": passed, "fail": failed}
        yield ReceivedReport(KIND_TLS, domain, reporter, report_id, report.begin, report.end, totals, _cut_tls(report, policies, arrived))


def _feedback(candidate: Candidate, arrived: Arrived) -> Iterable[ReceivedReport]:
    report, _ = parse_feedback(candidate.octets, candidate.original)
    at = report.arrival if report.arrival is not None else arrived.at
    totals = {"messages": report.incidents, "pass": 0, "fail": report.incidents}
    # RFC 5965 has no identifier, so equal reports are known by what they say.
    report_id = _identifier("", candidate.octets + candidate.original)
    yield ReceivedReport(
        KIND_DMARC_FAILURE if _is_dmarc(report) else KIND_ABUSE,
        _domain(report.domains[0]) if report.domains else arrived.domain,
        _reporter(arrived, report.reporting_mta, arrived.sender, report.user_agent),
        report_id,
        at,
        at,
        totals,
        # Addresses of the web stood in the message: they are its content.
        _kept(msgspec.structs.replace(report, uris=()), arrived),
    )


_SHAPES: Final[dict[str, type[AggregateReport | TLSReport | FeedbackReport]]] = {
    KIND_DMARC: AggregateReport,
    KIND_TLS: TLSReport,
    KIND_ABUSE: FeedbackReport,
    KIND_DMARC_FAILURE: FeedbackReport,
}
_READERS: Final = {Form.XML: _aggregate, Form.JSON: _tls, Form.FEEDBACK: _feedback}


def _is_dmarc(report: FeedbackReport) -> bool:
    """Tell a report of a message that failed to authenticate, for DMARC or what it is made of, from a complaint (RFC 9991 §4)."""
    return report.feedback_type == AUTH_FAILURE or DMARC in report.auth_failure


def _domain(text: str) -> str:
    name = to_a_labels(text)
    return name if name is not None and _NAME.fullmatch(name) is not None and is_question(name) else ""


def _reporter(arrived: Arrived, *names: str) -> str:
    """Name the reporter as it names itself, and who proved to have sent it: nobody else's report has the same name and keeps this one out."""
    name = next((name for name in names if name), arrived.sender or "unknown")
    proof = arrived.sender if arrived.authenticated else "not proved"
    return name[:REPORT_KEY_MAX] if name == proof else f"{name[: REPORT_KEY_MAX - len(proof) - 3]} ({proof})"


def _identifier(given: str, octets: bytes) -> str:
    """Give the report's own id, or one of its content where it has none or one too long to keep."""
    return given if 0 < len(given) <= REPORT_KEY_MAX else f"sha256:{hashlib.sha256(octets).hexdigest()}"


def _kept(report: msgspec.Struct, arrived: Arrived) -> str:
    kept = KeptReport(arrived.sender, arrived.authenticated, msgspec.Raw(msgspec.json.encode(report)))
    return msgspec.json.encode(kept).decode()


def _cut(report: AggregateReport, arrived: Arrived) -> str:
    """Give a report as it is kept within REPORT_ROWS_OCTETS: the records with the most messages stay."""
    rows = _kept(report, arrived)
    if len(rows) <= REPORT_ROWS_OCTETS:
        return rows
    records = sorted(report.records, key=lambda one: one.count, reverse=True)
    kept: list[Record] = []
    room = REPORT_ROWS_OCTETS - len(_kept(msgspec.structs.replace(report, records=()), arrived)) - 200
    for one in records:
        room -= len(msgspec.json.encode(one)) + 1
        if room < 0:
            break
        kept.append(one)
    note = f"{len(records) - len(kept)} of {len(records)} records are counted in the totals only"
    return _kept(msgspec.structs.replace(report, records=tuple(kept), notes=(*report.notes, note)), arrived)


def _cut_tls(report: TLSReport, policies: list[TLSPolicy], arrived: Arrived) -> str:
    rows = _kept(msgspec.structs.replace(report, policies=tuple(policies)), arrived)
    if len(rows) <= REPORT_ROWS_OCTETS:
        return rows
    bare = tuple(msgspec.structs.replace(one, details=(), text=(), hosts=()) for one in policies)
    return _kept(msgspec.structs.replace(report, policies=bare, notes=(*report.notes, "the details are counted in the totals only")), arrived)
