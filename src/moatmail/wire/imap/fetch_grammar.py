# SPDX-License-Identifier: Apache-2.0
"""The arguments of FETCH.

Obeys RFC 3501 §9 (fetch, section), RFC 3516 §7, RFC 4466 §2.4 (modifiers), RFC 7162 §7, RFC 8970 §6, RFC 9394 §4.
Must never know a message.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from moatmail.core.limits import imap as limits
from moatmail.wire.imap.fetch import ATTRIBUTES, MACROS, OLD_NAMES, SECTIONS, Attribute, BinarySection, BodySection, FetchItem, Section
from moatmail.wire.imap.grammar import Cursor, fail
from moatmail.wire.imap.sequence import PartialRange

_ITEM_NAME: Final = re.compile(rb"[A-Za-z0-9.]+")
_SECTION_NAME: Final = re.compile(rb"[A-Za-z.]+")
_FIELD_NAME: Final = re.compile(rb"[\x21-\x39\x3b-\x7e]+")  # RFC 5322 §2.2: printable, no colon
_ATOM_LIKE: Final = re.compile(rb"[^\x00-\x20\x7f-\xff(){%*\"\\\]]+")
_BODY_NAMES: Final = {b"BODY": False, b"BODY.PEEK": True}
_LAZY: Final = b" (LAZY)"
_BINARY_NAMES: Final = frozenset((b"BINARY", b"BINARY.PEEK", b"BINARY.SIZE"))
_LIST_SECTIONS: Final = frozenset((Section.HEADER_FIELDS, Section.HEADER_FIELDS_NOT))


def items(cursor: Cursor) -> tuple[FetchItem, ...]:
    """Take a macro, one item, or a list of items; repetitions are dropped."""
    if not cursor.take(b"("):
        name = cursor.run(_ITEM_NAME, b"a FETCH item").upper()
        return MACROS.get(name) or (_item(cursor, name),)
    taken: dict[FetchItem, None] = {}
    while True:
        taken[_item(cursor, cursor.run(_ITEM_NAME, b"a FETCH item").upper())] = None
        if len(taken) > limits.FETCH_ITEMS:
            fail(b"too many FETCH items")
        if cursor.take(b")"):
            return tuple(taken)
        cursor.space(b"a FETCH item")


@dataclass(frozen=True, slots=True)
class Modifiers:
    """Which of the named messages are meant: `changed_since` a mod-sequence (RFC 7162 §3.1.4.1), `partial` a range of places (RFC 9394 §3.3).

    `vanished`: those that went are told too (RFC 7162 §3.2.6).
    """

    changed_since: int | None = None
    partial: PartialRange | None = None
    vanished: bool = False


def modifiers(cursor: Cursor, *, uid: bool) -> Modifiers:
    """Take the optional modifiers, each once, those that `uid` alone allows included."""
    if not cursor.take(b" ("):
        return Modifiers()
    changed_since: int | None = None
    partial: PartialRange | None = None
    vanished = False
    while True:
        name = cursor.word(b"a FETCH modifier")
        if name == b"CHANGEDSINCE" and changed_since is None:
            cursor.space(b"a mod-sequence")
            changed_since = cursor.number(b"the mod-sequence")
        elif name == b"PARTIAL" and partial is None:
            cursor.space(b"a range")
            partial = cursor.partial_range()
        elif name == b"VANISHED" and uid and cursor.qresync and not vanished:
            vanished = True
        else:
            fail(b"unknown FETCH modifier, or one given twice")
        if cursor.take(b")"):
            break
        cursor.space(b"a FETCH modifier")
    if vanished and changed_since is None:
        fail(b"VANISHED needs CHANGEDSINCE")  # RFC 7162 §3.2.6
    return Modifiers(changed_since, partial, vanished)


def with_uid(taken: tuple[FetchItem, ...]) -> tuple[FetchItem, ...]:
    """Put UID first where it was not asked for: UID FETCH always tells it (RFC 3501 §6.4.8)."""
    return taken if Attribute.UID in taken else (Attribute.UID, *taken)


def _item(cursor: Cursor, name: bytes) -> FetchItem:
    if name in _BODY_NAMES and cursor.at(b"["):
        return _body_section(cursor, peek=_BODY_NAMES[name])
    if name in _BINARY_NAMES and cursor.at(b"["):
        return _binary_section(cursor, name)
    if name == Attribute.PREVIEW.value and cursor.text[cursor.position : cursor.position + len(_LAZY)].upper() == _LAZY:
        cursor.position += len(_LAZY)  # RFC 8970 §3.2: may be answered by NIL; ours lies in the summary, as near as everything else asked for
    item: FetchItem | None = ATTRIBUTES.get(name) or OLD_NAMES.get(name)
    if item is None:
        fail(b"unknown FETCH item")
    return item


def _body_section(cursor: Cursor, *, peek: bool) -> BodySection:
    cursor.expect(b"[", b"after BODY")
    part = _part(cursor)
    section = Section.ALL
    fields: tuple[bytes, ...] = ()
    if not cursor.at(b"]"):
        section, fields = _section_text(cursor, nested=bool(part))
    cursor.expect(b"]", b"after the section")
    origin, length = _octet_range(cursor)
    return BodySection(_label(part, section, fields, origin), part, section, fields, origin, length, peek)


def _octet_range(cursor: Cursor) -> tuple[int, int] | tuple[None, None]:
    if not cursor.take(b"<"):
        return None, None
    origin = cursor.number(b"the origin octet")
    cursor.expect(b".", b"after the origin octet")
    length = cursor.positive(b"the number of octets")
    cursor.expect(b">", b"after the number of octets")
    return origin, length


def _binary_section(cursor: Cursor, name: bytes) -> BinarySection:
    cursor.expect(b"[", b"after BINARY")
    part = _part(cursor)
    cursor.expect(b"]", b"after the part")
    numbers = b".".join(b"%d" % number for number in part)
    if name == b"BINARY.SIZE":
        return BinarySection(b"BINARY.SIZE[%b]" % numbers, part, peek=True, size_only=True)
    origin, length = _octet_range(cursor)
    label = b"BINARY[%b]" % numbers + (b"" if origin is None else b"<%d>" % origin)
    return BinarySection(label, part, origin, length, peek=name == b"BINARY.PEEK")


def _part(cursor: Cursor) -> tuple[int, ...]:
    """Take part numbers and, if a section name follows, the dot before it."""
    part: list[int] = []
    while cursor.text[cursor.position : cursor.position + 1].isdigit():
        part.append(cursor.positive(b"a part number", 0xFFFFFFFF))
        if len(part) > limits.PART_DEPTH:
            fail(b"the part is too deep")
        if not cursor.take(b"."):
            if not cursor.at(b"]"):
                fail(b"expected ']' or '.' after a part number")
            return tuple(part)
    if part and cursor.at(b"]"):
        fail(b"expected a part number or a section after '.'")
    return tuple(part)


def _section_text(cursor: Cursor, *, nested: bool) -> tuple[Section, tuple[bytes, ...]]:
    section = SECTIONS.get(cursor.run(_SECTION_NAME, b"a section").upper())
    if section is None:
        fail(b"unknown section")
    if section is Section.MIME and not nested:
        fail(b"MIME needs a part number")  # RFC 3501 §6.4.5
    return section, _fields(cursor) if section in _LIST_SECTIONS else ()


def _fields(cursor: Cursor) -> tuple[bytes, ...]:
    cursor.expect(b" (", b"before the names of header fields")
    fields: list[bytes] = []
    while True:
        name = cursor.astring(b"a header field name")
        if not _FIELD_NAME.fullmatch(name):
            fail(b"this is no header field name")
        fields.append(name)
        if len(fields) > limits.HEADER_FIELDS:
            fail(b"too many header field names")
        if cursor.take(b")"):
            return tuple(fields)
        cursor.space(b"a header field name")


def _label(part: tuple[int, ...], section: Section, fields: tuple[bytes, ...], origin: int | None) -> bytes:
    """Write the item's name as its answer bears it; of the partial only the origin (RFC 3501 §7.4.2)."""
    words = [b"%d" % number for number in part]
    if section is not Section.ALL:
        words.append(section.value)
    label = b"BODY[" + b".".join(words)
    if fields:
        label += b" (" + b" ".join(_as_astring(field) for field in fields) + b")"
    return label + (b"]" if origin is None else b"]<%d>" % origin)


def _as_astring(field: bytes) -> bytes:
    if _ATOM_LIKE.fullmatch(field):
        return field
    return b'"' + field.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
