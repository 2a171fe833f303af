# SPDX-License-Identifier: Apache-2.0
"""Internationalized headers for readers without UTF-8 (RFC 6858)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moatmail.message.addresses import mailboxes
from moatmail.message.downgrade import surrogate
from moatmail.message.encoded_word import decode_words
from moatmail.message.header import Header
from moatmail.message.parameters import parameter_text, parse_parameters


def shown(block: str) -> Header:
    made = surrogate(Header(block.encode()))
    assert made is not None
    assert made.isascii()
    assert made.endswith(b"\r\n\r\n")
    return Header(made)


def test_an_ascii_block_needs_no_surrogate() -> None:
    assert surrogate(Header(b"Subject: plain\r\n\r\n")) is None


def test_an_internationalized_address_becomes_nobody_with_its_text_as_the_name() -> None:
    header = shown("From: José <josé@exämple.com>, Ann <ann@example.test>\r\nTo: 用户@例子.广告\r\n\r\n")
    first, second = mailboxes(header.first(b"from") or b"")
    assert (first.spec, first.display_name) == (b"invalid@internationalized-address.invalid", "José <josé@exämple.com>")
    assert (second.spec, second.display_name) == (b"ann@example.test", "Ann")
    (to,) = mailboxes(header.first(b"to") or b"")
    assert (to.spec, to.display_name) == (b"invalid@internationalized-address.invalid", "用户@例子.广告")


def test_an_ascii_address_keeps_itself_and_its_name_is_encoded() -> None:
    (one,) = mailboxes(shown("Cc: Zoë <zoe@example.test>\r\n\r\n").first(b"cc") or b"")
    assert (one.spec, one.display_name) == (b"zoe@example.test", "Zoë")


def test_texts_are_encoded_and_fields_that_cannot_be_are_left_out() -> None:
    header = shown("Subject: Grüße 日本語\r\nX-Note: naïve\r\nMessage-ID: <ö@x>\r\nReceived: by ü; now\r\nDate: Fri, 2 Oct 2026 15:00:00 -0400\r\n\r\n")
    assert decode_words(header.first(b"subject") or b"") == "Grüße 日本語"
    assert decode_words(header.first(b"x-note") or b"") == "naïve"
    assert header.names == [b"subject", b"x-note", b"date"]
    assert header.first(b"date") == b"Fri, 2 Oct 2026 15:00:00 -0400"


def test_a_group_stays_a_group() -> None:
    value = shown("To: Vögel: ann@example.test, ü@example.test;\r\n\r\n").first(b"to") or b""
    assert value.endswith(b"<invalid@internationalized-address.invalid>;")


def test_parameters_keep_their_meaning() -> None:
    value = shown('Content-Type: text/plain; charset=utf-8; name="größe.txt"\r\n\r\n').first(b"content-type") or b""
    assert value.startswith(b"text/plain; charset=")
    assert parameter_text(parse_parameters(value), b"name") == "größe.txt"


@given(st.lists(st.tuples(st.sampled_from(["From", "To", "Subject", "X-A", "Content-Type", "Message-ID", "List-Id"]), st.text(max_size=60)), max_size=6))
def test_any_block_becomes_ascii_and_no_value_leaves_its_field(fields: list[tuple[str, str]]) -> None:
    made = surrogate(Header(_block(fields)))
    if made is None:
        return
    assert made.isascii()
    assert len(Header(made).names) <= len(fields)


def _block(fields: list[tuple[str, str]]) -> bytes:
    lines = [f"{name}: {value}".replace("\r", " ").replace("\n", " ") + "\r\n" for name, value in fields]
    return "".join(lines).encode("utf-8", "surrogatepass") + b"\r\n"


@pytest.mark.parametrize("value", [b"\xff\xfe", b"<\xc3\xa4@\xff>", b"\xc3\xa4" * 2000], ids=["no UTF-8", "a broken address", "a very long word"])
def test_damage_never_raises(value: bytes) -> None:
    made = surrogate(Header(b"From: " + value + b"\r\nSubject: " + value + b"\r\n\r\n"))
    assert made is not None
    assert made.isascii()
