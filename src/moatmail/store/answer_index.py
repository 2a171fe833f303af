# SPDX-License-Identifier: Apache-2.0
"""The answers to queries about the search index.

Obeys no RFC.
Must never know a word; an answer is bounded in octets too, because who mails much chooses how many words it has.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from typing import Any, Final

import msgspec

from moatmail.core.limits import store as limits
from moatmail.store import index_items as i
from moatmail.store.sql import index, messages
from moatmail.store.sqlite import Database, Row

_LISTED: Final = msgspec.json.Decoder(list[int])
_NUMBERS: Final = msgspec.msgpack.Decoder(list[int])


def within(sizes: list[Row]) -> list[Any]:
    """Give the keys of (key, octets) rows as far as one answer goes, one at least."""
    keys: list[Any] = []
    octets = 0
    for key, size in sizes:
        octets += size
        if keys and octets > limits.INDEX_OCTETS:
            break
        keys.append(key)
    return keys


def _list_unindexed(db: Database, query: i.ListUnindexed) -> tuple[i.UnindexedRow, ...]:
    key = {"account": query.account, "after": query.after}
    # Between two states of the database all rows could go, and an empty answer would pass for the end.
    with db.snapshot():
        numbers = within(db.all(index.TAIL_SIZES, key | {"rows": min(query.limit, limits.ROWS)}))
        rows = db.all(index.TAIL_ROWS, key | {"last": numbers[-1]}) if numbers else []
    return tuple(i.UnindexedRow(*row) for row in rows)


def _list_segment_rows(db: Database, query: i.ListSegmentRows) -> tuple[i.UnindexedRow, ...]:
    found: list[i.UnindexedRow] = []
    octets = 0
    with db.snapshot():
        row = db.one(index.SEGMENT_NUMBERS, {"account": query.account, "id": query.id})
        # One by one: between them lie others of the account, and some may have gone.
        for number in [number for number in _NUMBERS.decode(row[0]) if number > query.after] if row else []:
            one = db.one(index.SEGMENT_ROW, {"of_number": number, "account": query.account})
            if one is not None:
                found.append(i.UnindexedRow(*one))
                octets += len(found[-1].prefix) + len(found[-1].summary)
            if len(found) >= min(query.limit, limits.ROWS) or octets > limits.INDEX_OCTETS:
                break
    return tuple(found)


def _find_doomed(db: Database, query: i.FindDoomed) -> i.DoomedPage:
    key = {"account": query.account}
    with db.snapshot():
        due = db.all(index.DOOMED, key | {"before": query.before, "at": query.at, "after": query.number, "rows": limits.ROWS})
        if not due:
            return i.DoomedPage((), 0.0, 0)
        doomed = sorted([number for number, _at in due])
        found: list[bytes] = []
        for segment, first, last, _octets in db.all(index.SEGMENTS_BETWEEN, key | {"lowest": doomed[0], "highest": doomed[-1]}):
            if bisect_left(doomed, first) == bisect_right(doomed, last):
                continue
            numbers = _NUMBERS.decode(db.all(index.SEGMENT_NUMBERS, key | {"id": segment})[0][0])
            if not frozenset(doomed).isdisjoint(numbers):
                going = frozenset([number for (number,) in db.all(index.RECOVERABLE_BETWEEN, key | {"first": first, "last": last})])
                if len(numbers) - len(going.intersection(numbers)) >= query.least:
                    found.append(segment)
                if len(found) == limits.SEGMENTS_DROPPED:
                    return i.DoomedPage(tuple(found), query.at, query.number)
    number, at = due[-1]
    return i.DoomedPage(tuple(found), at, number)


def _count_unindexed(db: Database, query: i.CountUnindexed) -> i.UnindexedCount:
    row = db.one(index.COUNT_TAIL, {"account": query.account, "rows": limits.SEGMENT_MESSAGES})
    return i.UnindexedCount(*row) if row else i.UnindexedCount(0, 0)


def _list_segments(db: Database, query: i.ListSegments) -> tuple[bytes, ...]:
    return tuple(segment for (segment,) in db.all(index.LIST_SEGMENTS, {"account": query.account}))


def _get_segment_numbers(db: Database, query: i.GetSegmentNumbers) -> bytes | None:
    row = db.one(index.SEGMENT_NUMBERS, {"account": query.account, "id": query.id})
    return array("Q", _NUMBERS.decode(row[0])).tobytes() if row else None


def _list_numbers(db: Database, query: i.ListNumbers) -> i.NumbersPage:
    rows = min(query.limit, limits.NUMBERS)
    row = db.one(index.NUMBERS_AFTER, {"account": query.account, "mailbox": query.mailbox, "after": query.after, "rows": rows})
    uids, numbers = ("", "") if row is None or row[0] is None else row
    return i.NumbersPage(array("I", _LISTED.decode(f"[{uids}]")).tobytes(), array("Q", _LISTED.decode(f"[{numbers}]")).tobytes())


def _real_sizes(db: Database, query: i.RealSizes) -> tuple[tuple[int, int], ...]:
    rows = min(query.limit, limits.NUMBERS)
    return tuple(db.all(messages.REAL_SIZES, {"account": query.account, "mailbox": query.mailbox, "after": query.after, "rows": rows}))


def _list_placed(db: Database, query: i.ListPlaced) -> tuple[i.PlacedRow, ...]:
    key = {"account": query.account, "mailbox": query.mailbox, "first": query.first, "last": query.last, "rows": min(query.limit, limits.ROWS)}
    return tuple([i.PlacedRow(*row) for row in db.all(index.PLACED, key)])


def _find_segments(db: Database, query: i.FindSegments) -> tuple[bytes, ...]:
    key = {"account": query.account, "first": query.first, "last": query.last, "rows": min(query.limit, limits.ROWS)}
    return tuple(segment for (segment,) in db.all(index.SEGMENTS_OVER, key))


def _get_segment_part(db: Database, query: i.GetSegmentPart) -> bytes | None:
    row = db.one(index.GET_PART, {"account": query.account, "kind": query.kind, "id": query.id})
    return row[0] if row else None


TABLE: Final[dict[type, Callable[[Database, Any], Any]]] = {
    i.ListUnindexed: _list_unindexed,
    i.ListSegmentRows: _list_segment_rows,
    i.FindDoomed: _find_doomed,
    i.CountUnindexed: _count_unindexed,
    i.ListSegments: _list_segments,
    i.GetSegmentNumbers: _get_segment_numbers,
    i.ListNumbers: _list_numbers,
    i.ListPlaced: _list_placed,
    i.RealSizes: _real_sizes,
    i.FindSegments: _find_segments,
    i.GetSegmentPart: _get_segment_part,
}
