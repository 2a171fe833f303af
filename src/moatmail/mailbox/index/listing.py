# SPDX-License-Identifier: Apache-2.0
"""Listings: what a client's list of messages shows of about a thousand messages, sealed as one, so that showing them opens one seal.

Obeys RFC 3501 §7.4.2 (ENVELOPE, BODY, BODYSTRUCTURE), §6.4.5 (HEADER.FIELDS), RFC 8970 (PREVIEW) through the summaries it is made of.
Must never know a mailbox: it speaks of message numbers.

A listing is a part of a segment of the search index, of a kind of its own: it is made with the segment and goes with it, so that nothing of an
erased message stays. It says nothing that the summaries do not say.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from moatmail.core.errors import SealBrokenError
from moatmail.core.limits.mailbox import LISTING_OCTETS
from moatmail.crypto.seal import Purpose, SealKey
from moatmail.message.summary import Summary

KIND: Final = 64
"""The kind of this part of a segment; those below are field classes of words."""
VERSION: Final = 1


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One message: its number, and of its summary the fields of the same names (see `Summary`)."""

    number: int
    envelope: bytes
    body: bytes
    bodystructure: bytes
    preview: str
    packed_fields: msgspec.Raw

    @property
    def fields(self) -> tuple[tuple[bytes, bytes], ...] | None:
        """Give the header fields of a list (`Summary.fields`), read when they are asked for."""
        fields: tuple[tuple[bytes, bytes], ...] | None = _FIELDS.decode(self.packed_fields)
        return fields


class _Listing(msgspec.Struct, frozen=True, array_like=True, gc=False):
    version: int
    entries: list[Entry]


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(_Listing)
_FIELDS: Final = msgspec.msgpack.Decoder(tuple[tuple[bytes, bytes], ...] | None)


class ListingBuilder:
    """Gathers the entries of one listing; those that would make it too large are left out, and shown from their summaries."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._octets = 0

    def add(self, number: int, summary: Summary) -> None:
        """Take a message; one that readers of UTF-8 are told otherwise is left out too."""
        if summary.utf8 is not None:
            return
        fields = msgspec.Raw(_ENCODER.encode(summary.fields))
        octets = len(summary.envelope) + len(summary.body) + len(summary.bodystructure) + 4 * len(summary.preview) + len(fields)
        if self._octets + octets <= LISTING_OCTETS:
            self._octets += octets
            self._entries.append(Entry(number, summary.envelope, summary.body, summary.bodystructure, summary.preview, fields))

    def seal(self, sealing: SealKey, account: int, segment_id: bytes) -> tuple[int, bytes]:
        """Give kind and sealed octets (some 10 ms for a thousand messages: in a thread), bound to the segment as its other parts are."""
        return KIND, sealing.seal(Purpose.SEGMENT, account, _object_id(segment_id), _ENCODER.encode(_Listing(VERSION, self._entries)))


def build(rows: Iterable[tuple[int, Summary]], sealing: SealKey, account: int, segment_id: bytes) -> tuple[int, bytes]:
    """Give kind and sealed octets of the listing of messages by number."""
    builder = ListingBuilder()
    for number, summary in rows:
        builder.add(number, summary)
    return builder.seal(sealing, account, segment_id)


def open_listing(sealing: SealKey, account: int, segment_id: bytes, sealed: bytes) -> dict[int, Entry]:
    """Give the entries by message number (some milliseconds: in a thread); raises SealBrokenError for anything but exactly this listing."""
    try:
        listing = _DECODER.decode(sealing.open(Purpose.SEGMENT, account, _object_id(segment_id), sealed))
    except msgspec.MsgspecError as error:
        raise SealBrokenError(f"segment {segment_id.hex()}: no listing: {error}") from None
    if listing.version != VERSION:
        raise SealBrokenError(f"segment {segment_id.hex()}: a listing of another version")
    return {entry.number: entry for entry in listing.entries}


def _object_id(segment_id: bytes) -> bytes:
    return segment_id + bytes((KIND,))
