# SPDX-License-Identifier: Apache-2.0
"""A report of our own: the elements of RFC 9990 in their order, the mail that carries it, and the same octets each time."""

from __future__ import annotations

import email
import email.policy
import gzip
import json
import re
import tomllib
from xml.etree import ElementTree as ET

import pytest

from moatmail.core.address import Address
from moatmail.mailauth.dmarc.record import Policy, parse_record
from moatmail.mailauth.dmarc.record import Record as PolicyRecord
from moatmail.mailauth.reports.aggregate import parse_aggregate
from moatmail.mailauth.reports.build import NAMESPACE, Letter, aggregate_xml, compose, file_name, report_id
from moatmail.mailauth.reports.observed import Facts, decode, observe
from moatmail.mailauth.reports.received import Arrived, read_reports
from moatmail.mailauth.reports.report import AggregateReport, DKIMAuth, Published, Reason, Record, SPFAuth
from moatmail.mailauth.result import Result
from moatmail.mailauth.spf.check import SPFIdentity, SPFResult
from tests.unit.mailauth.reports.test_observed import Judgement, signature
from tests.unit.message.reading import CASES

RECORD = Record(
    "2001:db8::1",
    "news.a.test",
    "quarantine",
    "fail",
    "fail",
    (Reason("local_policy", "a <list> & more"), Reason("policy_test_mode")),
    "",
    "b.test",
    (DKIMAuth("a.test", "s1", "fail", "body hash did not match"), DKIMAuth("c.test", "s2", "pass")),
    (SPFAuth("mx.a.test", "mfrom", "softfail"),),
    7,
)
REPORT = AggregateReport(
    "Moatmail at b.test",
    "postmaster@b.test",
    report_id("a.test", "b.test", 1_764_028_800, 1_764_115_199),
    1_764_028_800,
    1_764_115_199,
    Published("a.test", "reject", "quarantine", "reject", "r", "s", "1:d", "n", "treewalk"),
    (RECORD,),
    errors=("the policy changed", "more was left out"),
    generator="Moatmail",
)
LETTER = Letter(Address("postmaster", "b.test"), (Address("d", "a.test"), Address("agg", "reports.test")), "b.test", 1_764_120_000)

# RFC 9990 §3.1.1.2 to §3.1.1.14: the elements of each, with how many there may be; "all" lists may stand in any order, ours stand in this one.
SCHEMA = {
    "feedback": {"version": "?", "report_metadata": "1", "policy_published": "1", "extension": "?", "record": "+"},
    "report_metadata": {"org_name": "1", "email": "1", "extra_contact_info": "?", "report_id": "1", "date_range": "1", "error": "?", "generator": "?"},
    "date_range": {"begin": "1", "end": "1"},
    "policy_published": {
        "domain": "1",
        "discovery_method": "?",
        "p": "1",
        "sp": "?",
        "np": "?",
        "fo": "?",
        "adkim": "?",
        "aspf": "?",
        "testing": "?",
    },
    "record": {"row": "1", "identifiers": "1", "auth_results": "1"},
    "row": {"source_ip": "1", "count": "1", "policy_evaluated": "1"},
    "policy_evaluated": {"disposition": "1", "dkim": "1", "spf": "1", "reason": "*"},
    "reason": {"type": "1", "comment": "?"},
    "identifiers": {"header_from": "1", "envelope_from": "?", "envelope_to": "?"},
    "auth_results": {"dkim": "*", "spf": "?"},
    "auth_results/dkim": {"domain": "1", "selector": "1", "result": "1", "human_result": "?"},
    "auth_results/spf": {"domain": "1", "scope": "?", "result": "1", "human_result": "?"},
}
WORDS = {
    "disposition": r"none|pass|quarantine|reject",
    "policy_evaluated/dkim": r"pass|fail",
    "policy_evaluated/spf": r"pass|fail",
    "type": r"local_policy|mailing_list|other|policy_test_mode|trusted_forwarder",
    "scope": r"mfrom",
    "discovery_method": r"psl|treewalk",
    "testing": r"y|n",
    "p": r"none|quarantine|reject",
    "sp": r"none|quarantine|reject",
    "np": r"none|quarantine|reject",
    "adkim": r"r|s",
    "aspf": r"r|s",
    "version": r"1\.0",
    "count": r"[0-9]+",
    "begin": r"[0-9]+",
    "end": r"[0-9]+",
    "auth_results/dkim/result": r"none|pass|fail|policy|neutral|temperror|permerror",
    "auth_results/spf/result": r"none|pass|fail|softfail|neutral|temperror|permerror",
}


