# SPDX-License-Identifier: Apache-2.0
"""The summary of a message: what a reader's list asks for, made once at delivery.

Obeys RFC 3501 §7.4.2 (ENVELOPE, BODY, BODYSTRUCTURE), §6.4.5 (sections), RFC 8970 (preview), RFC 5256 §2.1 (base subject),
RFC 9051 §7.5.2 (message/global), RFC 6858 (what differs for readers of UTF-8).
Must never know the store that keeps it, nor flags and UIDs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from moatmail.core.limits.message import LISTED_OCTETS_MAX
from moatmail.message import places
from moatmail.message.dates import parse_date
from moatmail.message.encoded_word import decode_words
from moatmail.message.fetch_items import UTF8, render_body, render_envelope
from moatmail.message.parameters import parameter_octets, parameter_text
from moatmail.message.places import LEAF, MESSAGE, MULTIPART, PartPlace
from moatmail.message.references import base_subject, message_id, message_ids
from moatmail.message.structure import Part, Structure
from moatmail.message.text import preview

VERSION = 2
_KNOWN_VERSIONS = frozenset((1, VERSION))

LISTED: Final = frozenset(
    b"autocrypt bcc cc chat-version content-description content-language content-type date disposition-notification-to from importance in-reply-to "
    b"lines list-archive list-id list-post list-unsubscribe message-id mime-version newsgroups organization priority references reply-to sender subject to "
    b"user-agent x-label x-mailer x-priority".split()
)
"""The header fields that clients ask for to show a list of messages (lower case); no trace field of ours is among them."""


class UTF8View(msgspec.Struct, frozen=True, array_like=True):
    """What a reader of UTF-8 is told instead: `size` in octets, the three FETCH items, and `moved`: how many octets further on all parts lie for him.

    `fields` as in `Summary`.
    """

    size: int
    moved: int
    envelope: bytes
    body: bytes
    bodystructure: bytes
    fields: tuple[tuple[bytes, bytes], ...] | None


class Summary(msgspec.Struct, frozen=True, array_like=True):
    """Wire octets of the three FETCH items, the places of all parts, decoded header texts, and thread keys.

    `size` counts octets, prefix included. `sent_at` is the Date field in epoch seconds, `sent_zone` its offset in minutes, both None without a
    readable one. The texts are decoded (RFC 2047), not case-folded. `references` are Message-IDs, oldest first, that of In-Reply-To last.
    `fields` are the header fields named in `LISTED` as they stand, each with its name in small letters, in their order; None where they are too
    large to be kept here, or the summary is older than they are.
    `utf8` is there where a reader of UTF-8 is told something else; the texts are those of the real header, whoever reads.
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
    fields: tuple[tuple[bytes, bytes], ...] | None = None
    utf8: UTF8View | None = None


_DECODER = msgspec.msgpack.Decoder(Summary)
_ENCODER = msgspec.msgpack.Encoder()
_GLOBAL = b'"message" "global"'


def build(structure: Structure, *, shift: int = 0, preview_source: bytes | None = None) -> Summary:
    """Give the summary of a message whose content is preceded by `shift` octets of prefix and trace fields, which become part of its header.

    `preview_source` replaces the first octets of the text part that the parser kept, still transfer-encoded.
    """
    fields = structure.root.envelope or {}
    body, bodystructure = render_body(structure.root)
    subject = decode_words(fields.get(b"subject", b""))
    base, is_reply = base_subject(subject)
    sent = parse_date(fields.get(b"date", b""))
    return Summary(
        version=VERSION,
        size=structure.size + shift,
        envelope=render_envelope(fields),
        body=body,
        bodystructure=bodystructure,
        root=places_of(structure, shift),
        subject=subject,
        from_text=decode_words(fields.get(b"from", b"")),
        to_text=decode_words(fields.get(b"to", b"")),
        cc_text=decode_words(fields.get(b"cc", b"")),
        bcc_text=decode_words(fields.get(b"bcc", b"")),
        sent_at=sent and sent[0],
        sent_zone=sent and sent[1],
        preview=_preview(structure, preview_source),
        message_id=message_id(fields.get(b"message-id", b"")),
        references=_references(structure, fields),
        base_subject=base,
        is_reply=is_reply,
        fields=_listed(structure),
        utf8=_utf8_view(structure, shift) if _GLOBAL in bodystructure else None,
    )


def build_with_surrogate(structure: Structure, shown: Structure, *, shift: int, shown_shift: int) -> Summary:
    """Give the summary of a message whose header readers without UTF-8 see as a surrogate: `shown` is its structure with that header.

    `shift` and `shown_shift` as in `build`. Texts and thread keys are those of the real header: a surrogate is for the eye (RFC 6858 §2),
    and who searches or sorts means the message.
    """
    real, narrow = build(structure, shift=shift), build(shown, shift=shown_shift)
    view = _utf8_view(structure, shift, real.root.body_start - narrow.root.body_start)
    changed = {name: getattr(narrow, name) for name in ("size", "envelope", "body", "bodystructure", "root", "fields")}
    return msgspec.structs.replace(real, utf8=view, **changed)


