# SPDX-License-Identifier: Apache-2.0
"""Generated messages: no value leaves its field, every reader reads them back."""

from __future__ import annotations

import email
import email.policy
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moatmail.core.address import Address
from moatmail.message.addresses import mailboxes
from moatmail.message.build import (
    FieldValueError,
    address_field,
    encoded_body,
    message,
    message_id_field,
    multipart_body,
    structured_field,
    text_body,
    text_field,
)
from moatmail.message.encoded_word import decode_words
from moatmail.message.header import Header
from tests.unit.message.reading import judge, parse

ANN = Address("ann", "example.org")


@given(st.text(max_size=200))
def test_a_text_comes_back_or_is_refused(text: str) -> None:
    try:
        field = text_field("Subject", text)
    except FieldValueError:
        assert re.search(r"[\x00-\x08\x0a-\x1f\x7f]", text)
        return
    header = Header(field + b"\r\n")
    assert header.names == [b"subject"]
    assert decode_words(header.first(b"subject") or b"").strip(" \t") == text.encode("utf-8", "replace").decode().strip(" \t")
    assert all(len(line) <= 78 for line in field.split(b"\r\n"))
    assert field.isascii()


@pytest.mark.parametrize("value", ["a\r\nBcc: x@y", "a\nb", "a\rb", "a\0b", "a\x7f", "\x0b"])
def test_a_value_with_controls_is_refused(value: str) -> None:
    for make in (text_field, structured_field):
        with pytest.raises(FieldValueError):
            make("X", value)
    with pytest.raises(FieldValueError):
        address_field("To", [(value, ANN)])
    with pytest.raises(FieldValueError):
        address_field("To", [("", Address(value, "example.org"))])
    with pytest.raises(FieldValueError):
        message_id_field(value, "example.org")


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a\n", "ü", "x" * 78])
def test_a_name_outside_the_grammar_is_refused(name: str) -> None:
    with pytest.raises(FieldValueError):
        text_field(name, "x")


def test_a_word_longer_than_a_line_is_refused_where_it_cannot_be_encoded() -> None:
    with pytest.raises(FieldValueError):
        structured_field("X", "y" * 999)
    assert decode_words(Header(text_field("X", "y" * 2_000)).first(b"x") or b"") == "y" * 2_000


@pytest.mark.parametrize("name", ["", "Ann", "Ann B. C", 'A, "B" \\', "Jürg", "=?utf-8?Q?x?=", " a", "x" * 100])
def test_display_names_come_back(name: str) -> None:
    field = address_field("To", [(name, ANN), ("", Address("a b", "example.org"))])
    first, second = mailboxes(Header(field).first(b"to") or b"")
    assert (first.display_name, first.address, second.address) == (name.strip(), ANN, Address("a b", "example.org"))


@pytest.mark.parametrize("text", ["plain\nlines\n", "ü\n.\nFrom x\n", "x" * 2_000, "trailing blank \nend", "a = b\r\nc\rd"])
def test_texts_come_back(text: str) -> None:
    octets = message([text_field("Subject", "x")], text_body(text))
    judge(octets)
    read = email.message_from_bytes(octets, policy=email.policy.default)
    assert read.get_content().splitlines() == text.splitlines()
    assert octets.isascii()
    assert b"\n" not in octets.replace(b"\r\n", b"")
    assert max(map(len, octets.split(b"\r\n"))) <= 998


def test_a_multipart_cannot_hold_its_own_boundary() -> None:
    inner = multipart_body("mixed", [text_body("one"), text_body("two")])
    outer = multipart_body("report", [inner, encoded_body(inner.octets, "text/x")], " report-type=x;")
    octets = message([], outer)
    judge(octets)
    structure = parse(octets).root
    assert (structure.subtype, structure.parameters[0], len(structure.children)) == (b"report", (b"report-type", b"x"), 2)
    assert [part.subtype for part in structure.children] == [b"mixed", b"x"]
    assert octets[structure.children[1].body_start : structure.children[1].body_end] == inner.octets
