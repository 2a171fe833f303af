# SPDX-License-Identifier: Apache-2.0
"""BINARY of FETCH: parts with their transfer encoding undone, in pieces.

Obeys RFC 3516 §4.2, §4.3 and RFC 9051 §6.4.5 (BINARY, BINARY.PEEK, BINARY.SIZE).
Must never know the session that asks, but lets it pause.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from moatmail.core.limits.mailbox import WHOLE_MAX
from moatmail.mailbox.newlines import Newlines
from moatmail.mailbox.reading import OpenMessage
from moatmail.message import summary
from moatmail.message.places import LEAF
from moatmail.message.transfer import decoder
from moatmail.wire.imap import responses
from moatmail.wire.imap.fetch import BinarySection

_WIDE: Final = ("utf-16", "utf16", "utf-32", "utf32", "iso-10646-ucs", "ucs-")
_KNOWN: Final = frozenset(("", "7bit", "8bit", "binary", "base64", "quoted-printable"))


class UnknownEncodingError(Exception):
    """The part is in an encoding nobody here can undo (RFC 3516 §4.3)."""


@dataclass(frozen=True, slots=True)
class Streamed:
    """An item too large to be held: its head, the octets that have to follow, and these in pieces."""

    head: bytes
    pieces: Iterator[bytes]


async def render(message: OpenMessage, item: BinarySection, pause: Callable[[], Awaitable[object]]) -> bytes | Streamed:
    """Give the item of an open message; raises UnknownEncodingError, SealBrokenError.

    How much it is, and whether a NUL is within (RFC 3516 §4.2: then the literal is one of eight bits), is known after reading it all: once
    for what is small, twice for what is large.
    """
    place = _place(message, item)
    if place is None:
        return responses.binary_size_item(item.label, 0) if item.size_only else responses.section_item(item.label, None)
    size, has_nul = 0, False
    kept: list[bytes] = []
    for piece in _decoded(message, place, item):
        size += len(piece)
        has_nul = has_nul or b"\0" in piece
        if size <= WHOLE_MAX and not item.size_only:
            kept.append(piece)
        await pause()
    if item.size_only:
        return responses.binary_size_item(item.label, size)
    if size <= WHOLE_MAX:
        return responses.section_item(item.label, b"".join(kept), eight_bit=has_nul)
    return Streamed(responses.section_head(item.label, size, eight_bit=has_nul), _decoded(message, place, item))


def check_encoding(message: OpenMessage, item: BinarySection) -> None:
    """Raise UnknownEncodingError for a part that `render` could not give."""
    _place(message, item)


class _Place(NamedTuple):
    """Where a part lies, what undoes it, and whether it is text that lines are ended in."""

    start: int
    length: int
    encoding: str = ""
    lines: bool = False


def _place(message: OpenMessage, item: BinarySection) -> _Place | None:
    """Find a part; the message as a whole has no encoding of its own, for its header is in it."""
    if not item.part:
        return _Place(0, message.size)
    part = summary.part(message.summary, item.part)
    if part is None:
        return None
    encoding = part.encoding if part.kind == LEAF else ""
    if encoding not in _KNOWN:
        raise UnknownEncodingError
    # RFC 3516 §4.2, RFC 9051 §7.5.2: text has CRLF, whatever was in the encoding; in charsets of wide characters an octet is no line end.
    lines = part.media.startswith("text/") and not part.charset.lower().startswith(_WIDE)
    return _Place(part.body_start, part.body_end - part.body_start, encoding, lines)


def _decoded(message: OpenMessage, place: _Place, item: BinarySection) -> Iterator[bytes]:
    """Give the decoded octets in pieces, the partial applied to them."""
    skip = item.origin or 0
    room = item.length if item.length is not None else -1
    undone = _undone(message.read(place.start, place.length), place.encoding)
    for piece in _with_lines(undone) if place.lines else undone:
        octets = piece[skip:] if skip else piece
        skip = max(0, skip - len(piece))
        if room >= 0:
            octets = octets[:room]
            room -= len(octets)
        if octets:
            yield octets
        if room == 0:
            return


def _undone(pieces: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    undo = decoder(encoding.encode())
    for piece in pieces:
        yield undo.feed(piece)
    yield undo.finish()


def _with_lines(pieces: Iterator[bytes]) -> Iterator[bytes]:
    lines = Newlines()
    for piece in pieces:
        yield lines.take(piece)
    yield lines.finish()
