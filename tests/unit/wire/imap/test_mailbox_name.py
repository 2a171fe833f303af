# SPDX-License-Identifier: Apache-2.0
"""The patterns of LIST: what they match, and that none costs more than a step per character.

Obeys RFC 3501 §6.3.8.
Must never know which mailboxes exist.
"""

from __future__ import annotations

from time import process_time

import pytest

from moatmail.wire.imap.mailbox_name import compile_pattern, read_name

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
]


@pytest.mark.parametrize(("pattern", "name", "wanted"), MATCHES, ids=[f"{pattern!r} against {name!r}" for pattern, name, _ in MATCHES])
def test_pattern(pattern: str, name: str, wanted: bool) -> None:
    """A pattern matches whole names."""
    assert compile_pattern(pattern)(name) is wanted


def test_the_worst_pattern_is_cheap() -> None:
    """CVE-2026-33607: stars between equal letters made a matcher go back for minutes; here it is one pass."""
    matches = compile_pattern("*a" * 500 + "b")
    start = process_time()
    assert not matches("a" * 1000)
    assert process_time() - start < 0.5


def test_only_inbox_itself_is_written_in_capitals() -> None:
    """Other names keep their letters."""
    assert read_name(b"iNbOx") == "INBOX"
    assert read_name(b"inbox/a") == "inbox/a"
