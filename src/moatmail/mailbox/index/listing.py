# SPDX-License-Identifier: Apache-2.0
"""Listings: what a client's list of messages shows of about a thousand messages, sealed in a few parts, so that showing them opens one seal or two.

Obeys RFC 3501 §7.4.2 (ENVELOPE, BODY, BODYSTRUCTURE), §6.4.5 (HEADER.FIELDS), RFC 8970 (PREVIEW) through the summaries it is made of.
Must never know a mailbox: it speaks of message numbers.

The parts of a listing are parts of a segment of the search index, of kinds of their own: they are made with the segment and go with it, so that
nothing of an erased message stays. They say nothing that the summaries and rows do not say. Each holds columns, one value a message, all in the
order of their numbers: what is asked of many messages is taken out in passes of C, and like things beside each other pack better.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum
from itertools import accumulate
from operator import itemgetter, sub
from typing import Final, TypeVar

import msgspec

from moatmail.core.errors import SealBrokenError
from moatmail.core.limits.mailbox import LISTING_OCTETS
from moatmail.crypto.seal import Purpose, SealKey
from moatmail.message.summary import Summary

VERSION: Final = 2
Places = slice | list[int]
"""Some messages of a listing, counted from 0."""
_Order = Callable[[tuple[bytes, ...]], tuple[bytes, ...]]
T = TypeVar("T")


class Kind(IntEnum):
    """The parts of a listing; the kinds below are field classes of words."""

    FACTS = 64
    FIELDS = 65
    STRUCTURES = 66
    OTHERS = 67


class _KeptFacts(msgspec.Struct, frozen=True, array_like=True):
    """`numbers` and `received` (seconds since 1970): the first, then differences."""

    version: int
    numbers: list[int]
    sizes: list[int]
    received: list[int]


class _KeptFields(msgspec.Struct, frozen=True, array_like=True):
    """Header fields of lists (`Summary.fields`), a column for each name; `shapes`: which names stand in which order, `shape_of` each message.

    `odd`: messages that have none to show, or a field twice.
    """

    version: int
    names: list[bytes]
    shapes: list[bytes]
    shape_of: list[int]
    columns: list[msgspec.Raw]
    odd: list[tuple[int, tuple[tuple[bytes, bytes], ...] | None]]


class Structures(msgspec.Struct, frozen=True, array_like=True):
    """ENVELOPE and BODYSTRUCTURE as they are written."""

    version: int
    envelopes: list[bytes]
    bodystructures: list[bytes]


class Others(msgspec.Struct, frozen=True, array_like=True):
    """What is seldom asked for: BODY as it is written, and the preview."""

    version: int
    bodies: list[bytes]
    previews: list[str]


K = TypeVar("K", _KeptFacts, _KeptFields, Structures, Others)
_ENCODER: Final = msgspec.msgpack.Encoder()
_COLUMN: Final = msgspec.msgpack.Decoder(list[bytes])


# ---------------------------------------------------------------- making


class ListingBuilder:
    """Gathers the messages of one listing; those that would make it too large are left out, and shown from their summaries."""

    def __init__(self) -> None:
        self._octets = 0
        self._facts: list[tuple[int, int, int]] = []
        self._summaries: list[Summary] = []

    def add(self, number: int, received_at: float, summary: Summary) -> None:
        """Take a message, by rising number; one that readers of UTF-8 are told otherwise is left out too."""
        if summary.utf8 is not None:
            return
        octets = len(summary.envelope) + len(summary.body) + len(summary.bodystructure) + 4 * len(summary.preview)
        octets += sum([len(field) for _name, field in summary.fields or ()])
        if self._octets + octets <= LISTING_OCTETS:
            self._octets += octets
            self._facts.append((number, summary.size, int(received_at // 1)))
            self._summaries.append(summary)

    def seal(self, sealing: SealKey, account: int, segment_id: bytes) -> tuple[tuple[int, bytes], ...]:
        """Give (kind, sealed octets) of each part."""
        return tuple([(int(kind), self.seal_part(kind, sealing, account, segment_id)) for kind in Kind])

    def seal_part(self, kind: Kind, sealing: SealKey, account: int, segment_id: bytes) -> bytes:
        """Give the sealed octets of one part (some milliseconds for a thousand messages: in a thread), bound to the segment as its other parts are."""
        return sealing.seal(Purpose.SEGMENT, account, _object_id(segment_id, kind), _ENCODER.encode(self._part(kind)), thoroughly=True)

    def _part(self, kind: Kind) -> _KeptFacts | _KeptFields | Structures | Others:
        summaries = self._summaries
        match kind:
            case Kind.FACTS:
                numbers, sizes, received = ([fact[place] for fact in self._facts] for place in range(3))
                return _KeptFacts(VERSION, _gaps(numbers), sizes, _gaps(received))
            case Kind.FIELDS:
                return _kept_fields([summary.fields for summary in summaries])
            case Kind.STRUCTURES:
                return Structures(VERSION, [summary.envelope for summary in summaries], [summary.bodystructure for summary in summaries])
            case Kind.OTHERS:
                return Others(VERSION, [summary.body for summary in summaries], [summary.preview for summary in summaries])


def _gaps(values: list[int]) -> list[int]:
    return values[:1] + list(map(sub, values[1:], values))


def _kept_fields(rows: list[tuple[tuple[bytes, bytes], ...] | None]) -> _KeptFields:
    names: dict[bytes, int] = {}
    shapes: dict[bytes, int] = {}
    shape_of: list[int] = []
    columns: list[list[bytes]] = []
    odd: list[tuple[int, tuple[tuple[bytes, bytes], ...] | None]] = []
    for place, fields in enumerate(rows):
        plain = fields
        if plain is None or len(dict(plain)) < len(plain):
            odd.append((place, fields))
            plain = ()
        shape = bytes([names.setdefault(name, len(names)) for name, _field in plain])
        shape_of.append(shapes.setdefault(shape, len(shapes)))
        while len(columns) < len(names):
            columns.append([b""] * len(rows))
        for column, (_name, field) in zip(shape, plain, strict=True):
            columns[column][place] = field
    return _KeptFields(VERSION, list(names), list(shapes), shape_of, [msgspec.Raw(_ENCODER.encode(column)) for column in columns], odd)


# ---------------------------------------------------------------- looking


class Facts:
    """Which messages a listing is of, their sizes, and when they came (seconds since 1970)."""

    __slots__ = ("_places", "received", "sizes")

    def __init__(self, kept: _KeptFacts) -> None:
        numbers = accumulate(kept.numbers)
        self._places = {number: place for place, number in enumerate(numbers)}
        self.sizes = kept.sizes
        self.received = list(accumulate(kept.received))

    def __len__(self) -> int:
        return len(self._places)

    def places(self, numbers: Sequence[int]) -> list[int | None]:
        """Give the place of each message number, None of those that are not here."""
        return list(map(self._places.get, numbers))


class Fields:
    """The header fields that lists show."""

    __slots__ = ("_columns", "_kept", "_odd", "_orders", "unshown")

    def __init__(self, kept: _KeptFields) -> None:
        self._kept = kept
        self._columns: dict[int, list[bytes]] = {}
        self._orders: dict[frozenset[bytes], list[_Order | None]] = {}
        self._odd = {place: fields for place, fields in kept.odd if fields is not None}
        self.unshown = frozenset([place for place, fields in kept.odd if fields is None])
        """Messages whose fields are not here."""

    def __len__(self) -> int:
        return len(self._kept.shape_of)

    def select(self, names: frozenset[bytes], places: Places) -> list[bytes]:
        """Give the fields of these names (small letters) of some messages, each message's joined in their order."""
        wanted = [column for column, name in enumerate(self._kept.names) if name in names]
        orders = self._orders.get(names)
        if orders is None:
            orders = self._orders[names] = [_order(shape, wanted) for shape in self._kept.shapes]
        shape_of = take(self._kept.shape_of, places)
        rows = zip(*[take(self._column(column), places) for column in wanted], strict=True) if wanted else iter([()] * len(shape_of))
        if any(orders):
            found = [b"".join(row if (order := orders[shape]) is None else order(row)) for shape, row in zip(shape_of, rows, strict=True)]
        else:
            found = list(map(b"".join, rows))
        if self._odd:
            self._put_odd(found, names, places)
        return found

    def _column(self, name: int) -> list[bytes]:
        column = self._columns.get(name)
        if column is None:
            column = self._columns[name] = _COLUMN.decode(self._kept.columns[name])
        return column

    def _put_odd(self, found: list[bytes], names: frozenset[bytes], places: Places) -> None:
        for at, place in enumerate(range(places.start, places.stop) if isinstance(places, slice) else places):
            fields = self._odd.get(place)
            if fields is not None:
                found[at] = b"".join([field for name, field in fields if name in names])


