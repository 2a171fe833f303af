# SPDX-License-Identifier: Apache-2.0
"""A report's octets out of the mail that brings it: parts judged by what they hold, gzip and zip undone in memory, everything bounded.

Obeys RFC 9990 §3.5.2 and §8.1 (attachment, compression, bombs), RFC 8460 §5.3 (TLS reports by mail), RFC 5965 §2 (feedback reports), RFC 1952.
Must never know what a report says, and no file name: neither of the mail nor within an archive is one used.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from moatmail.core.limits.mailauth import (
    FEEDBACK_OCTETS,
    REPORT_LAYERS,
    REPORT_MAIL_OCTETS,
    REPORT_OCTETS,
    REPORT_PACKED_OCTETS,
    REPORT_PARTS_MAX,
    REPORT_RATIO_FREE,
    REPORT_RATIO_MAX,
    REPORT_ZIP_ENTRIES,
)
from moatmail.mailauth.reports.unreadable import UnreadableReportError
from moatmail.message.structure import Part, StructureParser
from moatmail.message.transfer import decode_body

_SNIFFED: Final = 4096
_GZIP: Final = b"\x1f\x8b"
_ZIP: Final = b"PK\x03\x04"
_BLANK: Final = b" \t\r\n"
_MARKS: Final = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
_XML: Final = re.compile(rb"<(?:\?xml|!--|!DOCTYPE[ \t\r\n]++feedback|(?:[A-Za-z_][\w.-]*+:)?feedback[ \t\r\n>/])", re.IGNORECASE)
_FEEDBACK_FIELD: Final = b"feedback-type:"

_END: Final = struct.Struct("<4s4H2LH")
_ENTRY: Final = struct.Struct("<4s6H3L5H2L")
_LOCAL: Final = struct.Struct("<4s5H3L2H")
_ENCRYPTED: Final = 1
_STORED: Final = 0
_DEFLATED: Final = 8


class Form(StrEnum):
    """What octets look like, by their beginning."""

    XML = "xml"
    JSON = "json"
    FEEDBACK = "feedback"


@dataclass(frozen=True, slots=True)
class Candidate:
    """Octets that may be a report; for a feedback report `original` is the returned message's header block, empty if there is none."""

    form: Form
    octets: bytes
    original: bytes = b""


def candidates(content: bytes) -> Iterator[Candidate]:
    """Give what in a mail may be a report, best first; raises UnreadableReportError for a bomb, a broken archive, or when nothing looks like one."""
    if len(content) > REPORT_MAIL_OCTETS:
        raise UnreadableReportError(f"the mail is larger than {REPORT_MAIL_OCTETS} octets")
    parser = StructureParser()
    parser.feed(content)
    leaves = _leaves(parser.finish().root)
    feedback = next((part for part in leaves if (part.media, part.subtype) == (b"message", b"feedback-report")), None)
    if feedback is not None:
        # RFC 5965 §2: the report is this part. What the returned message holds was written by whom the complaint is about.
        yield Candidate(Form.FEEDBACK, _body(content, feedback)[:FEEDBACK_OCTETS], _original(content, leaves))
        return
    found = False
    room = Room()
    for part in leaves:
        # RFC 9990 §3.5.2 names types and file names; reporters use others, so the content decides.
        if not part.is_message and _looks_like_report(decode_body(content[part.body_start : min(part.body_end, part.body_start + _SNIFFED)], part.encoding)):
            for one in unpacked(_body(content, part), room):
                found = True
                yield one
    if not found:
        raise UnreadableReportError("no part of the mail holds a report")


@dataclass(slots=True)
class Room:
    """How many octets may still be unpacked out of one mail."""

    left: int = REPORT_OCTETS

    def take(self, packed: int) -> int:
        """Give how much `packed` octets may become: real reports reach a hundred times their packed size, bombs a thousand times."""
        return min(self.left, max(REPORT_RATIO_FREE, packed * REPORT_RATIO_MAX))


def unpacked(octets: bytes, room: Room, layers: int = REPORT_LAYERS) -> Iterator[Candidate]:
    """Give what `octets` hold, unpacked as often as needed; raises UnreadableReportError."""
    if len(octets) > REPORT_PACKED_OCTETS and not _form(octets):
        raise UnreadableReportError(f"packed octets beyond {REPORT_PACKED_OCTETS}")
    form = _form(octets)
    if form is not None:
        yield Candidate(form, octets[:REPORT_OCTETS])
        return
    if not octets.startswith((_GZIP, _ZIP)):
        return
    if not layers:
        raise UnreadableReportError(f"packed more than {REPORT_LAYERS} times")
    for inner in [_gunzip(octets, room)] if octets.startswith(_GZIP) else _unzip(octets, room):
        yield from unpacked(inner, room, layers - 1)


def _leaves(root: Part) -> list[Part]:
    """Give the parts without parts in order, an embedded message being one of them."""
    found: list[Part] = []
    pending = [root]
    while pending and len(found) < REPORT_PARTS_MAX:
        part = pending.pop()
        if part.is_multipart:
            pending.extend(reversed(part.children))
        else:
            found.append(part)
    return found


