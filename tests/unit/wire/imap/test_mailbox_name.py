# SPDX-License-Identifier: Apache-2.0
"""The patterns of LIST: what they match, and that none costs more than a step per character.

Obeys RFC 3501 §6.3.8.
Must never know which mailboxes exist.
"""

from __future__ import annotations

from time import process_time

import pytest

from moatmail.core.mailbox_name import canonical
from moatmail.wire.imap.mailbox_name import compile_pattern, read_name, read_pattern, write_name

MATCHES = [
    ("*", "a/b/c", True),
    ("%", "a", True),
    ("%", "a/b", False),
    ("%/%", "a/b", True),
    ("%/%", "a/b/c", False),
    ("a*", "a", True),
    ("a*", "b", False),
    ("a/%", "a/b", True),
    ("a/%", "a/b/c", False),
    ("*b", "a/b", True),
    ("%b", "a/b", False),
    ("*test4", "x/test3/test4", True),
    ("*test4", "x/test3/test4/test5", False),
    ("%3/%", "test3/test4", True),
    ("%t*4", "test3/test4", True),
    ("*%", "a/b", True),
    ("%*", "a/b", True),
    ("a%%b", "axb", True),
    ("a%%b", "a/b", False),
    ("a*b*c", "abbbc/xc", True),
    ("a", "a", True),
    ("a", "A", False),
    ("", "", True),
    ("inbox", "INBOX", True),
    ("inb*", "INBOX", True),
    ("*box", "INBOX", True),
    ("%n%", "INBOX", True),
    ("ä%", "äö", True),
    ("Inbox/%", "INBOX/a", True),
    ("inbox*", "INBOX/a", True),
    ("inbox%", "INBOX/a", False),
    ("i%/a", "INBOX/a", True),
    ("*x/a", "INBOX/a", True),
    ("*x/A", "INBOX/a", False),
    ("inbox*", "INBOXES", False),
    ("inb*s", "INBOXES", False),
    ("*x", "a/INBOX", False),
    ("\N{LATIN SMALL LETTER DOTLESS I}nbox", "INBOX", False),
    ("\N{LATIN SMALL LETTER DOTLESS I}nb*x", "INBOX", False),
    ("e\N{COMBINING ACUTE ACCENT}*", "\N{LATIN SMALL LETTER E WITH ACUTE}t", True),
    ("\N{LATIN SMALL LETTER E WITH ACUTE}*", "e\N{COMBINING ACUTE ACCENT}t", True),
    ("e%", "e\N{COMBINING ACUTE ACCENT}t", False),
]


@pytest.mark.parametrize(("pattern", "name", "wanted"), MATCHES, ids=[f"{pattern!a} against {name!a}" for pattern, name, _ in MATCHES])
def test_pattern(pattern: str, name: str, wanted: bool) -> None:
    """A pattern matches whole names."""
    assert compile_pattern(pattern)(name) is wanted


def test_the_worst_pattern_is_cheap() -> None:
    """CVE-2026-33607: stars between equal letters made a matcher go back for minutes; here it is one pass."""
    matches = compile_pattern("*a" * 500 + "b")
    start = process_time()
    assert not matches("a" * 1000)
    assert process_time() - start < 0.5


INBOXES = {
    "INBOX in any case is INBOX": (b"iNbOx", "INBOX"),
    "and so is the level above its children": (b"inbox/Inbox", "INBOX/Inbox"),
    "but no level below": (b"a/inbox", "a/inbox"),
    "nor a longer name": (b"inboxes/a", "inboxes/a"),
    "nor one with a dotless i": ("\N{LATIN SMALL LETTER DOTLESS I}nbox".encode(), "\N{LATIN SMALL LETTER DOTLESS I}nbox"),
}


@pytest.mark.parametrize(("octets", "name"), INBOXES.values(), ids=INBOXES.keys())
def test_only_inbox_is_written_in_capitals(octets: bytes, name: str) -> None:
    """Other names keep their letters."""
    assert read_name(octets, utf8=True) == name


UTF8_NAMES = {
    "an atom": (b"a&b", "a&b", b"a&b"),
    "what looked like UTF-7": (b"a&AOk-", "a&AOk-", b"a&AOk-"),
    "letters outside of ASCII": ("Köln".encode(), "Köln", '"Köln"'.encode()),
    "quotes and backslashes": ('ö"\\'.encode(), 'ö"\\', '"ö\\"\\\\"'.encode()),
    "INBOX": (b"inbox", "INBOX", b"INBOX"),
}


@pytest.mark.parametrize(("octets", "name", "written"), UTF8_NAMES.values(), ids=UTF8_NAMES.keys())
def test_names_in_utf8(octets: bytes, name: str, written: bytes) -> None:
    """RFC 9051 §5.1: read as they are, quoted where they are no atoms."""
    assert read_name(octets, utf8=True) == name
    assert write_name(name, utf8=True) == written


@pytest.mark.parametrize("octets", [b"", b"\xff", b"\xc3", b"a\xc2\x85", b"\xed\xa0\x80", b"a\t"], ids=repr)
def test_no_names_in_utf8(octets: bytes) -> None:
    """Broken UTF-8 and control characters name nothing."""
    assert read_name(octets, utf8=True) is None


def test_patterns_and_normalisation_in_utf8() -> None:
    """A pattern is read alike; a new name gets the composed form."""
    assert read_pattern("ö*".encode(), utf8=True) == "ö*"
    assert read_pattern(b"\xff*", utf8=True) is None
    assert canonical("o\N{COMBINING DIAERESIS}") == "ö"
