# SPDX-License-Identifier: Apache-2.0
"""Authentication-Results of others: what claims to be ours goes in every disguise, and nothing else."""

from __future__ import annotations

import time

import pytest

from moatmail.core.limits.mailauth import AUTHSERV_OCTETS_MAX, RESULTS_FIELDS_MAX
from moatmail.mailauth.claimed_results import remove_foreign

ID = "mx.moat.example"
ABOVE = b"Received: from a by b;\r\n\tWed, 5 Mar 2025 07:06:05 +0000\r\n"
BELOW = b"From: a@b.example\r\nSubject: x\r\n\r\n"
SAID = b" dmarc=pass header.from=victim.example"

OURS = [
    pytest.param(b" mx.moat.example;", id="as we write it"),
    pytest.param(b"mx.moat.example;", id="without a blank"),
    pytest.param(b" Mx.MOAT.eXample;", id="in other case"),
    pytest.param(b" mx.moat.example.;", id="with the last dot"),
    pytest.param(b" mx.moat.example", id="without a semicolon"),
    pytest.param(b" mx.moat.example 1;", id="with a version"),
    pytest.param(b" mx.moat.example(c)1;", id="with a comment before the version"),
    pytest.param(b" (from (inside) us) mx.moat.example (really);", id="between nested comments"),
    pytest.param(b" (a \\) mx.evil.example; \\( ) mx.moat.example;", id="behind a comment with escaped brackets"),
    pytest.param(b' (") mx.moat.example;', id="behind a comment with a quote"),
    pytest.param(b" ((((((((((((((((((((a)))))))))))))))))))) mx.moat.example;", id="behind deep comments"),
    pytest.param(b' "mx.moat.example";', id="quoted"),
    pytest.param(b' "mx\\.m\\oat.example";', id="quoted with escapes"),
    pytest.param(b' "mx.moat".example;', id="half quoted"),
    pytest.param(b" mx . moat\r\n\t. (c) example;", id="blanks round the dots"),
    pytest.param(b" mx.moat.example .x;", id="a word behind that begins with a dot"),
    pytest.param(b" .mx.moat.example;", id="behind a dot"),
    pytest.param(b"\r\n mx.moat.example\r\n\t;", id="folded"),
    pytest.param(b"\r\n \r\n\tmx.moat.example;", id="folded with an empty line"),
    pytest.param(b" mx.moat.example,", id="a comma for the semicolon"),
    pytest.param(b" <mx.moat.example>;", id="in angle brackets"),
    pytest.param(b" ; mx.moat.example;", id="behind a semicolon"),
    pytest.param(b" (mx.moat.example;", id="in a comment that never ends"),
    pytest.param(b" (mx.moat.example (c;", id="in a comment that never ends, before another"),
    pytest.param(b' "mx.moat.example;', id="in a string that never ends"),
    pytest.param(b" ) mx.moat.example;", id="behind a bracket that closes nothing"),
    pytest.param(b" mx.moat.example\\", id="before an escape of nothing"),
    pytest.param(b" mx.m\x01oat.example;", id="with a control"),
    pytest.param(b" mx.moat.example\0.x;", id="before NUL"),
    pytest.param(b" x\0mx.moat.example;", id="behind NUL"),
    pytest.param(b" mx\0.moat.\0example;", id="with NUL"),
    pytest.param(b" =?utf-8?q?mx=2Emoat.example?=;", id="as an encoded word"),
    pytest.param(b" =?utf-8?b?bXgubW9hdC5leGFtcGxlOyBkbWFyYz1wYXNz?=", id="as an encoded word that holds the result too"),
    pytest.param(" \uff4d\uff58.moat\u3002example;".encode(), id="in letters of another width"),
    pytest.param(" mx.mo\u200bat.example;".encode(), id="with a letter that is not seen"),
    pytest.param(b" mx.moat.example;" + b" x" * 5000, id="before very much"),
    pytest.param(b" " + b"(c)" * AUTHSERV_OCTETS_MAX + b" mx.moat.example;", id="behind too many comments"),
    pytest.param(b" (" + b"c;" * AUTHSERV_OCTETS_MAX + b") mx.moat.example;", id="behind a comment that is too long"),
]


