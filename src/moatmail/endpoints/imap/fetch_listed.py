# SPDX-License-Identifier: Apache-2.0
"""FETCH of thousands of messages from listings: whole columns of items, put together row by row in C.

Obeys RFC 3501 §7.4.2, RFC 7162 §3.1.4 (MODSEQ), RFC 8970 §3.1 (PREVIEW), RFC 9586 §3.3 (UIDFETCH).
Must never know where listings come from, nor when an answer is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from moatmail.core.imap_string import string
from moatmail.core.limits.endpoints import LISTED_ROWS
from moatmail.endpoints.imap.selected import Selected
from moatmail.mailbox.index.listing import Kind, Places, take
from moatmail.mailbox.listings import Listing
from moatmail.mailbox.view import View
from moatmail.store.index_items import PlacedRow
from moatmail.wire.imap import responses
from moatmail.wire.imap.fetch import Attribute, BodySection, FetchItem
from moatmail.wire.imap.moment import format_date_times

_NUL: Final = b"\0"
RowItem = Callable[[PlacedRow], bytes]
"""Makes an item from a message's row alone."""


class Listed(NamedTuple):
    """Messages of one listing: their places in it, and the rows by UID where an item needs them."""

    listing: Listing
    places: Places
    rows: Mapping[int, PlacedRow]


class _Chunk(NamedTuple):
    """What columns are made of: equal places of `uids`, `at` (places in the view) and `places` (in the listing) are of one message."""

    uids: Sequence[int]
    view: View
    at: Places
    listing: Listing
    places: Places
    rows: Mapping[int, PlacedRow]


_Columns = Callable[[_Chunk], list[Iterable[object]]]


@dataclass(frozen=True, slots=True)
class _Piece:
    """One item of every row: its form, which part of a listing it needs, and what makes the columns that the form takes."""

    form: bytes
    kind: Kind
    columns: _Columns


class ListedRows:
    """Renders the responses of one FETCH."""

    def __init__(self, selected: Selected, items: Sequence[FetchItem], from_rows: Mapping[Attribute, RowItem], *, by_uid: bool) -> None:
        """Render `items`, those of `from_rows` by what is given there; `by_uid` as UIDFETCH."""
        self._selected = selected
        pieces = [self._piece(item, from_rows) for item in items]
        self._by_uid = by_uid
        self._columns = [piece.columns for piece in pieces]
        self._form = (b"* %d UIDFETCH (" if by_uid else b"* %d FETCH (") + b" ".join([piece.form for piece in pieces]) + b")\r\n"
        self.kinds = frozenset([piece.kind for piece in pieces])
        self.needs_rows = not from_rows.keys().isdisjoint(items)
        # The sections of a chunk are in memory all at once, each as long as header fields of lists may be.
        self.at_once = max(1, LISTED_ROWS // max(1, sum(isinstance(item, BodySection) for item in items)))
        """How many messages to render at once."""

    def render(self, page: Sequence[tuple[int, int]], view: View, at: Places, listed: Listed) -> Iterator[bytes]:
        """Give the response line of each message (number, UID), about a microsecond each; `at` are their places in the view."""
        numbers, uids = zip(*page, strict=True)
        chunk = _Chunk(uids, view, at, *listed)
        columns: list[Iterable[object]] = [uids if self._by_uid else numbers]
        for make in self._columns:
            columns.extend(make(chunk))
        return map(self._form.__mod__, zip(*columns, strict=True))

    def _piece(self, item: FetchItem, from_rows: Mapping[Attribute, RowItem]) -> _Piece:
        if isinstance(item, BodySection):
            return _section(item)
        if not isinstance(item, Attribute):
            raise TypeError("a decoded part is not made without the content")
        if item in from_rows:
            make = from_rows[item]
            return _Piece(b"%b", Kind.FACTS, lambda chunk: [[make(chunk.rows[uid]) for uid in chunk.uids]])
        return _Piece(b"%b", Kind.FACTS, self._flags) if item is Attribute.FLAGS else _PIECES[item]

    def _flags(self, chunk: _Chunk) -> list[Iterable[object]]:
        bits: Sequence[int] = take(chunk.view.flags, chunk.at)
        if self._selected.recent:
            bits = [self._selected.bits(uid, one) for uid, one in zip(chunk.uids, bits, strict=True)]
        return [responses.flags_items(chunk.uids, bits, chunk.view.keywords)]


def _section(item: BodySection) -> _Piece:
    names = frozenset(map(bytes.lower, item.fields))

    def octets(chunk: _Chunk) -> list[bytes]:
        found = chunk.listing.fields.select(names, chunk.places)
        return [(fields if _NUL not in fields else responses.without_nul(fields)) + b"\r\n" for fields in found]

    if item.origin is not None:
        first, beyond = item.origin, item.origin + (item.length or 0)
        return _Piece(b"%b", Kind.FIELDS, lambda chunk: [[responses.section_item(item.label, one[first:beyond]) for one in octets(chunk)]])

    def sized(chunk: _Chunk) -> list[Iterable[object]]:
        whole = octets(chunk)
        return [map(len, whole), whole]

    return _Piece(item.label.replace(b"%", b"%%") + b" {%d}\r\n%b", Kind.FIELDS, sized)


_PIECES: Final[dict[Attribute, _Piece]] = {
    Attribute.UID: _Piece(b"UID %d", Kind.FACTS, lambda chunk: [chunk.uids]),
    Attribute.MODSEQ: _Piece(b"MODSEQ (%d)", Kind.FACTS, lambda chunk: [take(chunk.view.modseqs, chunk.at)]),
    Attribute.RFC822_SIZE: _Piece(b"RFC822.SIZE %d", Kind.FACTS, lambda chunk: [take(chunk.listing.facts.sizes, chunk.places)]),
    Attribute.INTERNALDATE: _Piece(b"INTERNALDATE %b", Kind.FACTS, lambda chunk: [format_date_times(take(chunk.listing.facts.received, chunk.places))]),
    Attribute.ENVELOPE: _Piece(b"ENVELOPE %b", Kind.STRUCTURES, lambda chunk: [take(chunk.listing.structures.envelopes, chunk.places)]),
    Attribute.BODYSTRUCTURE: _Piece(b"BODYSTRUCTURE %b", Kind.STRUCTURES, lambda chunk: [take(chunk.listing.structures.bodystructures, chunk.places)]),
    Attribute.BODY: _Piece(b"BODY %b", Kind.OTHERS, lambda chunk: [take(chunk.listing.others.bodies, chunk.places)]),
    # RFC 8970 §3.1: a message that has none is told as the empty string.
    Attribute.PREVIEW: _Piece(
        b"PREVIEW %b", Kind.OTHERS, lambda chunk: [[string(text.encode()) for text in take(chunk.listing.others.previews, chunk.places)]]
    ),
}