def mistakes(element: ET.Element, parent: str = "") -> list[str]:
    """Give where an element breaks the schema of RFC 9990 appendix A."""
    name = element.tag.removeprefix(f"{{{NAMESPACE}}}")
    shape = SCHEMA.get(f"{parent}/{name}") or (SCHEMA.get(name) if len(element) or name in {"auth_results", "identifiers"} else None)
    if shape is None:
        words = next((WORDS[key] for key in (f"{parent}/{name}", name) if key in WORDS), r"(?s:.*)")
        return [] if re.fullmatch(words, element.text or "") else [f"{parent}/{name}: {element.text}"]
    names = " ".join(child.tag.removeprefix(f"{{{NAMESPACE}}}") for child in element) + " "
    order = "".join(f"(?:{one} ){'' if many == '1' else many}" for one, many in shape.items())
    found = [] if re.fullmatch(order, names if len(element) else "") else [f"{name}: {names}"]
    above = f"auth_results/{name}" if parent == "auth_results" else name
    return found + [one for child in element for one in mistakes(child, above)]


def test_the_elements_are_those_of_the_schema_in_their_order() -> None:
    root = ET.fromstring(aggregate_xml(REPORT))  # noqa: S314 - our own octets
    assert root.tag == f"{{{NAMESPACE}}}feedback"
    assert mistakes(root) == []


def test_the_schema_of_this_test_refuses_what_is_not_in_it() -> None:
    for broken in (
        aggregate_xml(REPORT).replace(b"<version>1.0", b"<version>2.0"),
        aggregate_xml(REPORT).replace(b"<disposition>quarantine", b"<disposition>junk"),
        aggregate_xml(REPORT).replace(b"<selector>s1</selector>", b""),
        aggregate_xml(REPORT).replace(b"<count>7</count>", b"<count>7</count><count>7</count>"),
    ):
        assert mistakes(ET.fromstring(broken)) != []  # noqa: S314 - our own octets


def test_what_is_written_is_read_back_and_text_stays_text() -> None:
    read = parse_aggregate(aggregate_xml(REPORT))
    assert read.records == REPORT.records
    assert read.published == REPORT.published
    assert (read.version, read.notes, read.report_id) == ("1.0", (), REPORT.report_id)


def test_the_mail_is_made_as_the_standard_says() -> None:
    made = compose(REPORT, LETTER)
    mail = email.message_from_bytes(made, policy=email.policy.default)
    assert mail["Subject"] == f"Report Domain: a.test Submitter: b.test Report-ID: <{REPORT.report_id}>"
    assert (mail["From"], mail["To"], mail["Auto-Submitted"]) == ("postmaster@b.test", "d@a.test, agg@reports.test", "auto-generated")
    assert mail["Message-ID"] == f"<{REPORT.report_id}>"
    note, attachment = mail.iter_parts()
    assert note.get_content_type() == "text/plain"
    assert (attachment.get_content_type(), attachment.get_filename()) == ("application/gzip", "b.test!a.test!1764028800!1764115199.xml.gz")
    assert gzip.decompress(attachment.get_content()) == aggregate_xml(REPORT)
    assert max(map(len, made.split(b"\r\n"))) <= 998
    assert b"\n" not in made.replace(b"\r\n", b"")


