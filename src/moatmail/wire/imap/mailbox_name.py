# SPDX-License-Identifier: Apache-2.0
"""Mailbox names as a client writes them, and the patterns of LIST.

Obeys RFC 3501 §5.1 and §6.3.8, RFC 9051 §5.1 (names in UTF-8, once a client enabled that).
Must never know which mailboxes exist.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from moatmail.core.imap_string import astring
from moatmail.core.limits import imap as limits
from moatmail.core.mailbox_name import DELIMITER, INBOX, canonical, fold_inbox, has_controls
from moatmail.wire.imap import utf7

_WILDCARDS: Final = "*%"
_BELOW_INBOX: Final = INBOX + DELIMITER


def read_name(octets: bytes, *, utf8: bool = False) -> str | None:
    """Decode a mailbox name and write its INBOX in capitals (RFC 3501 §5.1); None if it cannot name a mailbox."""
    if not octets or len(octets) > limits.MAILBOX_NAME:
        return None
    name = _decode(octets, utf8=utf8)
    return None if name is None or has_controls(name) else fold_inbox(name)


def read_pattern(octets: bytes, *, utf8: bool = False) -> str | None:
    """Decode a reference or a pattern; None if it can match no name."""
    if len(octets) > limits.MAILBOX_NAME:
        return None
    pattern = _decode(octets, utf8=utf8)
    return None if pattern is None or len(pattern) > limits.LIST_PATTERN else pattern


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


def compile_pattern(pattern: str) -> Callable[[str], bool]:
    """Make a matcher of whole names for a pattern with ``*`` (anything) and ``%`` (anything but the delimiter) (RFC 3501 §6.3.8).

    A name costs one step per character, whatever the pattern: all places of the pattern that may still match are bits of one number
    (CVE-2026-33607 was a matcher that went back). `pattern` is reference and pattern joined; the first level of a name matches without regard to
    case where it is INBOX, and a name matches in either form of its accents.
    """
    pattern = _join_wildcards(canonical(pattern))
    plain = pattern.rstrip(_WILDCARDS)
    is_simple = not any(wildcard in plain for wildcard in _WILDCARDS)
    matches = _simple_matcher(plain, pattern[len(plain) :]) if is_simple else _automaton(pattern)
    # RFC 9051 §5.1: who takes names that are not normalised takes them everywhere; so names kept from before that rule are found too.
    return lambda name: matches(name if name.isascii() else canonical(name))


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


def _in_inbox(name: str) -> bool:
    """Tell whether the first level is INBOX: its letters match in either case (RFC 3501 §5.1), so `inb*` finds it, and `Inbox/%` what is below."""
    return name == INBOX or name.startswith(_BELOW_INBOX)


def _simple_matcher(plain: str, wildcard: str) -> Callable[[str], bool]:
    """Match the forms nearly all clients use: ``name``, ``prefix*``, ``prefix%``."""
    size = len(plain)
    head = plain[: len(INBOX)]
    folded = (head.upper() if head.isascii() else head) + plain[len(INBOX) :]

    def exact(name: str) -> bool:
        return name == plain or (name == folded and _in_inbox(name))

    def anything(name: str) -> bool:
        return name.startswith(plain) or (name.startswith(folded) and _in_inbox(name))

    def level(name: str) -> bool:
        return anything(name) and DELIMITER not in name[size:]

    return {"": exact, "*": anything, "%": level}[wildcard]


def _automaton(pattern: str) -> Callable[[str], bool]:
    """Bit i of the set is on while the first i characters of the pattern have matched; a wildcard's bit stays on while it may take one character more."""
    advance: dict[str, int] = {}  # character -> places that it moves on
    stay_any = stay_level = 0  # places before `*` and before `%`
    for place, character in enumerate(pattern):
        if character == "*":
            stay_any |= 1 << place
        elif character == "%":
            stay_level |= 1 << place
        else:
            advance[character] = advance.get(character, 0) | 1 << place
    inbox = {letter: advance.get(letter, 0) | advance.get(letter.lower(), 0) for letter in INBOX}
    wildcards = stay_any | stay_level
    accepting = 1 << len(pattern)

    def closed(places: int) -> int:
        # A wildcard may match nothing; two never stand side by side, so one step is enough.
        return places | (places & wildcards) << 1

    start = closed(1)

    def matches(name: str) -> bool:
        places = start
        moves = inbox if _in_inbox(name) else advance
        for count, character in enumerate(name):
            if count == len(INBOX):
                moves = advance
            stay = stay_any if character == DELIMITER else wildcards
            places = closed((places & moves.get(character, 0)) << 1 | (places & stay))
            if not places:
                return False
        return bool(places & accepting)

    return matches
