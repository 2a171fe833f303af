# SPDX-License-Identifier: Apache-2.0
"""What a message adds to a DMARC report: no address, one canonical row, and the reason where a policy was not applied."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from moatmail.mailauth.dkim import DKIMResult
from moatmail.mailauth.dmarc.record import Policy, parse_record
from moatmail.mailauth.dmarc.record import Record as PolicyRecord
from moatmail.mailauth.reports.observed import Facts, Observation, decode, encode, observe, published_policy
from moatmail.mailauth.reports.report import DKIMAuth, Published, Reason, SPFAuth
from moatmail.mailauth.result import Result
from moatmail.mailauth.spf.check import SPFIdentity, SPFResult

RECORD = parse_record(b"v=DMARC1; p=reject; sp=quarantine; rua=mailto:d@a.test")


@dataclass(frozen=True)
class Judgement:
    """The part of a DMARC result that a report is made of."""

    result: Result = Result.FAIL
    author_domain: str | None = "news.a.test"
    policy_domain: str | None = "a.test"
    policy: Policy = Policy.QUARANTINE
    disposition: Policy = Policy.QUARANTINE
    aligned_spf: bool = False
    aligned_dkim: tuple[str, ...] = ()
    record: PolicyRecord | None = RECORD


FAILED = Judgement()
PASSED = replace(FAILED, result=Result.PASS, aligned_dkim=("a.test",))
FACTS = Facts("192.0.2.7", "bounce.test", ("b.test",))


def signature(domain: str, selector: str = "s1", result: Result = Result.PASS, reason: str = "") -> DKIMResult:
    return DKIMResult(result, reason, domain, selector, f"@{domain}", "rsa-sha256", "")


def only(facts: Facts, dmarc: Judgement, applied: str = "none", reasons: tuple[Reason, ...] = ()) -> Observation:
    ((domain, row),) = observe(facts, dmarc, applied, reasons)
    assert domain == "a.test"
    return decode(row)


def test_the_row_of_a_message_says_what_was_published_and_what_became_of_it() -> None:
    spf = SPFResult(Result.SOFTFAIL, SPFIdentity.MAIL_FROM, "bounce.test")
    seen = only(replace(FACTS, spf=spf, dkim=(signature("c.test"),)), FAILED, "quarantine")
    assert seen.published == Published("a.test", "reject", "quarantine", "quarantine", "r", "r", "0", "n", "treewalk")
    assert (seen.record.source_ip, seen.record.header_from, seen.record.envelope_from, seen.record.envelope_to, seen.record.count) == (
        "192.0.2.7",
        "news.a.test",
        "bounce.test",
        "b.test",
        1,
    )
    assert (seen.record.disposition, seen.record.dkim, seen.record.spf, seen.record.reasons) == ("quarantine", "fail", "fail", ())
    assert seen.record.dkim_results == (DKIMAuth("c.test", "s1", "pass"),)
    assert seen.record.spf_results == (SPFAuth("bounce.test", "mfrom", "softfail"),)


@pytest.mark.parametrize(
    ("dmarc", "applied", "disposition", "reasons"),
    [
        pytest.param(PASSED, "none", "pass", (), id="what passes under an enforcing policy is told as pass"),
        pytest.param(replace(PASSED, policy=Policy.NONE), "none", "none", (), id="what passes under p=none is told as none"),
        pytest.param(FAILED, "quarantine", "quarantine", (), id="a policy that was applied needs no reason"),
        pytest.param(FAILED, "none", "none", ("local_policy",), id="a policy that we did not apply is our local policy"),
        pytest.param(replace(FAILED, disposition=Policy.NONE), "none", "none", ("policy_test_mode",), id="test mode is the owner's own wish"),
        pytest.param(
            replace(FAILED, policy=Policy.REJECT, disposition=Policy.QUARANTINE), "none", "none", ("local_policy",), id="less than test mode asks is ours"
        ),
        pytest.param(replace(FAILED, result=Result.TEMPERROR), "none", "none", ("other",), id="a lookup that failed is told"),
        pytest.param(replace(FAILED, policy=Policy.NONE), "none", "none", (), id="p=none is applied by doing nothing"),
    ],
)
def test_a_policy_that_was_not_applied_has_a_reason(dmarc: Judgement, applied: str, disposition: str, reasons: tuple[str, ...]) -> None:
    seen = only(FACTS, dmarc, applied)
    assert (seen.record.disposition, tuple(one.type for one in seen.record.reasons)) == (disposition, reasons)


def test_a_given_reason_stands_instead_of_ours() -> None:
    assert only(FACTS, FAILED, "none", (Reason("trusted_forwarder", "seal of list.test"),)).record.reasons == (
        Reason("trusted_forwarder", "seal of list.test"),
    )


def test_signatures_that_explain_the_result_come_first() -> None:
    results = (
        signature("x.test", result=Result.FAIL, reason="body hash did not match"),
        signature("other.test"),
        signature("a.test"),
        signature("news.a.test"),
        signature("", "s9", Result.PERMERROR),
    )
    seen = only(replace(FACTS, dkim=results), replace(PASSED, aligned_dkim=("a.test", "news.a.test")))
    assert [one.domain for one in seen.record.dkim_results] == ["news.a.test", "a.test", "other.test", "x.test"]
    assert seen.record.dkim_results[-1].human == "body hash did not match"


def test_each_receiving_domain_has_its_row() -> None:
    rows = observe(replace(FACTS, receivers=("c.test", "b.test", "b.test")), FAILED, "quarantine")
    assert [(domain, decode(row).record.envelope_to) for domain, row in rows] == [("a.test", "b.test"), ("a.test", "c.test")]


@pytest.mark.parametrize(
    "dmarc",
    [
        pytest.param(replace(FAILED, record=None), id="no policy"),
        pytest.param(replace(FAILED, record=parse_record(b"v=DMARC1; p=reject")), id="a policy without rua"),
        pytest.param(replace(FAILED, author_domain=None), id="no Author Domain"),
    ],
)
def test_nothing_is_observed_for(dmarc: Judgement) -> None:
    assert observe(FACTS, dmarc, "none") == ()


@pytest.mark.parametrize("name", ["[192.0.2.1]", "what is\x01this", "x" * 300, "bücher\udcff.test", ""])
def test_a_helo_name_that_is_no_name_is_not_told(name: str) -> None:
    spf = SPFResult(Result.NONE, SPFIdentity.MAIL_FROM, name)
    assert only(replace(FACTS, envelope_from="", spf=spf), FAILED).record.spf_results == ()


def test_equal_messages_give_equal_rows_and_mapped_addresses_are_the_same_source() -> None:
    mapped = replace(FACTS, source_ip="::ffff:192.0.2.7")
    assert observe(mapped, FAILED, "none") == observe(FACTS, FAILED, "none")
    ((_, row),) = observe(FACTS, FAILED, "none")
    assert encode(decode(row)) == row


def test_the_null_reverse_path_is_empty_and_not_absent() -> None:
    assert only(replace(FACTS, envelope_from=""), FAILED).record.envelope_from == ""


def test_a_policy_that_leaves_everything_out_is_told_with_its_defaults() -> None:
    assert published_policy("a.test", parse_record(b"v=DMARC1; p=none")) == Published("a.test", "none", "none", "none", "r", "r", "0", "n", "treewalk")
