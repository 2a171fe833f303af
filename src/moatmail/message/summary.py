# SPDX-License-Identifier: Apache-2.0
"""The summary of a message: what a reader's list asks for, made once at delivery.

Obeys RFC 3501 §6.4.5 (section specifications), §7.4.2 (ENVELOPE, BODY, BODYSTRUCTURE), RFC 8970 (preview), RFC 5256 §2.1 (base subject).
Must never know the store that keeps it, nor flags and UIDs.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from moatmail.message.structure import Structure

VERSION = 1
LEAF, MULTIPART, MESSAGE = 0, 1, 2


class PartPlace(msgspec.Struct, frozen=True, array_like=True):
    """Where a part lies: header [header_start, body_start), body [body_start, body_end), octets from the start of what clients see.

    `kind` is LEAF, MULTIPART or MESSAGE (then `children` is the one message within). `media` is ``"text/plain"``, lower case.
    """

    header_start: int
    body_start: int
    body_end: int
    kind: int = LEAF
    media: str = ""
    encoding: str = ""
    charset: str = ""
    filename: str = ""
    children: tuple[PartPlace, ...] = ()


class Summary(msgspec.Struct, frozen=True, array_like=True):
    """Wire octets of the three FETCH items, the places of all parts, decoded header texts, and thread keys.

    `sent_at` is the Date field in epoch seconds, `sent_zone` its offset in minutes, both None without a readable one. `sender_text` and the other
    texts are decoded (RFC 2047) but not case-folded. `references` are Message-IDs, oldest first, In-Reply-To last.
    """

    version: int
    size: int
    envelope: bytes
    body: bytes
    bodystructure: bytes
    root: PartPlace
    subject: str = ""
    from_text: str = ""
    to_text: str = ""
    cc_text: str = ""
    bcc_text: str = ""
    sent_at: int | None = None
    sent_zone: int | None = None
    preview: str = ""
    message_id: bytes = b""
    references: tuple[bytes, ...] = ()
    base_subject: str = ""
    is_reply: bool = False


def build(structure: Structure, *, shift: int = 0, preview_source: bytes | None = None) -> Summary:
    """Give the summary of a message whose content is preceded by `shift` octets of prefix and trace fields, which become part of its header.

    `preview_source` replaces the first octets of the text part that the parser kept.
    """
    raise NotImplementedError


def encode(summary: Summary) -> bytes:
    """Give a summary as compact octets (MessagePack), its version first."""
    return msgspec.msgpack.encode(summary)


def decode(octets: bytes) -> Summary:
    """Read what `encode` wrote; ValueError on damage or a version we do not know."""
    try:
        summary = msgspec.msgpack.decode(octets, type=Summary)
    except msgspec.MsgspecError as error:
        raise ValueError("not a message summary") from error
    if summary.version != VERSION:
        raise ValueError("a message summary of another version")
    return summary


def section(summary: Summary, path: Sequence[int], what: str) -> tuple[int, int] | None:
    """Give (start, length) of ``BODY[path.what]`` in octets, None if there is no such section (RFC 3501 §6.4.5).

    `what` is "", "HEADER", "TEXT" or "MIME". The empty path is the message itself, for which MIME is not defined.
    """
    if not path:
        return _of_message(summary.root, what, whole=True)
    place = _find(summary.root, path)
    if place is None:
        return None
    if what == "":
        return place.body_start, place.body_end - place.body_start
    if what == "MIME":
        return place.header_start, place.body_start - place.header_start
    # RFC 3501 §6.4.5: HEADER and TEXT of a part are those of the message within it.
    return _of_message(place.children[0], what, whole=False) if place.kind == MESSAGE else None


def part(summary: Summary, path: Sequence[int]) -> PartPlace | None:
    """Give the place of part `path` (non-empty), or None if there is no such part (RFC 3501 §6.4.5)."""
    return _find(summary.root, path)


def _of_message(place: PartPlace, what: str, *, whole: bool) -> tuple[int, int] | None:
    if what == "HEADER":
        return place.header_start, place.body_start - place.header_start
    if what == "TEXT":
        return place.body_start, place.body_end - place.body_start
    return (place.header_start, place.body_end - place.header_start) if whole and what == "" else None


def _find(root: PartPlace, path: Sequence[int]) -> PartPlace | None:
    # A message that is no multipart has one part, number 1: its body.
    choices = _parts_of_message(root)
    place = None
    for number in path:
        if not 0 < number <= len(choices):
            return None
        place = choices[number - 1]
        choices = _parts_of_part(place)
    return place


def _parts_of_part(place: PartPlace) -> tuple[PartPlace, ...]:
    if place.kind == MESSAGE:
        return _parts_of_message(place.children[0])
    return place.children


def _parts_of_message(place: PartPlace) -> tuple[PartPlace, ...]:
    return place.children if place.kind == MULTIPART else (place,)
