# SPDX-License-Identifier: Apache-2.0
"""DMARC records beyond the published cases: what each tag says, what a broken one leaves, which addresses are addresses, and what is bounded."""

from __future__ import annotations

import pytest

from moatmail.core.limits.mailauth import DMARC_CACHED_OCTETS, DMARC_RECORD_OCTETS, DMARC_TAGS_MAX, DMARC_URIS_MAX
from moatmail.mailauth.dmarc.record import Policy, Record, Suffix, is_record, parse_record

GOOD = parse_record(b"v=DMARC1; p=reject; sp=quarantine; np=none; adkim=s; aspf=s; psd=n; t=y; fo=1:d:s; rua=mailto:a@a.test; ruf=mailto:f@a.test")


def test_every_tag_is_read() -> None:
    assert (GOOD.p, GOOD.sp, GOOD.np) == (Policy.REJECT, Policy.QUARANTINE, Policy.NONE)
    assert GOOD.strict_dkim
    assert GOOD.strict_spf
    assert GOOD.suffix is Suffix.NO
    assert GOOD.testing
    assert GOOD.fo == "1:d:s"
    assert [one.uri for one in (*GOOD.rua, *GOOD.ruf)] == ["mailto:a@a.test", "mailto:f@a.test"]
    assert GOOD.usable
    assert GOOD.problems == ()


def test_what_is_not_said_has_the_values_of_the_standard() -> None:
    assert parse_record(b"v=DMARC1; p=reject") == Record("v=DMARC1; p=reject", Policy.REJECT)


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        (b"v=DMARC1", True),
        (b"v=DMARC1;", True),
        (b"V = DMARC1 ;p=none", True),
        (b"v=DMARC1 p=none", False),
        (b"v=DMARC2; p=none", False),
        (b"v=DMARC11", False),
        (b"v=dmarc1", False),
        (b" v=DMARC1", False),
        (b"; v=DMARC1", False),
        (b"", False),
    ],
)
def test_the_version_comes_first_and_has_a_case(text: bytes, is_one: bool) -> None:
    assert is_record(text) is is_one


@pytest.mark.parametrize(
    ("tags", "p", "usable"),
    [
        (b"", Policy.NONE, False),
        (b"rua=mailto:a@a.test", Policy.NONE, True),
        (b"p=", Policy.NONE, False),
        (b"p=nothing; rua=mailto:a@a.test", Policy.NONE, True),
        (b"p=nothing; rua=a@a.test", Policy.NONE, False),
        (b"p=reject; sp=x", Policy.NONE, False),
        (b"p=reject; np=x; rua=mailto:a@a.test", Policy.NONE, True),
        (b"p=reject; t=x; adkim=x; aspf=; psd=maybe; fo=9; pct=banana; rf=x; ri=y; zz=1", Policy.REJECT, True),
    ],
)
def test_a_broken_policy_counts_as_none_where_somebody_wants_reports_and_other_tags_go_alone(tags: bytes, p: Policy, usable: bool) -> None:
    found = parse_record(b"v=DMARC1; " + tags)
    assert (found.p, found.sp, found.np, found.usable) == (p, None, None, usable)
    assert not found.strict_dkim
    assert not found.testing
    assert found.suffix is Suffix.UNKNOWN


@pytest.mark.parametrize(
    ("value", "uris"),
    [
        (b"mailto:a@a.test,mailto:b@b.test", ["mailto:a@a.test", "mailto:b@b.test"]),
        (b" mailto:a@a.test , MAILTO:B@B.Test ", ["mailto:a@a.test", "mailto:B@b.test"]),
        (b"mailto:a@a.test!10m", ["mailto:a@a.test"]),
        (b"mailto:a@a.test?subject=x", ["mailto:a@a.test"]),
        (b"mailto:a%40b@a.test", ["mailto:a%40b@a.test"]),
        (b"mailto:a+b@a.test", ["mailto:a+b@a.test"]),
        (b"mailto:a@a.test,mailto:a@A.TEST", ["mailto:a@a.test"]),
        (b"https://a.test/,a@a.test,mailto:,mailto:@a.test,mailto:a@,mailto:a@[192.0.2.1],mailto:a b@a.test", []),
        (b"mailto:a%0d%0aBcc:x@a.test", []),
        (b"mailto:a%00@a.test", []),
        (b"mailto:\xff@a.test", []),
    ],
)
def test_report_addresses_are_mailto_and_addresses(value: bytes, uris: list[str]) -> None:
    found = parse_record(b"v=DMARC1; p=none; rua=" + value)
    assert [one.uri for one in found.rua] == uris
    assert all(one.address.domain == one.address.domain.lower() for one in found.rua)


def test_what_was_percent_encoded_is_one_local_part() -> None:
    (one,) = parse_record(b"v=DMARC1; p=none; rua=mailto:%22a%20b%22%40c@a.test").rua
    assert (one.address.localpart, one.address.domain) == ('"a b"@c', "a.test")


def test_bounds() -> None:
    many = b"v=DMARC1; p=none; rua=" + b",".join(b"mailto:a%d@a.test" % n for n in range(50))
    assert len(parse_record(many).rua) == DMARC_URIS_MAX
    late = b"v=DMARC1; " + b"x=1; " * DMARC_TAGS_MAX + b"p=reject"
    assert not parse_record(late).usable
    long = b"v=DMARC1; p=reject; n=" + b"x" * DMARC_RECORD_OCTETS + b"; sp=none"
    assert len(long) > DMARC_CACHED_OCTETS
    assert (parse_record(long).sp, len(parse_record(long).text)) == (None, DMARC_RECORD_OCTETS)


def test_the_first_of_two_equal_tags_counts_and_it_is_told() -> None:
    found = parse_record(b"v=DMARC1; p=reject; P=none")
    assert found.p is Policy.REJECT
    assert found.problems == ("tag p stands twice",)


@pytest.mark.parametrize(("policy", "lowered"), [(Policy.REJECT, Policy.QUARANTINE), (Policy.QUARANTINE, Policy.NONE), (Policy.NONE, Policy.NONE)])
def test_one_step_weaker(policy: Policy, lowered: Policy) -> None:
    assert policy.lowered is lowered
    assert policy.strength >= lowered.strength
