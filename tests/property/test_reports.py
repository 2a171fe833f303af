# SPDX-License-Identifier: Apache-2.0
"""Whatever a report of ours says, our reader reads it back; whatever octets come, they are read or refused."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from moatmail.core.address import Address
from moatmail.mailauth.reports.aggregate import parse_aggregate
from moatmail.mailauth.reports.build import Letter, aggregate_xml, compose
from moatmail.mailauth.reports.observed import Observation, decode, encode
from moatmail.mailauth.reports.received import Arrived, read_reports
from moatmail.mailauth.reports.report import AggregateReport, DKIMAuth, Published, Reason, Record, SPFAuth
from moatmail.mailauth.reports.unreadable import UnreadableReportError

labels = st.from_regex(r"[a-z0-9](?:[a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
domains = st.lists(labels, min_size=1, max_size=4).map(".".join)
# Text as XML can hold it, without blanks at its ends: those are layout to a reader.
texts = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff"), max_size=60).map(str.strip)
some_text = texts.filter(bool)
words = st.sampled_from(["none", "quarantine", "reject"])
results = st.sampled_from(["none", "pass", "fail", "neutral", "temperror", "permerror"])
addresses = st.ip_addresses().map(str)
moments = st.integers(0, 2**32)

records = st.builds(
    Record,
    source_ip=addresses,
    header_from=domains,
    disposition=st.sampled_from(["none", "pass", "quarantine", "reject"]),
    dkim=st.sampled_from(["pass", "fail"]),
    spf=st.sampled_from(["pass", "fail"]),
    reasons=st.lists(st.builds(Reason, type=st.sampled_from(["local_policy", "other"]), comment=texts), max_size=3).map(tuple),
    envelope_from=st.none() | st.just("") | domains,
    envelope_to=st.just("") | domains,
    dkim_results=st.lists(st.builds(DKIMAuth, domain=domains, selector=labels, result=results, human=texts), max_size=4).map(tuple),
    spf_results=st.lists(st.builds(SPFAuth, domain=domains, scope=st.just("mfrom"), result=results, human=texts), max_size=1).map(tuple),
    count=st.integers(0, 10**9),
)
policies = st.builds(
    Published,
    domain=domains,
    p=words,
    sp=words,
    np=words,
    adkim=st.sampled_from(["r", "s"]),
    aspf=st.sampled_from(["r", "s"]),
    fo=st.sampled_from(["0", "1:d:s"]),
    testing=st.sampled_from(["y", "n"]),
    discovery_method=st.just("treewalk"),
)
reports = st.builds(
    AggregateReport,
    org_name=some_text,
    email=some_text,
    report_id=st.from_regex(r"[a-z0-9]{1,30}@[a-z]{1,9}\.test", fullmatch=True),
    begin=moments,
    end=moments,
    published=policies,
    records=st.lists(records, min_size=1, max_size=5).map(tuple),
    extra_contact=texts,
    errors=st.lists(some_text, max_size=1).map(tuple),
    generator=texts,
)


@given(report=reports)
def test_a_report_that_we_write_is_read_back_equal(report: AggregateReport) -> None:
    read = parse_aggregate(aggregate_xml(report))
    assert msgspec.structs.replace(read, notes=(), version="") == report


@given(report=reports, receiver=domains)
def test_the_mail_of_a_report_gives_its_row(report: AggregateReport, receiver: str) -> None:
    letter = Letter(Address("postmaster", receiver), (Address("d", report.published.domain),), receiver, 1_764_120_000)
    (row,) = read_reports(compose(report, letter), Arrived(0))
    assert (row.domain, row.report_id, row.begin, row.end) == (report.published.domain, report.report_id, report.begin, report.end)
    assert row.totals["messages"] == sum(one.count for one in report.records)


@given(published=policies, record=records)
def test_an_observation_is_one_text(published: Published, record: Record) -> None:
    row = encode(Observation(published, record))
    assert decode(row) == Observation(published, record)
    assert encode(decode(row)) == row


@given(report=reports, cuts=st.lists(st.tuples(st.integers(0, 4000), st.binary(max_size=4)), max_size=4))
@settings(max_examples=300)
def test_a_damaged_report_is_read_or_refused(report: AggregateReport, cuts: list[tuple[int, bytes]]) -> None:
    octets = bytearray(aggregate_xml(report))
    for place, change in cuts:
        octets[place : place + len(change)] = change
    try:
        parse_aggregate(bytes(octets))
    except UnreadableReportError:
        return
