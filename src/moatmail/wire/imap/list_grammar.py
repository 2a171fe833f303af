# SPDX-License-Identifier: Apache-2.0
"""The arguments of LIST, LSUB and STATUS.

Obeys RFC 3501 §6.3.8-§6.3.10, RFC 5258 §6, RFC 5819 §4, RFC 6154 §6, RFC 7162 §7, RFC 7889 §5, RFC 8438 §3, RFC 8474 §7, RFC 9208 §7.
Must never know which mailboxes exist.
"""

from __future__ import annotations

import re
from typing import Final

from moatmail.core.limits import imap as limits
from moatmail.wire.imap.events import List, ListReturn, ListSelection, Lsub
from moatmail.wire.imap.grammar import Cursor, fail
from moatmail.wire.imap.mailbox_name import read_pattern

_PATTERN: Final = re.compile(rb"[^\x00-\x20\x7f-\xff(){\"\\]+")  # RFC 3501 §9, list-char: wildcards and `]` included
STATUS_ITEMS: Final = frozenset(
    (b"MESSAGES", b"RECENT", b"UIDNEXT", b"UIDVALIDITY", b"UNSEEN", b"HIGHESTMODSEQ", b"SIZE", b"APPENDLIMIT", b"DELETED", b"DELETED-STORAGE", b"MAILBOXID")
)
_SELECTIONS: Final = frozenset((b"SUBSCRIBED", b"REMOTE", b"RECURSIVEMATCH", b"SPECIAL-USE"))
_RETURNS: Final = frozenset((b"SUBSCRIBED", b"CHILDREN", b"SPECIAL-USE", b"STATUS"))


def status_items(cursor: Cursor) -> tuple[bytes, ...]:
    """Take the parenthesised items of STATUS, each once."""
    cursor.expect(b"(", b"before STATUS items")
    items: dict[bytes, None] = {}
    while True:
        item = cursor.word(b"a STATUS item")
        if item not in STATUS_ITEMS:
            fail(b"unknown STATUS item")
        items[item] = None
        if cursor.take(b")"):
            return tuple(items)
        cursor.space(b"a STATUS item")


def parse_list(cursor: Cursor, tag: bytes) -> List:
    """Take the arguments of LIST, plain or extended (RFC 5258 §6)."""
    selection, extended = ListSelection(), False
    if cursor.at(b"("):
        selection, extended = _selection(cursor), True
        cursor.space(b"a reference")
    reference = read_pattern(cursor.astring(b"a reference"), utf8=cursor.utf8)
    cursor.space(b"a pattern")
    several = cursor.take(b"(")
    patterns = _patterns(cursor) if several else [_pattern(cursor)]
    returns = ListReturn()
    if cursor.take(b" "):
        if cursor.word(b"RETURN") != b"RETURN":
            fail(b"expected RETURN after the pattern")
        cursor.space(b"return options")
        returns, extended = _returns(cursor), True
    returns = _implied(selection, returns)
    valid = tuple(pattern for pattern in patterns if pattern is not None) if reference is not None else ()
    return List(tag, reference or "", valid, selection, returns, extended or several)


def parse_lsub(cursor: Cursor, tag: bytes) -> Lsub:
    """Take the arguments of LSUB."""
    reference = read_pattern(cursor.astring(b"a reference"), utf8=cursor.utf8)
    cursor.space(b"a pattern")
    pattern = _pattern(cursor)
    return Lsub(tag, reference or "", None if reference is None else pattern)


def _pattern(cursor: Cursor) -> str | None:
    if cursor.at(b'"') or cursor.at_literal:
        return read_pattern(cursor.string(b"a pattern"), utf8=cursor.utf8)
    return read_pattern(cursor.run(_PATTERN, b"a pattern"), utf8=cursor.utf8)


def _patterns(cursor: Cursor) -> list[str | None]:
    patterns: list[str | None] = []
    while True:
        patterns.append(_pattern(cursor))
        if len(patterns) > limits.LIST_PATTERNS:
            fail(b"too many patterns")
        if cursor.take(b")"):
            return patterns
        cursor.space(b"a pattern")


def _selection(cursor: Cursor) -> ListSelection:
    cursor.expect(b"(", b"before selection options")
    taken: set[bytes] = set()
    while not cursor.take(b")"):
        option = cursor.word(b"a selection option")
        if option not in _SELECTIONS:
            fail(b"unknown selection option")  # RFC 5258 §3: BAD
        taken.add(option)
        if not cursor.at(b")"):
            cursor.space(b"a selection option")
    if b"RECURSIVEMATCH" in taken and not taken & {b"SUBSCRIBED", b"SPECIAL-USE"}:
        fail(b"RECURSIVEMATCH needs an option that selects by itself")  # RFC 5258 §3.1
    return ListSelection(b"SUBSCRIBED" in taken, b"REMOTE" in taken, b"RECURSIVEMATCH" in taken, b"SPECIAL-USE" in taken)


def _returns(cursor: Cursor) -> ListReturn:
    cursor.expect(b"(", b"before return options")
    taken: set[bytes] = set()
    status: tuple[bytes, ...] = ()
    while not cursor.take(b")"):
        option = cursor.word(b"a return option")
        if option not in _RETURNS:
            fail(b"unknown return option")
        taken.add(option)
        if option == b"STATUS":
            cursor.space(b"STATUS items")
            status = status_items(cursor)
        if not cursor.at(b")"):
            cursor.space(b"a return option")
    return ListReturn(b"SUBSCRIBED" in taken, b"CHILDREN" in taken, b"SPECIAL-USE" in taken, status)


def _implied(selection: ListSelection, returns: ListReturn) -> ListReturn:
    """RFC 5258 §3.1, RFC 6154 §2: what a client selects by, it is also told."""
    return ListReturn(returns.subscribed or selection.subscribed, returns.children, returns.special_use or selection.special_use, returns.status)
