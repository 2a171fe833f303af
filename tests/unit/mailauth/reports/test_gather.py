# SPDX-License-Identifier: Apache-2.0
"""A day's observations become one report for each policy domain and receiver, whatever their order."""

from __future__ import annotations

import random

from moatmail.core.limits.mailauth import REPORT_RECORDS_OWN
from moatmail.mailauth.reports.gather import DAY, Gathered, Reporter, gather
from moatmail.mailauth.reports.observed import Observation, encode
from moatmail.mailauth.reports.report import Published, Record

REPORTER = Reporter("b.test", "postmaster@b.test")
POLICY = Published("a.test", "none", "none", "none", "r", "r", "0", "n", "treewalk")
STRICTER = Published("a.test", "reject", "none", "none", "r", "r", "0", "n", "treewalk")


def row(receiver: str, ip: str, published: Published = POLICY) -> str:
    return encode(Observation(published, Record(ip, "a.test", envelope_to=receiver)))


def reports(rows: list[tuple[str, int]]) -> list[Gathered]:
    return list(gather("a.test", 20_000, rows, REPORTER))


def test_each_receiver_has_one_report_of_the_whole_day() -> None:
    found = reports([(row("b.test", "192.0.2.1"), 3), (row("c.test", "192.0.2.1"), 1), (row("b.test", "192.0.2.2"), 2)])
    assert [(one.receiver, [(record.source_ip, record.count) for record in one.report.records]) for one in found] == [
        ("b.test", [("192.0.2.1", 3), ("192.0.2.2", 2)]),
        ("c.test", [("192.0.2.1", 1)]),
    ]
    first = found[0].report
    assert (first.begin, first.end) == (20_000 * DAY, 20_000 * DAY + DAY - 1)
    assert (first.org_name, first.email, first.generator, first.errors) == ("b.test", "postmaster@b.test", "Moatmail", ())
    assert first.report_id != found[1].report.report_id


def test_a_policy_that_changed_is_one_report_with_the_counts_of_both() -> None:
    (found,) = reports([(row("b.test", "192.0.2.1"), 3), (row("b.test", "192.0.2.1", STRICTER), 4)])
    assert found.report.published == STRICTER
    assert [record.count for record in found.report.records] == [7]
    assert "the policy changed" in found.report.errors[0]


def test_the_order_of_the_rows_does_not_matter() -> None:
    rows = [(row(f"{receiver}.test", f"192.0.2.{number}", policy), number) for receiver in "bc" for number in range(9) for policy in (POLICY, STRICTER)]
    shuffled = random.Random(7).sample(rows, len(rows))
    assert reports(rows) == reports(shuffled)


def test_a_row_that_is_none_is_left_out() -> None:
    assert reports([("{}", 3), ("no JSON", 1)]) == []


def test_of_too_many_records_those_of_most_messages_are_told() -> None:
    rows = [(row("b.test", f"10.{number // 65536}.{number // 256 % 256}.{number % 256}"), number) for number in range(REPORT_RECORDS_OWN + 5)]
    (found,) = reports(rows)
    assert len(found.report.records) == REPORT_RECORDS_OWN
    assert min(record.count for record in found.report.records) == 5
    assert "5 records" in found.report.errors[0]
