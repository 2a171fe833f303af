# SPDX-License-Identifier: Apache-2.0
"""The parts of a message with their byte offsets, found while its octets come in.

Obeys RFC 2045, RFC 2046 §5.1 (multipart), §5.2.1 (message/rfc822), RFC 5322 §2.1 (header and body).
Must never know where the octets come from, nor hold the body: it keeps a line, the header block and bounded facts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from moatmail.core.limits import message as limits
from moatmail.core.limits.message import (
    BOUNDARY_MAX,
    DELIMITER_LINE_MAX,
    DEPTH_MAX,
    ENVELOPE_OCTETS_MAX,
    HEADER_FIELDS_MAX,
    HEADER_MAX,
    LEAD_OCTETS_MAX,
    PART_HEADERS_MAX,
    PARTS_MAX,
)
from moatmail.message.header import Header
from moatmail.message.parameters import Parameters, is_attachment, parameter_octets, read_content_fields

_HEADER_END_OR_DASHES = re.compile(rb"\n(?:\r?\n|--)")
_PARTIAL_ENDS = ((b"\n\r", 2), (b"\n-", 2), (b"\n", 1))
_OPAQUE_ENCODINGS = frozenset((b"base64", b"quoted-printable", b"x-uuencode", b"uuencode", b"x-uue"))
_MESSAGE_SUBTYPES = frozenset((b"rfc822", b"global"))
_ENVELOPE_NAMES = (b"date", b"subject", b"from", b"sender", b"reply-to", b"to", b"cc", b"bcc", b"in-reply-to", b"message-id")


@dataclass(slots=True)
class Part:
    """One body part: offsets in octets of the content (header [header_start, body_start), body [body_start, body_end)) and its MIME facts.

    `lines` are those of the body. `media`, `subtype`, `encoding` and parameter names are lower case, values raw octets, unquoted
    but not decoded. `children` are the parts of a multipart or the one message within a message/rfc822; `envelope` holds the unfolded fields of
    a message (the top one or an embedded one) that ENVELOPE needs, None for other parts.
    """

    header_start: int
    body_start: int = 0
    body_end: int = 0
    lines: int = 0
    media: bytes = b"text"
    subtype: bytes = b"plain"
    parameters: Parameters = ()
    typed: bool = False
    encoding: bytes = b""
    content_id: bytes | None = None
    description: bytes | None = None
    disposition: bytes | None = None
    disposition_parameters: Parameters = ()
    language: tuple[bytes, ...] = ()
    location: bytes | None = None
    md5: bytes | None = None
    children: list[Part] = field(default_factory=list)
    envelope: dict[bytes, bytes] | None = None

    @property
    def is_multipart(self) -> bool:
        """Tell whether the type is multipart: then `children` holds its parts, at least one."""
        return self.media == b"multipart"

    @property
    def is_message(self) -> bool:
        """Tell whether the part embeds a message that was read: `children` holds just that message."""
        return self.media == b"message" and bool(self.children)

    @property
    def size(self) -> int:
        """Give the octets of the body, as they are encoded."""
        return self.body_end - self.body_start


@dataclass(slots=True)
class Structure:
    """The result: `root` (the message itself), `size` of the content in octets, the top header block, and how far it can be trusted.

    `lead` are the first octets (≤ LEAD_OCTETS_MAX) of the body of `lead_part`, the first text part that is no attachment.
    `truncated` says that a limit on depth, parts or header octets was met, so that something was not looked into.
    """

    root: Part
    size: int
    header: Header
    header_size: int
    parts: int
    truncated: bool
    lead: bytes = b""
    lead_part: Part | None = None


class StructureParser:
    """A push parser: `feed` octets in pieces of any size, then `finish`. Never raises on content; time is linear, state bounded.

    Larger than usual because the search, the stack of parts and what is kept of the octets all speak of places in one moving buffer.
    """

    def __init__(self) -> None:
        # A line end is imagined before the content, so that every header, the first too, begins after one.
        self._buffer = b"\n"
        self._base = -1  # offset of buffer[0] in the content
        self._position = 0  # where the search goes on, in the buffer
        self._counted = 1  # line ends before this place of the buffer are in _lines
        self._lines = 0
        self._final = False
        self._in_header = True
        self._head = bytearray()  # the header block being read, as far as it left the buffer
        self._head_from = 1  # where its rest begins in the buffer
        self._peeked = False  # whether a line of dashes was looked at in this header
        self._header: Header | None = None
        root = Part(header_start=0)
        self._root = root
        self._stack = [root]
        self._first_lines = [0]  # line ends before the body of each part on the stack
        self._open: list[tuple[int, bytes]] = []  # (place on the stack, boundary) of multiparts not closed yet
        self._delimiters: dict[bytes, tuple[int, bool]] = {}
        self._needle = b""
        self._false = 0  # lines that began like one of these delimiters and were none
        self._exact_body: re.Pattern[bytes] | None = None
        self._exact_header: re.Pattern[bytes] | None = None
        self._parts = 1
        self._truncated = False
        self._header_octets = 0
        self._envelope_octets = 0
        self._lead = bytearray()
        self._lead_part: Part | None = None
        self._lead_from = -1  # where the rest of the lead begins in the buffer; negative when none is being kept
        self.header_size = 0

    @property
    def header_complete(self) -> bool:
        """Tell whether the top header block has ended."""
        return self._header is not None

    @property
    def header(self) -> bytes:
        """Give the octets of the top header block with its closing empty line, as far as seen and at most HEADER_MAX."""
        return self._header.block if self._header is not None else bytes(self._head)

    def feed(self, data: bytes | memoryview) -> None:
        """Take the next octets of the content."""
        self._buffer += data
        self._scan()
        # One octet more is kept than is undecided: the CR that may stand before a delimiter's line end.
        self._forget(max(self._position - 1, 0))

    def finish(self) -> Structure:
        """End the content: close all open parts and give the structure (RFC 2046 §5.1.1: a missing last delimiter loses nothing)."""
        self._final = True
        self._scan()
        end = len(self._buffer)
        while self._in_header:
            self._end_header(end)
        self._close_above(-1, end, end)
        assert self._header is not None  # noqa: S101 - the loop above ended the top header
        return Structure(
            root=self._root,
            size=self._base + end,
            header=self._header,
            header_size=self.header_size,
            parts=self._parts,
            truncated=self._truncated,
            lead=bytes(self._lead),
            lead_part=self._lead_part,
        )

    # ---- the search -------------------------------------------------------------------------------------------------

    def _scan(self) -> None:
        while self._scan_header() if self._in_header else self._scan_body():
            pass

    def _scan_header(self) -> bool:
        """Look for the end of the header block; give True if there is more to do in the buffer."""
        buffer = self._buffer
        # A part's header also ends at a delimiter, if the empty line was forgotten.
        exact = self._exact_header if self._peeked else None
        match = (exact or _HEADER_END_OR_DASHES).search(buffer, self._position)
        if match is None and exact is not None:
            return self._keep_last_line()
        if match is None:
            self._position = len(buffer) - next((length for end, length in _PARTIAL_ENDS if buffer.endswith(end)), 0)
            return False
        if buffer.startswith(b"--", match.start() + 1):
            return self._delimiter(match.start())
        self._end_header(match.end())
        return True

    def _scan_body(self) -> bool:
        """Look for the next line that may be a delimiter; give True if there is more to do in the buffer."""
        buffer, needle = self._buffer, self._needle
        if not needle:
            self._position = len(buffer)
            return False
        if self._exact_body is not None:
            match = self._exact_body.search(buffer, self._position)
            return self._keep_last_line() if match is None else self._delimiter(match.start())
        at = buffer.find(needle, self._position)
        if at >= 0:
            return self._delimiter(at)
        line_end = buffer.rfind(b"\n", max(self._position, len(buffer) - len(needle) + 1))
        self._position = line_end if line_end >= 0 else len(buffer)
        return False

    def _keep_last_line(self) -> bool:
        """Leave the last line of the buffer undecided, if it may still become a delimiter; give False."""
        buffer = self._buffer
        line_end = buffer.rfind(b"\n", self._position)
        self._position = line_end if line_end >= 0 and len(buffer) - line_end - 1 <= DELIMITER_LINE_MAX else len(buffer)
        return False

    def _delimiter(self, at: int) -> bool:
        """Judge the line after the line end `at`; give True if there is more to do in the buffer."""
        buffer = self._buffer
        line_end = buffer.find(b"\n", at + 3)
        if line_end < 0:
            line_end = len(buffer)
            if not self._final and line_end - at - 1 <= DELIMITER_LINE_MAX:
                self._position = at
                return False
        found = None
        if line_end - at - 1 <= DELIMITER_LINE_MAX:
            # RFC 2046 §5.1.1: blanks may follow; the whole line decides, or one boundary could be the beginning of another.
            line = buffer[at + 3 : line_end].rstrip(b" \t\r")
            found = self._delimiters.get(line)
            if found is None and self._in_header and self._is_own_delimiter(line, at):
                self._end_header(at + 1)
                return True
        self._position = line_end
        if found is not None:
            self._obey(found[0], closing=found[1], at=at, line_end=line_end)
        else:
            self._false += 1
            if self._false == limits.FALSE_DELIMITERS_MAX:
                self._look_exactly()
        return True

    def _look_exactly(self) -> None:
        """Make the patterns of the open delimiters, with which lines that only begin like one cost nothing but their octets."""
        boundaries = [boundary for _, boundary in self._open]
        if sum(map(len, boundaries)) > limits.EXACT_OCTETS_MAX:
            return
        self._exact_header = re.compile(rb"\n\r?\n")
        if boundaries:
            line = rb"--(?:%b)(?:--)?[ \t\r]*+(?:\n|\Z)" % b"|".join(map(re.escape, boundaries))
            self._exact_body = re.compile(rb"\n" + line)
            self._exact_header = re.compile(rb"\n(?:\r?\n|%b)" % line)

    def _is_own_delimiter(self, line: bytes, at: int) -> bool:
        """Tell whether a line within a header is the first delimiter of the very multipart that the header declares: its empty line was forgotten."""
        if self._peeked:  # only the first such line of a header is looked at, to keep the time linear
            return False
        self._peeked = True
        part = Part(header_start=0)
        read_content_fields(part, Header(bytes(self._head) + self._buffer[self._head_from : at + 1]))
        return part.media == b"multipart" and line != b"" and line == _boundary(part)

    def _obey(self, level: int, *, closing: bool, at: int, line_end: int) -> None:
        """End the parts above the multipart at `level` of the stack, and begin its next one unless it is closed."""
        if not closing and self._parts >= PARTS_MAX:
            # What follows stays octets of the part that is open: still served and searched, no longer taken apart.
            self._truncated = True
            self._open = []
            self._set_delimiters()
            return
        # RFC 2046 §5.1.1: the line end before a delimiter belongs to the delimiter.
        end = at - 1 if at and self._buffer[at - 1] == 0x0D else at
        while self._in_header:
            self._end_header(max(end, self._head_from))
        self._close_above(level, end, at)
        self._position = line_end
        if closing:
            self._open = [pair for pair in self._open if pair[0] < level]
            self._set_delimiters()
            return
        self._begin(self._stack[level], min(line_end + 1, len(self._buffer)))

    # ---- parts ------------------------------------------------------------------------------------------------------

    def _begin(self, parent: Part, at: int) -> None:
        """Begin a part whose header starts at place `at` of the buffer."""
        part = Part(header_start=self._base + at)
        # RFC 2046 §5.1.5: in a digest a part without type is a message.
        if parent.media == b"multipart" and parent.subtype == b"digest":
            part.media, part.subtype = b"message", b"rfc822"
        parent.children.append(part)
        self._parts += 1
        self._stack.append(part)
        self._first_lines.append(self._lines)
        self._in_header = True
        self._head_from = at
        self._peeked = False
        self._position = max(at - 1, 0)

    def _end_header(self, at: int) -> None:
        """End the header block of the innermost part at place `at` of the buffer, and look what its body is."""
        block = self._take_header(at)
        part = self._stack[-1]
        # The doors bound the fields of the message's own header; of parts as many are looked at.
        header = Header(block, None if self._header is None else HEADER_FIELDS_MAX)
        self._truncated = self._truncated or (self._header is not None and len(header.names) == HEADER_FIELDS_MAX)
        read_content_fields(part, header)
        part.body_start = self._base + at
        self._count(at)
        self._first_lines[-1] = self._lines
        self._in_header = False
        self._position = max(at - 1, 0)
        if self._header is None:
            self._header, self.header_size = header, part.body_start
            part.envelope = self._envelope_of(header)
        elif self._stack[-2].media == b"message":
            part.envelope = self._envelope_of(header)
        self._open_body(part, at)
        self._header_octets += len(block)
        if self._header_octets > PART_HEADERS_MAX:
            self._truncated = True
            _drop_facts(part)

    def _open_body(self, part: Part, at: int) -> None:
        if part.media == b"multipart":
            if len(self._stack) < DEPTH_MAX:
                self._open_multipart(part)
            else:
                self._truncated = True
        elif part.media == b"message" and part.subtype in _MESSAGE_SUBTYPES and part.encoding not in _OPAQUE_ENCODINGS:
            if len(self._stack) < DEPTH_MAX and self._parts < PARTS_MAX:
                self._begin(part, at)
            else:
                self._truncated = True
        elif part.media == b"text" and self._lead_part is None and not is_attachment(part.disposition):
            self._lead_part, self._lead_from = part, at

    def _open_multipart(self, part: Part) -> None:
        boundary = _boundary(part)
        if boundary and len(boundary) <= BOUNDARY_MAX:
            self._open.append((len(self._stack) - 1, boundary))
            self._set_delimiters()

    def _close_above(self, level: int, end: int, lines_to: int) -> None:
        """Close the parts above `level` of the stack; their bodies end at place `end` of the buffer."""
        if len(self._stack) == level + 1:
            return
        self._count(lines_to)
        if self._lead_from >= 0:
            self._keep_lead(end)
            self._lead_from = -1
        offset = self._base + end
        while len(self._stack) > level + 1:
            part, first = self._stack.pop(), self._first_lines.pop()
            # The line end of an empty line may be the delimiter's too; the header has it then, for all parts that end here.
            part.body_end = offset = max(part.body_start, offset)
            part.lines = max(self._lines - first, 0)
            if part.media == b"multipart" and not part.children:
                # RFC 3501 §9 body-type-mpart: at least one body. A multipart in which no part was found is text to its reader.
                part.media, part.subtype, part.parameters, part.typed = b"text", b"plain", (), False
        if self._open and self._open[-1][0] > level:
            self._open = [pair for pair in self._open if pair[0] <= level]
            self._set_delimiters()

    def _set_delimiters(self) -> None:
        """Make the look-up of the open boundaries, the innermost winning, and what all their lines begin with."""
        delimiters: dict[bytes, tuple[int, bool]] = {}
        for level, boundary in self._open:
            delimiters[boundary] = (level, False)
            delimiters[boundary + b"--"] = (level, True)
        self._delimiters = delimiters
        self._false, self._exact_body, self._exact_header = 0, None, None
        self._needle = b"\n--" + _common_beginning([boundary for _, boundary in self._open]) if delimiters else b""

    # ---- what is kept of the octets ---------------------------------------------------------------------------------

    def _count(self, to: int) -> None:
        if to > self._counted:
            self._lines += self._buffer.count(b"\n", self._counted, to)
            self._counted = to

    def _take_header(self, at: int) -> bytes:
        if not self._head:
            if at - self._head_from <= HEADER_MAX:
                return self._buffer[self._head_from : at]
            self._truncated = True
            return self._buffer[self._head_from : self._head_from + HEADER_MAX]
        self._keep_header(at)
        block = bytes(self._head)
        self._head.clear()
        return block

    def _keep_header(self, to: int) -> None:
        room = HEADER_MAX - len(self._head)
        if to - self._head_from > room:
            self._truncated = True
        self._head += self._buffer[self._head_from : min(to, self._head_from + room)]

    def _keep_lead(self, to: int) -> None:
        self._lead += self._buffer[self._lead_from : min(to, self._lead_from + LEAD_OCTETS_MAX - len(self._lead))]

    def _envelope_of(self, header: Header) -> dict[bytes, bytes]:
        fields = {name: value for name in _ENVELOPE_NAMES if (value := header.joined(name)) is not None}
        self._envelope_octets += sum(map(len, fields.values()))
        if self._envelope_octets <= ENVELOPE_OCTETS_MAX:
            return fields
        self._truncated = True
        return {}

    def _forget(self, to: int) -> None:
        """Drop the octets before place `to` of the buffer, keeping what of them is a header or the lead."""
        self._count(to)
        if self._in_header and self._head_from < to:
            self._keep_header(to)
            self._head_from = to
        if 0 <= self._lead_from < to:
            self._keep_lead(to)
            self._lead_from = to
        self._buffer = self._buffer[to:]
        self._base += to
        self._position -= to
        self._counted = max(self._counted - to, 0)
        self._head_from -= to
        if self._lead_from >= 0:
            self._lead_from -= to


def _drop_facts(part: Part) -> None:
    part.parameters = part.disposition_parameters = ()
    part.content_id = part.description = part.location = part.md5 = None
    part.language = ()


def _boundary(part: Part) -> bytes:
    return parameter_octets(part.parameters, b"boundary").rstrip(b" \t")


def _common_beginning(names: list[bytes]) -> bytes:
    first, last = min(names), max(names)
    for place, octet in enumerate(first):
        if last[place] != octet:
            return first[:place]
    return first
