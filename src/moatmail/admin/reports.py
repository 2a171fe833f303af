# SPDX-License-Identifier: Apache-2.0
"""Received reports, as an administrator looks at them: lists, totals, and what came from which source.

Obeys RFC 9990 §8.2 (what a report says is its writer's word), RFC 8460 §4.4.
Must never know the command line, nor decide anything by what a report says.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from moatmail.admin.change import Desk, read_domain
from moatmail.core.errors import ConfigError, NotFoundError
from moatmail.core.limits.admin import REPORTS_SHOWN_MAX
from moatmail.mailauth.reports.failure import FeedbackReport
from moatmail.mailauth.reports.received import KINDS, KeptReport, open_rows
from moatmail.mailauth.reports.report import AggregateReport
from moatmail.mailauth.reports.tls import TLSReport
from moatmail.store.queries import GetReport, ListReports, ReportRow


@dataclass(frozen=True, slots=True)
class Totals:
    """Messages (of TLS reports: sessions), and how many of them passed and failed."""

    messages: int = 0
    passed: int = 0
    failed: int = 0

    def plus(self, messages: int, passed: int, failed: int) -> Totals:
        """Give the sum."""
        return Totals(self.messages + messages, self.passed + passed, self.failed + failed)


@dataclass(slots=True)
class Summary:
    """What the reports together say: totals, and totals for each source (an IP address), most messages first."""

    reports: int = 0
    totals: Totals = field(default_factory=Totals)
    sources: dict[str, Totals] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Opened:
    """One report with all that is kept of it."""

    row: ReportRow
    kept: KeptReport
    report: AggregateReport | TLSReport | FeedbackReport


async def listing(desk: Desk, kind: str = "", domain: str = "", limit: int = 100) -> tuple[ReportRow, ...]:
    """Give the newest reports of a kind about a domain (empty: any), without what they say in detail. Raises ConfigError."""
    if kind and kind not in KINDS:
        raise ConfigError(f"no kind of report: {kind}; there are {', '.join(KINDS)}")
    return await desk.store.read(ListReports(kind, read_domain(domain) if domain else "", min(limit, REPORTS_SHOWN_MAX)))


async def show(desk: Desk, number: str) -> Opened:
    """Give one report by its id in hexadecimal. Raises ConfigError, NotFoundError."""
    try:
        wanted = bytes.fromhex(number)
    except ValueError:
        raise ConfigError(f"{number}: no id of a report; `moatmail report list` shows them") from None
    row = await desk.store.read(GetReport(wanted))
    if row is None:
        raise NotFoundError(f"no report {number}", public=f"no report {number} here; `moatmail report list` shows what there is")
    return opened(row)


async def summary(desk: Desk, kind: str = "", domain: str = "", limit: int = 100) -> Summary:
    """Add up the newest reports of a kind about a domain, by source. Raises ConfigError."""
    found = Summary()
    for one in await listing(desk, kind, domain, limit):
        row = await desk.store.read(GetReport(one.id))
        if row is not None:
            add(found, opened(row))
    found.sources = dict(sorted(found.sources.items(), key=lambda item: (-item[1].messages, item[0])))
    return found


def totals_of(rows: Iterable[ReportRow]) -> Totals:
    """Add up what reports counted."""
    total = Totals()
    for row in rows:
        total = total.plus(row.totals.get("messages", 0), row.totals.get("pass", 0), row.totals.get("fail", 0))
    return total


def opened(row: ReportRow) -> Opened:
    """Read what is kept of a report."""
    kept, report = open_rows(row.kind, row.rows)
    return Opened(row, kept, report)


def add(found: Summary, one: Opened) -> None:
    """Count a report in; large ones kept the records of the most messages only, so sources may add up to less than the totals."""
    found.reports += 1
    counts = totals_of([one.row])
    found.totals = found.totals.plus(counts.messages, counts.passed, counts.failed)
    for source, messages, passed in sources_of(one.report):
        found.sources[source] = found.sources.get(source, Totals()).plus(messages, passed, messages - passed)


def sources_of(report: AggregateReport | TLSReport | FeedbackReport) -> Iterable[tuple[str, int, int]]:
    """Give (source, messages, of them passed) of what a report tells of its sources; a TLS report names those that failed alone."""
    if isinstance(report, AggregateReport):
        for record in report.records:
            yield record.source_ip, record.count, record.count if "pass" in (record.dkim, record.spf) else 0
    elif isinstance(report, TLSReport):
        for policy in report.policies:
            for detail in policy.details:
                yield detail.sending_ip or "unknown", detail.count, 0
    else:
        yield report.source_ip or "unknown", report.incidents, 0
