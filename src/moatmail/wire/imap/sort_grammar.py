# SPDX-License-Identifier: Apache-2.0
"""The arguments of SORT and THREAD.

Obeys RFC 5256 §5, RFC 5267 §3.1 (RETURN of SORT), RFC 5957 §4 (DISPLAYFROM, DISPLAYTO).
Must never know how messages are ordered.
"""

from __future__ import annotations

from typing import Final

from moatmail.wire.imap.events import Sort, SortKey, SortOrder, Thread, ThreadAlgorithm
from moatmail.wire.imap.grammar import CommandRefusedError, Cursor, SearchRefusedError, fail
from moatmail.wire.imap.search import SearchReturn
from moatmail.wire.imap.search_grammar import SearchParser

_KEYS: Final = {key.value: key for key in SortKey}
_ALGORITHMS: Final = {algorithm.value: algorithm for algorithm in ThreadAlgorithm}


def sort(cursor: Cursor, tag: bytes, *, uid: bool) -> Sort:
    """Take the arguments of SORT and UID SORT."""
    parser = SearchParser(cursor)
    returns = parser.returns(b"sort criteria")
    orders = _orders(cursor)
    cursor.space(b"a charset")
    try:
        parser.charset_name()
        key = parser.program()
    except CommandRefusedError as error:
        if SearchReturn.SAVE in (returns or ()):
            raise SearchRefusedError(error.text, error.code) from None
        raise
    return Sort(tag, uid, key, orders, returns, parser.modseq, parser.partial)


def _orders(cursor: Cursor) -> tuple[SortOrder, ...]:
    cursor.expect(b"(", b"before sort criteria")
    orders: list[SortOrder] = []
    while True:
        word = cursor.word(b"a sort criterion")
        reverse = word == b"REVERSE"
        if reverse:
            cursor.space(b"a sort criterion")
            word = cursor.word(b"a sort criterion")
        key = _KEYS.get(word)
        if key is None:
            fail(b"unknown sort criterion")
        # RFC 5256 §3: what was ordered by once is equal afterwards; a repetition says nothing.
        if key not in [order.key for order in orders]:
            orders.append(SortOrder(key, reverse))
        if cursor.take(b")"):
            return tuple(orders)
        cursor.space(b"a sort criterion")


def thread(cursor: Cursor, tag: bytes, *, uid: bool) -> Thread:
    """Take the arguments of THREAD and UID THREAD."""
    algorithm = _ALGORITHMS.get(cursor.word(b"a threading algorithm"))
    if algorithm is None:
        fail(b"unknown threading algorithm")
    cursor.space(b"a charset")
    parser = SearchParser(cursor)
    parser.charset_name()
    return Thread(tag, uid, parser.program(), algorithm)
