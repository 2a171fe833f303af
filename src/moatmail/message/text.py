# SPDX-License-Identifier: Apache-2.0
"""The text a person reads in a message: for searches and previews.

Obeys RFC 3501 §6.4.4 (TEXT, BODY), RFC 2046 §4.1 (text parts), RFC 8970 §3.1 (preview).
Must never know where content is kept: it asks a reader for octets by offset.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable, Iterator

from moatmail.core.limits.message import PREVIEW_CHARACTERS_MAX, SEARCH_OCTETS_MAX
from moatmail.message.charset import decode
from moatmail.message.encoded_word import decode_words
from moatmail.message.header import Header, unfold
from moatmail.message.places import LEAF, MESSAGE, PartPlace
from moatmail.message.transfer import decode_body, decoder

Read = Callable[[int, int], Iterable[bytes]]
"""Gives the octets of (start, length) in pieces, counted from the start of what clients see."""

_PLAIN_LEAD_OCTETS = 10 * PREVIEW_CHARACTERS_MAX  # quoted-printable takes nine for a Chinese character; HTML needs more for its head
# Stops at the next "<", so that text full of them costs linear time.
_TAG = re.compile(r"<[^<>]*+>")
_HTML_PIECE = 64 * 1024
_HIDDEN = re.compile(r"<(style|script|head)(?=[\s>/])", re.IGNORECASE)


def body_texts(root: PartPlace, read: Read) -> Iterator[str]:
    """Give the names of all attachments, the decoded text of each text part and the header fields of embedded messages, at most SEARCH_OCTETS_MAX octets."""
    room = SEARCH_OCTETS_MAX
    # RFC 9051 §6.4.4: TEXT looks into MIME header fields; what people look for there is how an attachment is called.
    if names := "\n".join([place.filename for place in _leaves(root) if place.filename]):
        yield names
    for place in _leaves(root):
        if room <= 0:
            return
        if place.kind == MESSAGE:
            inner = place.children[0]
            block = b"".join(read(inner.header_start, min(inner.body_start - inner.header_start, room)))
            room -= len(block)
            yield header_text(block)
        elif place.media.startswith(("text/", "message/")):
            octets = _decoded(place, read, room)
            room -= len(octets)
            yield part_text(octets, place.media, place.charset)


def header_text(block: bytes) -> str:
    """Give the fields of a header block as text, a line each, encoded words decoded (RFC 3501 §6.4.4: TEXT looks into the header too).

    Lines that are no field are given as they are: nothing hides from a search by being damaged.
    """
    lines: list[str] = []
    position = 0
    for start, value, end in Header(block).spans:
        if start > position:
            lines.append(decode_words(unfold(block[position:start])))
        lines.append(f"{block[start : value - 1].decode('ascii')}: {decode_words(unfold(block[value:end]))}")
        position = end + 1
    rest = unfold(block[position:])
    if rest:
        lines.append(decode_words(rest))
    return "\n".join(lines)


def part_text(octets: bytes, media: str, charset: str) -> str:
    """Give the text of a part whose transfer encoding is undone; of HTML what is shown, without tags."""
    text = decode(octets, charset or "utf-8")
    return html_text(text) if media == "text/html" else text


def html_text(text: str) -> str:
    """Give what HTML shows as text, roughly and in linear time: no tags, no style, script and head, entities resolved, no soft hyphens."""
    pieces: list[str] = []
    position = 0
    while (match := _HIDDEN.search(text, position)) is not None:
        pieces.append(text[position : match.start()])
        end = re.compile(f"</{match[1]}", re.IGNORECASE).search(text, match.end())
        # An element that is never closed hides nothing: a filter must not be blinder than a reader.
        position = match.start() if end is None else end.start()
        if end is None:
            break
    pieces.append(text[position:])
    return "".join([html.unescape(_TAG.sub(" ", piece)) for piece in _cut("".join(pieces))]).replace("\xad", "")


def _cut(text: str) -> Iterator[str]:
    """Cut before a "<", where no tag and no entity is cut in two: one call over megabytes would hold the interpreter for a tenth of a second."""
    start = 0
    while (end := text.find("<", start + _HTML_PIECE)) >= 0:
        yield text[start:end]
        start = end
    yield text[start:]


def preview(octets: bytes, encoding: bytes, media: str, charset: str) -> str:
    """Give at most PREVIEW_CHARACTERS_MAX characters of the beginning of a text part, blanks collapsed (RFC 8970 §3.1)."""
    if media != "text/html":
        octets = octets[:_PLAIN_LEAD_OCTETS]
    text = part_text(decode_body(octets, encoding), media, charset)
    # Only the beginning is collapsed: that much of it is blank in no message a person wrote.
    text = " ".join(text[: 10 * PREVIEW_CHARACTERS_MAX].replace("\0", "").split())
    # A character cut by the end of the octets is no damage of the message.
    return text[:PREVIEW_CHARACTERS_MAX].rstrip("\ufffd ")


def _decoded(place: PartPlace, read: Read, room: int) -> bytes:
    undo = decoder(place.encoding.encode("ascii", "replace"))
    pieces: list[bytes] = []
    size = 0
    for piece in read(place.body_start, place.body_end - place.body_start):
        octets = undo.feed(bytes(piece))
        pieces.append(octets)
        size += len(octets)
        if size >= room:
            break
    else:
        pieces.append(undo.finish())
    return b"".join(pieces)[:room]


def _leaves(root: PartPlace) -> Iterator[PartPlace]:
    """Give leaves and embedded messages in the order they stand, without recursion."""
    stack = [root]
    while stack:
        place = stack.pop()
        if place.kind in (LEAF, MESSAGE):
            yield place
        stack.extend(reversed(place.children))