def _utf8_view(structure: Structure, shift: int, further: int = 0) -> UTF8View:
    body, bodystructure = render_body(structure.root, UTF8)
    return UTF8View(structure.size + shift, further, render_envelope(structure.root.envelope or {}, UTF8), body, bodystructure, _listed(structure))


def for_utf8(summary: Summary) -> Summary:
    """Give the summary as a reader of UTF-8 sees the message."""
    view = summary.utf8
    if view is None:
        return summary
    root = summary.root if not view.moved else msgspec.structs.replace(places.moved(summary.root, view.moved), header_start=0)
    told = {name: getattr(view, name) for name in ("size", "envelope", "body", "bodystructure", "fields")}
    return msgspec.structs.replace(summary, root=root, utf8=None, **told)


def _listed(structure: Structure) -> tuple[tuple[bytes, bytes], ...] | None:
    fields = structure.header.fields(LISTED)
    return tuple(fields) if sum(len(octets) for _name, octets in fields) <= LISTED_OCTETS_MAX else None


def encode(summary: Summary) -> bytes:
    """Give a summary as compact octets (MessagePack), its version first."""
    return _ENCODER.encode(summary)


def decode(octets: bytes) -> Summary:
    """Read what `encode` wrote; ValueError on damage or a version we do not know."""
    try:
        summary = _DECODER.decode(octets)
    except msgspec.MsgspecError as error:
        raise ValueError("not a message summary") from error
    if summary.version not in _KNOWN_VERSIONS:
        raise ValueError("a message summary of another version")
    return summary


def section(summary: Summary, path: Sequence[int], what: str) -> tuple[int, int] | None:
    """Give (start, length) of ``BODY[path.what]`` in octets, None if there is no such section (RFC 3501 §6.4.5).

    `what` is "", "HEADER", "TEXT" or "MIME". The empty path is the message itself, for which MIME is not defined.
    """
    return places.section(summary.root, path, what)


def part(summary: Summary, path: Sequence[int]) -> PartPlace | None:
    """Give the place of part `path` (non-empty), or None if there is no such part (RFC 3501 §6.4.5)."""
    return places.find(summary.root, path)


def places_of(structure: Structure, shift: int = 0) -> PartPlace:
    """Give the places of all parts of a message whose content is preceded by `shift` octets."""
    place = _place(structure.root, shift)
    # What was put in front of the content belongs to the header that clients see.
    return msgspec.structs.replace(place, header_start=0)


def _place(part: Part, shift: int) -> PartPlace:
    """Give the place of a part and of all below it; depth is bounded by the parser's DEPTH_MAX."""
    kind = MULTIPART if part.is_multipart else MESSAGE if part.is_message else LEAF
    leaf = kind == LEAF
    return PartPlace(
        part.header_start + shift,
        part.body_start + shift,
        part.body_end + shift,
        kind,
        f"{part.media.decode('ascii')}/{part.subtype.decode('ascii')}",
        part.encoding.decode("ascii") if leaf else "",
        parameter_octets(part.parameters, b"charset").decode("ascii", "replace") if leaf and part.parameters else "",
        _filename(part) if leaf else "",
        tuple([_place(child, shift) for child in part.children]),
    )


def _filename(part: Part) -> str:
    # RFC 2183 §2.3; the older `name` of Content-Type serves where no disposition tells one.
    if part.disposition_parameters:
        name = parameter_text(part.disposition_parameters, b"filename")
        if name:
            return decode_words(name.encode()) if "=?" in name else name
    if part.parameters:
        name = parameter_text(part.parameters, b"name")
        return decode_words(name.encode()) if "=?" in name else name
    return ""


def _preview(structure: Structure, source: bytes | None) -> str:
    part = structure.lead_part
    octets = structure.lead if source is None else source
    if part is None or not octets:
        return ""
    charset = parameter_octets(part.parameters, b"charset").decode("ascii", "replace")
    return preview(octets, part.encoding, f"text/{part.subtype.decode('ascii')}", charset)


def _references(structure: Structure, fields: dict[bytes, bytes]) -> tuple[bytes, ...]:
    known = message_ids(structure.header.first(b"references") or b"")
    # RFC 5256 §3: In-Reply-To serves where References is missing; one that References lacks is the parent.
    parent = message_ids(fields.get(b"in-reply-to", b""))[:1]
    return known if not parent or parent[0] in known else known + parent
