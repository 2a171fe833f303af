# SPDX-License-Identifier: Apache-2.0
"""BINARY of FETCH: parts with their transfer encoding undone, in pieces.

Obeys RFC 3516 §4.2, §4.3 and RFC 9051 §6.4.5 (BINARY, BINARY.PEEK, BINARY.SIZE).
Must never know the session that asks, but lets it pause.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Final

from moatmail.core.limits.mailbox import WHOLE_MAX
from moatmail.mailbox.reading import OpenMessage
from moatmail.message import summary
from moatmail.message.places import LEAF
from moatmail.message.transfer import decoder
from moatmail.wire.imap import responses
from moatmail.wire.imap.fetch import BinarySection

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


def _place(message: OpenMessage, item: BinarySection) -> tuple[int, int, str] | None:
    """Give start, length and encoding of a part; the message as a whole has none of its own, for its header is in it."""
    if not item.part:
        return 0, message.size, ""
    part = summary.part(message.summary, item.part)
    if part is None:
        return None
    encoding = part.encoding if part.kind == LEAF else ""
    if encoding not in _KNOWN:
        raise UnknownEncodingError
    return part.body_start, part.body_end - part.body_start, encoding


def _decoded(message: OpenMessage, place: tuple[int, int, str], item: BinarySection) -> Iterator[bytes]:
    """Give the decoded octets in pieces, the partial applied to them."""
    start, length, encoding = place
    skip = item.origin or 0
    room = item.length if item.length is not None else -1
    for piece in _undone(message.read(start, length), encoding):
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