@pytest.mark.parametrize("head", OURS)
def test_a_field_that_claims_our_name_goes(head: bytes) -> None:
    assert remove_foreign(ABOVE + b"Authentication-Results:" + head + SAID + b"\r\n" + BELOW, ID) == ABOVE + BELOW


@pytest.mark.parametrize("head", OURS)
def test_it_goes_with_its_folded_lines(head: bytes) -> None:
    assert remove_foreign(ABOVE + b"Authentication-Results:" + head + b"\r\n\tspf=pass\r\n dkim=pass\r\n" + BELOW, ID) == ABOVE + BELOW


NAMES = [
    pytest.param(b"AUTHENTICATION-results:", id="in other case"),
    pytest.param(b"Authentication-Results :", id="a blank before the colon"),
    pytest.param(b"Authentication-Results\t \t:", id="blanks before the colon"),
    pytest.param(b"Authentication-Results\r\n :", id="a fold before the colon"),
    pytest.param(b"\x01Authentication-Results:", id="behind a control"),
    pytest.param(b"\xef\xbb\xbfAuthentication-Results:", id="behind a byte order mark"),
    pytest.param(b"Authentication\x7f-Results\0:", id="with controls in it"),
    pytest.param("Authentication\u00ad-Results:".encode(), id="with a soft hyphen"),
]


@pytest.mark.parametrize("name", NAMES)
def test_the_name_of_the_field_has_disguises_too(name: bytes) -> None:
    assert remove_foreign(ABOVE + name + b" mx.moat.example;" + SAID + b"\r\n spf=pass\r\n" + BELOW, ID) == ABOVE + BELOW


def test_a_folded_line_that_begins_the_header_is_a_field_to_some() -> None:
    assert remove_foreign(b" Authentication-Results: mx.moat.example;" + SAID + b"\r\n" + BELOW, ID) == BELOW


def test_a_hidden_field_may_stand_last() -> None:
    assert remove_foreign(ABOVE + b"\x01Authentication-Results: mx.moat.example; x\r\n", ID) == ABOVE


def test_a_line_that_is_no_field_goes_whole() -> None:
    assert remove_foreign(b"\x01x\x01y z Authentication-Results: mx.moat.example; x\r\n" + BELOW, ID) == BELOW


KEPT = [
    pytest.param(b"Authentication-Results: mx.other.example;", id="of another"),
    pytest.param(b"Authentication-Results: evil.mx.moat.example;", id="of a name below ours"),
    pytest.param(b"Authentication-Results: moat.example;", id="of the name above ours"),
    pytest.param(b"Authentication-Results: mx.moat.example.evil.test;", id="of a name that begins with ours"),
    pytest.param(b"Authentication-Results: mx.moat.example-2;", id="of a name that goes on behind ours"),
    pytest.param(b"Authentication-Results: amx.moat.example;", id="of a name that ends with ours"),
    pytest.param(b"Authentication-Results: a-mx.moat.example;", id="of a name that ends with ours behind a hyphen"),
    pytest.param("Authentication-Results: émx.moat.example;".encode(), id="of a name that ends with ours behind another script"),
    pytest.param(b"Authentication-Results: mx.moat.examples;", id="of a longer name"),
    pytest.param(b"Authentication-Results: mx-moat.example;", id="where a dot is none"),
    pytest.param(b"Authentication-Results: mx.other.example (mx.moat.example);", id="that has our name in a comment"),
    pytest.param(b"Authentication-Results: mx.other.example; spf=pass smtp.helo=mx.moat.example;", id="that tells of us"),
    pytest.param(b"Authentication-Results: mx.other.example; x=(mx.moat.example", id="that is damaged behind its name"),
    pytest.param(b"Authentication-Results: spf=pass (sender IP is 192.0.2.1) smtp.helo=mx.moat.example;", id="without a name"),
    pytest.param(b"Authentication-Results: ) mx.other.example; mx.moat.example;", id="of another, behind a bracket that closes nothing"),
    pytest.param(b"Authentication-Results:", id="empty"),
    pytest.param(b"Authentication-Results: (nobody)", id="with a comment alone"),
    pytest.param(b"ARC-Authentication-Results: i=1; mx.moat.example;", id="of a sealer"),
    pytest.param(b"X-Original-Authentication-Results: mx.moat.example;", id="under another name"),
    pytest.param(b"X-Authentication-Results: mx.moat.example;", id="under another name that ends so"),
    pytest.param(b"Subject: x\r\n Authentication-Results: mx.moat.example;", id="folded into another field"),
    pytest.param("Subject: é\r\n Authentication-Results: mx.moat.example;".encode(), id="folded into another field that is not ASCII"),
    pytest.param(b"Authentication-Results-Of: mx.moat.example;", id="under a longer name"),
]