def _order(shape: bytes, wanted: list[int]) -> _Order | None:
    """Give what brings the columns `wanted` into the order of a message; None where they are in it (fields that it lacks are empty)."""
    order = [wanted.index(column) for column in shape if column in wanted]
    return None if order == sorted(order) else itemgetter(*order)


def take(column: Sequence[T], places: Places) -> Sequence[T]:
    """Give the values of some messages."""
    return column[places] if isinstance(places, slice) else [column[place] for place in places]


# ---------------------------------------------------------------- opening (some milliseconds for a large one: in a thread)

_FACTS: Final = msgspec.msgpack.Decoder(_KeptFacts)
_FIELDS: Final = msgspec.msgpack.Decoder(_KeptFields)
_STRUCTURES: Final = msgspec.msgpack.Decoder(Structures)
_OTHERS: Final = msgspec.msgpack.Decoder(Others)


def open_facts(sealing: SealKey, account: int, segment_id: bytes, sealed: bytes) -> Facts:
    """Open the part FACTS; raises SealBrokenError for anything but exactly this one."""
    return Facts(_opened(_FACTS, sealing.open(Purpose.SEGMENT, account, _object_id(segment_id, Kind.FACTS), sealed)))


def open_fields(sealing: SealKey, account: int, segment_id: bytes, sealed: bytes) -> Fields:
    """Open the part FIELDS, as `open_facts` does its own."""
    return Fields(_opened(_FIELDS, sealing.open(Purpose.SEGMENT, account, _object_id(segment_id, Kind.FIELDS), sealed)))


def open_structures(sealing: SealKey, account: int, segment_id: bytes, sealed: bytes) -> Structures:
    """Open the part STRUCTURES, as `open_facts` does its own."""
    return _opened(_STRUCTURES, sealing.open(Purpose.SEGMENT, account, _object_id(segment_id, Kind.STRUCTURES), sealed))


def open_others(sealing: SealKey, account: int, segment_id: bytes, sealed: bytes) -> Others:
    """Open the part OTHERS, as `open_facts` does its own."""
    return _opened(_OTHERS, sealing.open(Purpose.SEGMENT, account, _object_id(segment_id, Kind.OTHERS), sealed))


def _opened(decoder: msgspec.msgpack.Decoder[K], octets: bytes) -> K:
    try:
        part = decoder.decode(octets)
    except msgspec.MsgspecError as error:
        raise SealBrokenError(f"no part of a listing: {error}") from None
    if part.version != VERSION:
        raise SealBrokenError("a part of a listing of another version")
    return part


def _object_id(segment_id: bytes, kind: Kind) -> bytes:
    return segment_id + bytes((kind,))