def _body(content: bytes, part: Part) -> bytes:
    return decode_body(content[part.body_start : part.body_end], part.encoding)


def _original(content: bytes, leaves: list[Part]) -> bytes:
    """Give the header block of the message that a feedback report returns (RFC 5965 §2, RFC 6591 §3.1)."""
    for part in leaves:
        if part.is_message:
            inner = part.children[0]
            return content[inner.header_start : min(inner.body_start, inner.header_start + FEEDBACK_OCTETS)]
        if (part.media, part.subtype) in {(b"text", b"rfc822-headers"), (b"message", b"rfc822-headers")}:
            return _body(content, part)[:FEEDBACK_OCTETS]
    return b""


def _looks_like_report(octets: bytes) -> bool:
    return octets.startswith((_GZIP, _ZIP)) or _form(octets) is not None


def _form(octets: bytes) -> Form | None:
    """Tell a report by its beginning."""
    head = octets[:_SNIFFED]
    if head.startswith(_MARKS[1:]):
        return Form.XML if b"<" in head[2:4] else None
    head = head.removeprefix(_MARKS[0]).lstrip(_BLANK)
    if head.startswith(b"{"):
        return Form.JSON
    # A part in HTML is no report, and need not be read to see that.
    if _XML.match(head) is not None:
        return Form.XML
    return Form.FEEDBACK if head[: len(_FEEDBACK_FIELD)].lower() == _FEEDBACK_FIELD else None


# ---- gzip ----


def _gunzip(octets: bytes, room: Room) -> bytes:
    """Undo gzip of one or more members (RFC 1952 §2.2); octets behind them are ignored, a cut stream gives what it holds."""
    pieces: list[bytes] = []
    limit = room.take(len(octets))
    for _member in range(REPORT_ZIP_ENTRIES):
        piece, rest = _inflated(octets, zlib.MAX_WBITS | 16, limit)
        pieces.append(piece)
        limit -= len(piece)
        room.left -= len(piece)
        octets = rest.lstrip(b"\0")
        if not octets.startswith(_GZIP):
            break
    return b"".join(pieces)


def _inflated(octets: bytes, window: int, limit: int) -> tuple[bytes, bytes]:
    """Give what a stream inflates to and the octets behind it; never more than `limit` octets are made."""
    stream = zlib.decompressobj(window)
    try:
        piece = stream.decompress(octets, limit + 1)
    except zlib.error as error:
        raise UnreadableReportError(f"the compression is broken ({error})") from error
    if len(piece) > limit:
        raise UnreadableReportError("it unpacks to more than is read")
    return piece, stream.unused_data


# ---- zip ----


def _unzip(octets: bytes, room: Room) -> Iterator[bytes]:
    """Give the files of a zip archive in order, at most REPORT_ZIP_ENTRIES entries being looked at."""
    for method, start, size in _entries(octets):
        packed = octets[start : start + size]
        limit = room.take(len(packed))
        if method == _DEFLATED:
            piece, _ = _inflated(packed, -zlib.MAX_WBITS, limit)
        elif method == _STORED and len(packed) <= limit:
            piece = packed
        else:
            raise UnreadableReportError("the archive is packed in a way that is not read")
        room.left -= len(piece)
        yield piece


def _entries(octets: bytes) -> Iterator[tuple[int, int, int]]:
    """Give (method, start, packed size) of the files that the directory names; their names are not looked at beyond the mark of a folder."""
    at = octets.rfind(b"PK\x05\x06", max(0, len(octets) - 65_557))
    try:
        _, _, _, _, count, size, offset, _ = _END.unpack_from(octets, at) if at >= 0 else (b"", 0, 0, 0, 0, 0, 0, 0)
        # Octets before the archive move all its places.
        moved = max(0, at - size - offset)
        place = offset + moved
        for _entry in range(min(count, REPORT_ZIP_ENTRIES)):
            fields = _ENTRY.unpack_from(octets, place)
            mark, flags, method, packed, name, extra, comment, local = (fields[n] for n in (0, 3, 4, 8, 10, 11, 12, 16))
            if mark != b"PK\x01\x02":
                break
            is_folder = octets[place + _ENTRY.size + name - 1 : place + _ENTRY.size + name] == b"/"
            place += _ENTRY.size + name + extra + comment
            if flags & _ENCRYPTED:
                raise UnreadableReportError("the archive is encrypted")
            if not is_folder:
                yield method, _data_start(octets, local + moved), packed
    except struct.error as error:
        raise UnreadableReportError("the archive is broken") from error


def _data_start(octets: bytes, local: int) -> int:
    fields = _LOCAL.unpack_from(octets, local)
    if fields[0] != _ZIP:
        raise UnreadableReportError("the archive is broken")
    return local + _LOCAL.size + int(fields[9]) + int(fields[10])
