# SPDX-License-Identifier: Apache-2.0
"""Who is the author: From fields that all readers read alike name one, and where they would differ there is none."""

from __future__ import annotations

import pytest

from moatmail.mailauth.dmarc.author import FromProblem, author_of

GOOD = "good.example"


@pytest.mark.parametrize(
    "field",
    [
        b"a@good.example",
        b" <a@GOOD.Example>",
        b"Carol <a@good.example>",
        b"Carol A. Example <a@good.example>",
        b'"Example, Carol" <a@good.example>',
        b"Example, Carol <a@good.example>",
        b"Carol Example, <a@good.example>",
        b'"a@evil.example" <a@good.example>',
        b"a@good.example (Carol (of Good) \\) Example)",
        b"(Carol) a @ good . example",
        b"<a@good (x) . (y) example (z)>",
        b"<@r.example,@s.example:a@good.example>",
        b"Carol\r\n <a@good.example>",
        b"Group: a@good.example, b@good.example;",
        b"a@good.example, b@good.example,",
        b"Jos\xe9 <a@good.example>",
        b"=?utf-8?q?Carol?= <a@good.example>",
        b'"a <b>"@good.example',
    ],
)
def test_what_all_readers_read_alike_names_one_author(field: bytes) -> None:
    assert (author_of([field]).domain, author_of([field]).problem) == (GOOD, None)


@pytest.mark.parametrize(
    ("field", "problem"),
    [
        (b"", FromProblem.NO_ADDRESS),
        (b"Carol", FromProblem.NO_ADDRESS),
        (b"Automated:;", FromProblem.NO_ADDRESS),
        (b'"Bank" <>', FromProblem.NO_ADDRESS),
        (b"a@[192.0.2.1]", FromProblem.NO_DOMAIN),
        (b"a@good.example, a@[192.0.2.1]", FromProblem.SEVERAL_DOMAINS),
        (b"a@good.example, b@evil.example", FromProblem.SEVERAL_DOMAINS),
        (b"a@evil.example <a@good.example>", FromProblem.SEVERAL_DOMAINS),
        (b"Group: a@good.example;, b@evil.example", FromProblem.SEVERAL_DOMAINS),
        (b"=?utf-8?q?a=40evil=2Eexample?=, <a@good.example>", FromProblem.MALFORMED),
        (b"<a@good.example> b@evil.example", FromProblem.MALFORMED),
        (b"<a@good.example><b@evil.example>", FromProblem.MALFORMED),
        (b"<a@good.example", FromProblem.MALFORMED),
        (b'"Carol <a@good.example>', FromProblem.MALFORMED),
        (b"(Carol a@good.example", FromProblem.MALFORMED),
        (b"Group: a@good.example", FromProblem.MALFORMED),
        (b"a@good.example\0", FromProblem.MALFORMED),
        (b"a@good.example\rb@evil.example", FromProblem.MALFORMED),
        (b"a@good.example\nevil.example", FromProblem.MALFORMED),
        (b"a@good.example\r\nevil.example", FromProblem.MALFORMED),
        (b"a@good.example.", FromProblem.MALFORMED),
        (b"a@good..example", FromProblem.MALFORMED),
        (b"<a@b@good.example>", FromProblem.MALFORMED),
        # One reader sees good.example, another a domain that anybody can register.
        (b"<a@good.example evil.example>", FromProblem.MALFORMED),
        (b"<a@good.example\r\n evil.example>", FromProblem.MALFORMED),
        (b"<a@good.example(x)evil.example>", FromProblem.MALFORMED),
        (b"a@good.example evil.example", FromProblem.MALFORMED),
    ],
)
def test_where_readers_differ_there_is_no_author(field: bytes, problem: FromProblem) -> None:
    assert (author_of([field]).domain, author_of([field]).problem) == (None, problem)


def test_two_fields_are_none_even_when_they_are_equal() -> None:
    assert author_of([b"a@good.example", b"a@good.example"]).problem is FromProblem.SEVERAL_FIELDS
    assert author_of([]).problem is FromProblem.NO_FIELD
    assert author_of([], hidden=True).problem is FromProblem.MALFORMED
    assert author_of([b"a@good.example"], hidden=True).problem is FromProblem.SEVERAL_FIELDS


def test_u_labels_become_a_labels() -> None:
    assert author_of(["a@Bücher.example".encode()]).domain == "xn--bcher-kva.example"


def test_a_list_beyond_the_bounds_has_no_author() -> None:
    assert author_of([b"a@good.example," * 1500]).problem is FromProblem.MALFORMED
    assert author_of([b'"x" ' * 5000 + b"<a@good.example>"]).problem is FromProblem.MALFORMED
    assert author_of([b"x" * 70_000 + b" <a@good.example>"]).problem is FromProblem.MALFORMED
