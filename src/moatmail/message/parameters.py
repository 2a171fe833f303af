# SPDX-License-Identifier: Apache-2.0
"""The MIME fields of a part: type, disposition and their parameters.

Obeys RFC 2045 §5.1 (Content-Type), RFC 2183 (Content-Disposition), RFC 2231 §3, §4 (continued and encoded parameters), RFC 3282.
Must never know offsets or bodies.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from moatmail.core.limits.message import COMMENT_DEPTH_MAX, FIELD_OCTETS_MAX, LANGUAGES_MAX, PARAMETER_OCTETS_MAX, PARAMETERS_MAX
from moatmail.message.charset import decode

if TYPE_CHECKING:
    from moatmail.message.header import Header
    from moatmail.message.structure import Part

Parameters = tuple[tuple[bytes, bytes], ...]
"""Names in lower case and values as octets: unquoted, neither joined nor decoded (RFC 2231)."""

_TYPE = re.compile(rb'[ \t]*+([^\x00-\x20\x7f-\xff/;="(),]++)[ \t]*+/[ \t]*+([^\x00-\x20\x7f-\xff/;="(),]++)')
# A forgotten semicolon between blank and name is forgiven. The look-behind lets a run of blanks be tried once only.
_PARAMETER = re.compile(
    rb'(?:;|(?<![ \t;])[ \t])[ \t]*+([^\x00-\x20\x7f-\xff=;"]++)[ \t]*+=[ \t]*+'
    rb'(?:"((?:[^"\\]++|\\.)*+)"?|((?:[^; \t]++|[ \t]++(?![^\x00-\x20\x7f-\xff=;"]++=))*+))',
    re.DOTALL,
)
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_TOKEN = re.compile(rb'[ \t]*+"?([^\x00-\x20\x7f-\xff;"(),]++)')
_LANGUAGE = re.compile(rb"[A-Za-z0-9-]++")
_COMMENT_MARKS = re.compile(rb'["()\\]')
_SECTION = re.compile(rb"(.*?)\*(0|[1-9][0-9]{0,3})?(\*)?\Z", re.DOTALL)


def read_content_fields(part: Part, header: Header) -> None:
    """Set the MIME facts of `part` from the Content-* fields of its header; the first field of a name counts."""
    seen: set[bytes] = set()
    for index, name in enumerate(header.names):
        if name.startswith(b"content-") and name in _READERS and name not in seen:
            seen.add(name)
            _, start, end = header.spans[index]
            value = header.block[start : min(end, start + FIELD_OCTETS_MAX)].translate(None, b"\r\n\0").strip(b" \t")
            _READERS[name](part, value)


def parse_parameters(value: bytes) -> Parameters:
    """Give the parameters of an unfolded field value, at most PARAMETERS_MAX, values cut at PARAMETER_OCTETS_MAX; damage is skipped (RFC 2045 §5.1)."""
    found: list[tuple[bytes, bytes]] = []
    for match in _PARAMETER.finditer(value):
        if len(found) == PARAMETERS_MAX:
            break
        name, quoted, bare = match.groups()
        octets = bare.strip(b" \t") if quoted is None else _unquote(quoted)
        found.append((name.lower(), octets[:PARAMETER_OCTETS_MAX]))
    return tuple(found)


def parse_type(value: bytes) -> tuple[bytes, bytes] | None:
    """Give media type and subtype, lower case, of an unfolded Content-Type value, or None if it is none (RFC 2045 §5.1)."""
    match = _TYPE.match(value)
    return None if match is None else (match[1].lower(), match[2].lower())


def parameter_octets(parameters: Parameters, name: bytes) -> bytes:
    """Give the octets of parameter `name` (lower case), sections joined and percent-decoded, or the empty octets (RFC 2231 §3, §4)."""
    for known, value in parameters:
        if known == name:
            return value
    return _joined(parameters, name)[1]


def parameter_text(parameters: Parameters, name: bytes) -> str:
    """Give parameter `name` (lower case) as text, or the empty text; RFC 2231 forms win over the plain one (RFC 2231 §4, RFC 6266 §4.3's rule)."""
    charset, octets = _joined(parameters, name)
    if octets:
        return decode(octets, charset or "utf-8")
    for known, value in parameters:
        if known == name:
            return decode(value, "utf-8")
    return ""


def is_attachment(disposition: bytes | None) -> bool:
    """Tell whether a disposition asks for an attachment: RFC 2183 §2.8 treats every unknown type as one."""
    return disposition is not None and disposition != b"inline"


def strip_comments(value: bytes, *, in_words: bool = False) -> bytes:
    """Give a structured field value without its comments (RFC 5322 §3.2.2); one that never ends goes to the end.

    A bracket inside a word, as in an unquoted file name, opens a comment only with `in_words`.
    """
    if b"(" not in value:
        return value
    kept: list[bytes] = []
    depth = start = position = 0
    in_quotes = False
    while (match := _COMMENT_MARKS.search(value, position)) is not None:
        position = match.end()
        mark = match[0]
        if mark == b"\\":
            position += 1
        elif mark == b'"' and not depth:
            in_quotes = not in_quotes
        elif mark == b"(" and not in_quotes:
            if depth or in_words or match.start() == 0 or value[match.start() - 1] in b" \t;=":
                if not depth:
                    kept.append(value[start : match.start()])
                depth = min(depth + 1, COMMENT_DEPTH_MAX)
        elif mark == b")" and depth:
            depth -= 1
            start = position
    if not depth:
        kept.append(value[start:])
    return b"".join(kept)


def _unquote(inside: bytes) -> bytes:
    return _ESCAPED.sub(rb"\1", inside) if b"\\" in inside else inside


def _joined(parameters: Parameters, name: bytes) -> tuple[str, bytes]:
    """Give charset and octets of the sections `name*0`, `name*1*` ..., whatever their order; a gap ends them (RFC 2231 §3)."""
    sections: dict[int, tuple[bool, bytes]] = {}
    for known, value in parameters:
        if not known.startswith(name) or known[len(name) : len(name) + 1] != b"*":
            continue
        match = _SECTION.match(known, len(name))
        if match is None or match[1]:
            continue
        # `name*` alone is an encoded value without sections (RFC 2231 §4).
        number, encoded = (int(match[2]), match[3] is not None) if match[2] is not None else (0, True)
        sections.setdefault(number, (encoded, value))
    charset, pieces, total = "", [], 0
    for number in range(len(sections)):
        if number not in sections:
            break
        encoded, value = sections[number]
        if encoded:
            if number == 0 and value.count(b"'") >= 2:
                label, _, value = value.split(b"'", 2)
                charset = label.decode("ascii", "replace")
            value = unquote_to_bytes(value)
        pieces.append(value)
        total += len(value)
        if total > PARAMETER_OCTETS_MAX:
            break
    return charset, b"".join(pieces)[:PARAMETER_OCTETS_MAX]


def _read_type(part: Part, value: bytes) -> None:
    value = strip_comments(value)
    kind = parse_type(value)
    # RFC 2045 §5.2: a type that cannot be read is text/plain; its parameters may still name a file.
    part.media, part.subtype = kind or (b"text", b"plain")
    part.typed = kind is not None
    if b"=" in value:
        part.parameters = parse_parameters(value)


def _read_encoding(part: Part, value: bytes) -> None:
    match = _TOKEN.match(strip_comments(value))
    if match is not None:
        part.encoding = match[1].lower()


def _read_disposition(part: Part, value: bytes) -> None:
    value = strip_comments(value)
    match = _TOKEN.match(value)
    if match is not None:
        part.disposition = match[1].lower()
    elif value.startswith(b";"):
        part.disposition = b"attachment"  # only parameters: RFC 2183 §2.8 treats what is unknown as an attachment
    if part.disposition is not None and b"=" in value:
        part.disposition_parameters = parse_parameters(value)


def _read_language(part: Part, value: bytes) -> None:
    part.language = tuple(_LANGUAGE.findall(strip_comments(value))[:LANGUAGES_MAX])


def _read_id(part: Part, value: bytes) -> None:
    part.content_id = value or None


def _read_description(part: Part, value: bytes) -> None:
    part.description = value or None


def _read_location(part: Part, value: bytes) -> None:
    part.location = value or None


def _read_md5(part: Part, value: bytes) -> None:
    part.md5 = value or None


_READERS = {
    b"content-type": _read_type,
    b"content-transfer-encoding": _read_encoding,
    b"content-disposition": _read_disposition,
    b"content-id": _read_id,
    b"content-description": _read_description,
    b"content-language": _read_language,
    b"content-location": _read_location,
    b"content-md5": _read_md5,
}
