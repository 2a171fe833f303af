# SPDX-License-Identifier: Apache-2.0
"""Mailbox names as a client writes them, and the patterns of LIST.

Obeys RFC 3501 §5.1 and §6.3.8, RFC 9051 §5.1 (names in UTF-8, once a client enabled that).
Must never know which mailboxes exist.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from typing import Final

from moatmail.core.imap_string import astring
from moatmail.core.limits import imap as limits
from moatmail.wire.imap import utf7

DELIMITER: Final = "/"  # of the one hierarchy we have (RFC 3501 §5.1.1)
INBOX: Final = "INBOX"
_WILDCARDS: Final = "*%"
_NOT_IN_NAMES: Final = frozenset(("Cc", "Zl", "Zp"))


def read_name(octets: bytes, *, utf8: bool = False) -> str | None:
    """Decode a mailbox name and write INBOX in capitals (RFC 3501 §5.1); None if it cannot name a mailbox."""
    if not octets or len(octets) > limits.MAILBOX_NAME:
        return None
    name = _decode(octets, utf8=utf8)
    if name is None or any(unicodedata.category(character) in _NOT_IN_NAMES for character in name):
        return None  # RFC 9755 §3, RFC 9051 §5.1: no controls, no separators of lines or paragraphs
    return INBOX if name.upper() == INBOX else name


def read_pattern(octets: bytes, *, utf8: bool = False) -> str | None:
    """Decode a reference or a pattern; None if it can match no name."""
    if len(octets) > limits.LIST_PATTERN:
        return None
    return _decode(octets, utf8=utf8)


def _decode(octets: bytes, *, utf8: bool) -> str | None:
    if not utf8:
        return utf7.decode(octets)
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        return None


def write_name(name: str, *, utf8: bool = False) -> bytes:
    """Encode a name for a response, quoted where it has to be (RFC 3501 §9, RFC 9051 §9: a quoted string may be UTF-8)."""
    if not utf8:
        return astring(utf7.encode(name))
    octets = name.encode("utf-8", "replace")
    if octets.isascii():
        return astring(octets)
    return b'"%b"' % octets.replace(b"\\", b"\\\\").replace(b'"', b'\\"')


def normalize_name(name: str) -> str:
    """Give the one form of a new name that looks the same (RFC 9051 §5.1: normalisation form C)."""
    return unicodedata.normalize("NFC", name)


def compile_pattern(pattern: str) -> Callable[[str], bool]:
    """Make a matcher of whole names for a pattern with ``*`` (anything) and ``%`` (anything but the delimiter) (RFC 3501 §6.3.8).

    A name costs one step per character, whatever the pattern: all places of the pattern that may still match are bits of one number
    (CVE-2026-33607 was a matcher that went back). `pattern` is reference and pattern joined; INBOX matches without regard to case.
    """
    pattern = _join_wildcards(pattern)
    plain = pattern.rstrip(_WILDCARDS)
    if not any(wildcard in plain for wildcard in _WILDCARDS):
        return _simple_matcher(plain, pattern[len(plain) :])
    return _automaton(pattern)


def _join_wildcards(pattern: str) -> str:
    """Make each run of wildcards one: a run with ``*`` is ``*``, a run of ``%`` is ``%``."""
    out: list[str] = []
    for character in pattern:
        if character in _WILDCARDS and out and out[-1] in _WILDCARDS:
            if character == "*":
                out[-1] = "*"
        else:
            out.append(character)
    return "".join(out)


def _simple_matcher(plain: str, wildcard: str) -> Callable[[str], bool]:
    """Match the forms nearly all clients use: ``name``, ``prefix*``, ``prefix%``."""
    size = len(plain)
    inbox = plain.upper() == INBOX

    def exact(name: str) -> bool:
        return name == plain or (inbox and name == INBOX)

    def anything(name: str) -> bool:
        return _starts(name, plain)

    def level(name: str) -> bool:
        return _starts(name, plain) and DELIMITER not in name[size:]

    return {"": exact, "*": anything, "%": level}[wildcard]


def _starts(name: str, plain: str) -> bool:
    # RFC 3501 §5.1: INBOX is one name in every case, so `inb*` finds it.
    return name.startswith(plain) or (name == INBOX and INBOX.startswith(plain.upper()))


def _automaton(pattern: str) -> Callable[[str], bool]:
    """Bit i of the set is on while the first i characters of the pattern have matched; a wildcard's bit stays on while it may take one character more."""
    matches_inbox = _bits(pattern.upper())
    matches = _bits(pattern)
    return lambda name: matches(name) or (name == INBOX and matches_inbox(name))


def _bits(pattern: str) -> Callable[[str], bool]:
    advance: dict[str, int] = {}  # character -> places that it moves on
    stay_any = stay_level = 0  # places before `*` and before `%`
    for place, character in enumerate(pattern):
        if character == "*":
            stay_any |= 1 << place
        elif character == "%":
            stay_level |= 1 << place
        else:
            advance[character] = advance.get(character, 0) | 1 << place
    wildcards = stay_any | stay_level
    accepting = 1 << len(pattern)

    def closed(places: int) -> int:
        # A wildcard may match nothing; two never stand side by side, so one step is enough.
        return places | (places & wildcards) << 1

    start = closed(1)

    def matches(name: str) -> bool:
        places = start
        for character in name:
            stay = stay_any if character == DELIMITER else wildcards
            places = closed((places & advance.get(character, 0)) << 1 | (places & stay))
            if not places:
                return False
        return bool(places & accepting)

    return matches