@pytest.mark.parametrize("field", KEPT)
def test_a_field_that_does_not_claim_our_name_stays(field: bytes) -> None:
    header = ABOVE + field + SAID + b"\r\n" + BELOW
    assert remove_foreign(header, ID) is header


def test_a_header_without_such_a_field_is_given_back_as_it_is() -> None:
    header = ABOVE + BELOW
    assert remove_foreign(header, ID) is header
    assert remove_foreign(b"", ID) == b""


def test_of_many_fields_exactly_ours_go() -> None:
    ours, others = b"Authentication-Results: mx.moat.example; x\r\n", b"Authentication-Results: other.example; x\r\n"
    assert remove_foreign(ours + others + ABOVE + ours + others + ours + BELOW, ID) == others + ABOVE + others + BELOW
    assert remove_foreign(ours * 300 + BELOW, ID) == BELOW


def test_of_more_fields_than_anybody_writes_those_further_down_go_unread() -> None:
    others = b"Authentication-Results: other.example; x\r\n"
    assert remove_foreign(others * 300 + BELOW, ID) == others * RESULTS_FIELDS_MAX + BELOW


@pytest.mark.parametrize("name", ["mx.xn--bcher-kva.example", "MX.xn--bcher-kva.example."])
@pytest.mark.parametrize("form", ["mx.xn--bcher-kva.example", "mx.bücher.example", "mx.BÜCHER.example", "mx.bu\u0308cher.example"])
def test_our_name_is_the_same_in_u_labels(name: str, form: str) -> None:
    assert remove_foreign(ABOVE + f"Authentication-Results: {form}; x\r\n".encode() + BELOW, name) == ABOVE + BELOW


def test_the_last_field_needs_no_line_end() -> None:
    assert remove_foreign(ABOVE + b"Authentication-Results: mx.moat.example; x", ID) == ABOVE


FIELD = b"Authentication-Results:"
LONG = [
    pytest.param(FIELD + b"(" * 250_000, id="comments that never end"),
    pytest.param(FIELD + b"()" * 125_000, id="empty comments"),
    pytest.param(FIELD + b"(" * 125_000 + b")" * 125_000, id="one deep comment"),
    pytest.param((FIELD + b"()" * 500 + b"\r\n") * 240, id="many fields full of comments"),
    pytest.param((FIELD + b"(\\(" * 20 + b"\r\n") * 3_000, id="short fields"),
    pytest.param(FIELD + b'"\\' * 125_000, id="escapes in a string"),
    pytest.param(FIELD + b"\\(" * 125_000, id="escapes"),
    pytest.param(FIELD + b". " * 125_000, id="dots and blanks"),
    pytest.param(FIELD + "é ".encode() * 80_000, id="not ASCII"),
    pytest.param(FIELD + b"=?utf-8?q?x?= " * 17_000, id="encoded words"),
    pytest.param(FIELD + b" mx.moat" * 30_000, id="half of our name again and again"),
    pytest.param((b"\x01" + FIELD + b"mx.moat.example;\n") * 6_000, id="hidden fields"),
    pytest.param(b"\x01\n" * 125_000, id="lines that are no field"),
    pytest.param(b"a\x01" * 125_000 + b"\n", id="the beginning of the name again and again"),
    pytest.param(b"\x01" + b"authentication-result" * 12_000 + b"\n", id="nearly the whole name again and again"),
    pytest.param((b"x" * 99 + b"\n") * 2_500 + FIELD + b"mx.moat.example\n", id="long lines that are no field"),
]


@pytest.mark.parametrize("header", LONG)
def test_the_largest_header_takes_no_longer_than_its_octets(header: bytes) -> None:
    def seconds(octets: bytes) -> float:
        begin = time.thread_time()
        remove_foreign(octets, ID)
        return time.thread_time() - begin

    # 5 ms here; a quadratic step takes minutes.
    assert min(seconds(header) for _ in range(3)) < 0.25
