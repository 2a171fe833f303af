# SPDX-License-Identifier: Apache-2.0
"""Which octets of an open message a section of FETCH names.

Obeys RFC 3501 §6.4.5 (BODY[...], partial).
Must never know the session that asks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from moatmail.core.limits.mailbox import WHOLE_MAX
from moatmail.core.limits.message import HEADER_MAX
from moatmail.mailbox.reading import OpenMessage
from moatmail.message.header import Header
from moatmail.message.summary import LISTED, Summary
from moatmail.message.summary import section as place_of
from moatmail.wire.imap.fetch import BinarySection, BodySection, Section

_FIELDS = (Section.HEADER_FIELDS, Section.HEADER_FIELDS_NOT)


@dataclass(frozen=True, slots=True)
class Piece:
    """Octets of a message: `whole`, or for large ones `start` and `length` to be streamed; none of them when there is no such section."""

    whole: bytes | None = None
    start: int = 0
    length: int = 0


def needs_summary(item: BodySection | BinarySection) -> bool:
    """Tell whether the places of parts are asked; the whole message, its header and its text are found without."""
    return bool(item.part) or (isinstance(item, BodySection) and item.section is Section.MIME)


def is_listed(item: BodySection | BinarySection) -> bool:
    """Tell whether a section asks for header fields of the message that its summary keeps; whether it keeps them of every message, nobody knows."""
    return isinstance(item, BodySection) and item.section is Section.HEADER_FIELDS and not item.part and LISTED.issuperset(map(bytes.lower, item.fields))


def lister(item: BodySection) -> Callable[[Summary], bytes | None]:
    """Give what takes the octets of such a section from a summary, or None where it does not have them."""
    names = frozenset(map(bytes.lower, item.fields))

    def octets(summary: Summary) -> bytes | None:
        fields = summary.fields
        if fields is None:
            return None
        return _partial(b"".join([octets for name, octets in fields if name in names]) + b"\r\n", item)

    return octets


def cut(message: OpenMessage, item: BodySection) -> Piece:
    """Give the octets of a section, its partial applied; raises SealBrokenError."""
    if item.section in _FIELDS:
        fields = _fields(message, item)
        return Piece(fields if fields is None else _partial(fields, item))
    place = _place(message, item)
    if place is None:
        return Piece()
    start, length = place
    if item.origin is not None:
        # RFC 3501 §6.4.5: a partial that begins behind the end is the empty string.
        skipped = min(item.origin, length)
        start, length = start + skipped, min(length - skipped, item.length or 0)
    if length > WHOLE_MAX:
        return Piece(None, start, length)
    return Piece(b"".join(message.read(start, length)))


def _place(message: OpenMessage, item: BodySection) -> tuple[int, int] | None:
    if needs_summary(item):
        return place_of(message.summary, item.part, item.section.value.decode())
    if item.section is Section.ALL:
        return 0, message.size
    header = message.header_size
    return (0, header) if item.section is Section.HEADER else (header, message.size - header)


def _fields(message: OpenMessage, item: BodySection) -> bytes | None:
    if not item.part:
        block = message.header()
    else:
        place = place_of(message.summary, item.part, Section.HEADER.value.decode())
        if place is None:
            return None
        block = b"".join(message.read(place[0], min(place[1], HEADER_MAX)))
    names = frozenset([name.lower() for name in item.fields])
    header = Header(block)
    return header.select(names) if item.section is Section.HEADER_FIELDS else header.without(names)


def _partial(octets: bytes, item: BodySection) -> bytes:
    return octets if item.origin is None else octets[item.origin : item.origin + (item.length or 0)]
