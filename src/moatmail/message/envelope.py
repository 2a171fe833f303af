# SPDX-License-Identifier: Apache-2.0
"""Reads an ENVELOPE back: the first address of one of its lists.

Obeys RFC 3501 §7.4.2 (the order of fields and of what an address says); what it reads was written by `fetch_items`.
Must never know a message.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

FROM, SENDER, REPLY_TO, TO, CC, BCC = range(2, 8)
"""Which field of the ENVELOPE, from 0."""

_TOKEN: Final = re.compile(rb'[ ]*+(?:"((?:[^"\\]|\\.)*+)"|\{([0-9]++)\}\r\n|(NIL)|([()]))')
_ESCAPED: Final = re.compile(rb"\\(.)")
# An ENVELOPE without literals up to the address, which nearly every one is: one match in C, linear because nothing is given back.
_STRING: Final = rb'(?:"(?:[^"\\]|\\.)*+"|NIL)'
_LIST: Final = rb"(?:NIL|\((?:\(%b(?: %b){3}\))*+\))" % (_STRING, _STRING)
_PLAIN: Final = {
    field: re.compile(
        rb"\(%b %b(?: %b){%d} (?:(NIL)|\(\((%b) (%b) (%b) (%b)\))" % (_STRING, _STRING, _LIST, field - FROM, _STRING, _STRING, _STRING, _STRING), re.DOTALL
    )
    for field in range(FROM, BCC + 1)
}


@dataclass(frozen=True, slots=True)
class FirstAddress:
    """What an address says, undecoded; `host` is None where a group begins, whose name is `mailbox` then (RFC 3501 §7.4.2)."""

    name: bytes
    mailbox: bytes
    host: bytes | None


def first_address(envelope: bytes, field: int) -> FirstAddress | None:
    """Give the first address of a field (2 to 7), None where there is none; linear in the octets before it."""
    plain = _PLAIN[field].match(envelope)
    if plain is not None:
        none, name, _route, mailbox, host = plain.groups()
        return None if none else FirstAddress(_string(name) or b"", _string(mailbox) or b"", _string(host))
    return _first_address(envelope, field)


def _string(token: bytes) -> bytes | None:
    return None if token == b"NIL" else _ESCAPED.sub(rb"\1", token[1:-1]) if b"\\" in token else token[1:-1]


def _first_address(envelope: bytes, field: int) -> FirstAddress | None:
    """Do the same token by token, whatever stands before it."""
    depth, place, at = 0, -1, 0
    words: list[bytes | None] = []
    while (match := _TOKEN.match(envelope, at)) is not None:
        at = match.end()
        sign = match[4]
        if sign == b"(":
            depth += 1
            place += depth == 2
            continue
        if sign == b")":
            depth -= 1
            continue
        value, at = _value(envelope, match)
        if depth == 1:
            place += 1
            if place == field:
                return None
        elif place == field and depth == 3:
            words.append(value)
            if len(words) == 4:
                return FirstAddress(words[0] or b"", words[2] or b"", words[3])
    return None


def _value(envelope: bytes, match: re.Match[bytes]) -> tuple[bytes | None, int]:
    """Give the string of a token, None for NIL, and where the next token begins."""
    if match[1] is not None:
        return _ESCAPED.sub(rb"\1", match[1]) if b"\\" in match[1] else match[1], match.end()
    if match[2] is not None:
        end = match.end() + int(match[2])
        return envelope[match.end() : end], end
    return None, match.end()
