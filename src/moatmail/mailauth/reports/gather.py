# SPDX-License-Identifier: Apache-2.0
"""A day's observations as the reports they become: one for each policy domain and each of our domains that received.

Obeys RFC 9990 §3.1.1 (one policy domain a report), §3.1.2 (a record for each author domain), §3.3 (a policy that changed on the day).
Must never know the store, the DNS or mail.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import msgspec

from moatmail.core.limits.mailauth import REPORT_RECORDS_OWN
from moatmail.mailauth.reports.build import report_id
from moatmail.mailauth.reports.observed import decode
from moatmail.mailauth.reports.report import AggregateReport, Published, Record

DAY: Final = 86_400
GENERATOR: Final = "Moatmail"
_CHANGED: Final = "the policy changed during the period; it is shown as it was for most messages, and counts of all are given"


@dataclass(frozen=True, slots=True)
class Reporter:
    """Who reports: the organization and whom to ask (RFC 9990 §3.1.1.3)."""

    organization: str
    contact: str


@dataclass(frozen=True, slots=True)
class Gathered:
    """One report, and the domain of ours that received its messages."""

    receiver: str
    report: AggregateReport


def gather(policy_domain: str, day: int, rows: Iterable[tuple[str, int]], reporter: Reporter) -> Iterator[Gathered]:
    """Give the reports of one policy domain for a day (days since 1970, UTC), by receiver; `rows` are canonical texts with their counts.

    A row that is none of ours is left out. The same rows in any order give the same reports.
    """
    by_receiver: dict[str, list[tuple[Published, Record]]] = {}
    for row, count in rows:
        try:
            seen = decode(row)
        except ValueError:
            continue
        by_receiver.setdefault(seen.record.envelope_to, []).append((seen.published, msgspec.structs.replace(seen.record, count=count)))
    for receiver, found in sorted(by_receiver.items()):
        yield Gathered(receiver, _report(policy_domain, receiver, day, found, reporter))


def _report(policy_domain: str, receiver: str, day: int, found: list[tuple[Published, Record]], reporter: Reporter) -> AggregateReport:
    messages: Counter[Published] = Counter()
    for published, record in found:
        messages[published] += record.count
    errors = [_CHANGED] if len(messages) > 1 else []
    records = _merged(record for _, record in found)
    if len(records) > REPORT_RECORDS_OWN:
        errors.append(f"{len(records) - REPORT_RECORDS_OWN} records of the fewest messages are left out")
    begin = day * DAY
    end = begin + DAY - 1
    # RFC 9990 §3.1.1: one policy configuration a report; two reports for one period would look like duplicates to their reader.
    published = max(messages, key=lambda one: (messages[one], msgspec.json.encode(one)))
    return AggregateReport(
        org_name=reporter.organization,
        email=reporter.contact,
        report_id=report_id(policy_domain, receiver, begin, end),
        begin=begin,
        end=end,
        published=published,
        records=tuple(sorted(records[:REPORT_RECORDS_OWN], key=msgspec.json.encode)),
        errors=tuple(errors),
        generator=GENERATOR,
    )


def _merged(records: Iterable[Record]) -> list[Record]:
    """Give records that differ in more than their count, those of the most messages first (a policy that changed splits equal ones)."""
    counts: Counter[Record] = Counter()
    for record in records:
        counts[msgspec.structs.replace(record, count=0)] += record.count
    ordered = sorted(counts.items(), key=lambda item: (-item[1], msgspec.json.encode(item[0])))
    return [msgspec.structs.replace(record, count=count) for record, count in ordered]
