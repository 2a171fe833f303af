# SPDX-License-Identifier: Apache-2.0
"""From fields that only a careless reader sees: found wherever they hide, in time that grows with the header and no faster."""

from __future__ import annotations

import time

import pytest

from moatmail.mailauth.dmarc.author import FromProblem, find_author
from moatmail.message.header import Header

FROM = b"From: a@a.example\r\n"


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b"\x01From: b@b.example\r\n", id="behind a control"),
        pytest.param(b"\xef\xbb\xbffrom\x02 : b@b.example\r\n", id="between a byte order mark and a control"),
        pytest.param(b"F\x00ro\x80m: b@b.example\r\n", id="between its letters"),
        pytest.param(b"From\r\n : b@b.example\r\n", id="folded before the colon"),
        pytest.param(b"\x01\r\n \x01From: b@b.example\r\n", id="folded behind a control"),
    ],
)
def test_a_hidden_from_is_one_more(line: bytes) -> None:
    for header in (line + FROM, FROM + line, b"To: x@y.example\r\n" + line + FROM):
        assert find_author(Header(header)).problem is FromProblem.SEVERAL_FIELDS


@pytest.mark.parametrize(
    "line", [b"\x01To: b@b.example\r\n", b"\x01xFrom: b@b.example\r\n", b"Subject: x\r\n From: b@b.example\r\n", b"\x01From b@b.example\r\n"]
)
def test_what_hides_no_from_is_none(line: bytes) -> None:
    assert find_author(Header(line + FROM)).domain == "a.example"


@pytest.mark.parametrize(
    "header", [b"\x01\n" * 125_000, b"\x01from\n" * 40_000, b"\x01from\x01" * 40_000, b"\x01" * 250_000], ids=["lines", "names", "name", "octets"]
)
def test_the_largest_header_takes_no_longer_than_its_octets(header: bytes) -> None:
    begin = time.thread_time()
    assert find_author(Header(header)).domain is None
    # 6 ms here; a quadratic step took three minutes.
    assert time.thread_time() - begin < 0.5