def test_the_mail_is_read_by_our_own_reader() -> None:
    (row,) = read_reports(compose(REPORT, LETTER), Arrived(0))
    assert (row.kind, row.domain, row.reporter, row.report_id) == ("dmarc", "a.test", "Moatmail at b.test (not proved)", REPORT.report_id)
    assert row.totals == {"messages": 7, "pass": 0, "fail": 7, "sources": 1, "records": 1}


def test_a_report_made_again_is_the_same() -> None:
    assert compose(REPORT, LETTER) == compose(REPORT, LETTER)
    assert report_id("a.test", "b.test", 1, 2) != report_id("a.test", "c.test", 1, 2) != report_id("a.test", "c.test", 1, 3)
    assert re.fullmatch(r"[a-z0-9]+(?:\.[a-z0-9]+)*@b\.test", REPORT.report_id)


def test_the_subject_of_long_names_stays_plain() -> None:
    long = ".".join(["a" * 60] * 4)
    report = AggregateReport("o", "e@b.test", report_id(long, "b.test", 1, 2), 1, 2, Published(long, "none"), (RECORD,))
    mail = email.message_from_bytes(compose(report, LETTER), policy=email.policy.compat32)
    assert re.sub(r"\s+", " ", mail["Subject"]).startswith(f"Report Domain: {long} Submitter: b.test Report-ID: <")
    assert file_name(report, "b.test") == f"b.test!{long}!1!2.xml.gz"


@pytest.mark.parametrize("text", ["\x00\x08\x0b\x1f", "\ufffe\uffff", "\ud800"], ids=["controls", "no characters", "half a pair"])
def test_what_xml_cannot_hold_is_left_out(text: str) -> None:
    record = Record("192.0.2.1", "a.test", reasons=(Reason("other", f"a{text}b"),))
    report = AggregateReport("o", "e@b.test", "r", 1, 2, Published("a.test", "none"), (record,))
    assert parse_aggregate(aggregate_xml(report)).records[0].reasons == (Reason("other", "ab"),)


def policy_of(text: str) -> PolicyRecord:
    return parse_record(text.encode())


def test_a_policy_that_leaves_everything_out_makes_a_valid_report() -> None:
    folder = next(iter((CASES / "reports").glob("13-*")), None)
    if folder is None:
        pytest.skip("case 13 of the reports is not here")
    assert tomllib.loads((folder / "case.toml").read_text())["id"] == "rep-13"
    facts = json.loads((folder / "facts.json").read_text())
    rows: list[str] = []
    for one in facts["messages"]:
        dkim = [signature(each["domain"], each["selector"], Result(each["result"])) for each in one["dkim"]]
        domain = one["mail_from"].rpartition("@")[2]
        spf = SPFResult(Result(one["spf"]), SPFIdentity.MAIL_FROM, domain or one["helo"])
        aligned = tuple(each.domain for each in dkim)
        judged = Judgement(Result.PASS, one["from"], "example.org", Policy.NONE, Policy.NONE, not dkim, aligned, policy_of(facts["policy"]))
        rows += [row for _, row in observe(Facts(one["ip"], domain, ("b.test",), spf, dkim), judged, "none")]
    seen = [decode(row) for row in rows]
    report = AggregateReport("o", "e@b.test", "r", 1, 2, seen[0].published, tuple(one.record for one in seen))
    assert mistakes(ET.fromstring(aggregate_xml(report))) == []  # noqa: S314 - our own octets
    # The null reverse-path stands there empty; RFC 9990 §3.1.1.13 has no scope helo any more, the identity is postmaster at that name.
    assert [(one.record.envelope_from, one.record.spf_results[0].domain, one.record.spf_results[0].scope) for one in seen] == [
        ("", "mx.example.org", "mfrom"),
        ("sub.example.org", "sub.example.org", "mfrom"),
    ]
    assert [one.record.dkim for one in seen] == ["fail", "pass"]
