# SPDX-License-Identifier: Apache-2.0
"""Object identifiers: their form, and the way back.

Obeys RFC 8474 §7, §8.1.
Must never know what they stand for.
"""

from __future__ import annotations

from os import urandom

import pytest

from moatmail.wire.imap.object_id import email_id, is_object_id, mailbox_id, read_email_id, read_thread_id, thread_id


@pytest.mark.parametrize("octets", [b"\0" * 16, b"\xff" * 16, bytes(range(16)), b"0123456789012345"], ids=["zeros", "ones", "rising", "digits"])
def test_an_identifier_is_safe_everywhere(octets: bytes) -> None:
    for made in (mailbox_id(octets), email_id(octets), thread_id(octets)):
        assert is_object_id(made)
        assert made[:1].isalpha()
        assert b"nil" not in made.lower()
        # No two differ by case only: the letter is a capital, all digits are small.
        assert made[1:] == made[1:].lower()
    assert len({mailbox_id(octets), email_id(octets), thread_id(octets)}) == 3


def test_an_identifier_is_read_as_it_was_written_and_never_as_another_kind() -> None:
    octets = urandom(16)
    assert read_email_id(email_id(octets)) == read_thread_id(thread_id(octets)) == octets
    assert read_email_id(thread_id(octets)) is read_thread_id(email_id(octets)) is read_thread_id(mailbox_id(octets)) is None


@pytest.mark.parametrize("text", [b"", b"E", b"ff", b"Eff1", b"EFF", b"eff", b"Mff", b"Ex1", b"E-f", b"Eff\n"])
def test_another_spelling_is_another_identifier(text: bytes) -> None:
    assert read_email_id(text) is None
    assert read_thread_id(text.replace(b"E", b"T")) is None


@pytest.mark.parametrize("text", [b"", b"a b", b"a.b", b"x" * 256, b"\xe4", b"a\n"])
def test_what_is_no_identifier(text: bytes) -> None:
    assert not is_object_id(text)
