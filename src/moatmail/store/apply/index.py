# SPDX-License-Identifier: Apache-2.0
"""The search index: which messages are in no segment, words kept and replaced, segments added and dropped.

Obeys no RFC; that no word of an erased message stays is told in docs/security.md.
Must never know a word.

Two laws hold after every operation: a placed message is in the tail or in one segment, and every message of a segment exists.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections.abc import Collection, Iterable, Sequence
from typing import Final, NamedTuple

import msgspec

from moatmail.core.errors import ConflictError, LocalProtocolError, NotFoundError
from moatmail.core.limits import store as limits
from moatmail.store.apply.work import Work
from moatmail.store.index_items import AddSegment, AddWords, DropSegments, Retail, SetSummary
from moatmail.store.sql import directory, index

_NUMBERS: Final = msgspec.msgpack.Decoder(list[int])


class Segment(NamedTuple):
    """A segment as erasing sees it."""

    id: bytes
    octets: int


# ---------------------------------------------------------------- messages come and go


def enter(work: Work, account: int, number: int, words: bytes) -> None:
    """Take a new message into the tail, with its words if it has them."""
    work.db.run(index.ENTER_TAIL, {"account": account, "number": number})
    if words:
        work.db.run(index.ADD_WORDS, {"number": number, "sealed": words})


def leave(work: Work, account: int, numbers: Iterable[int]) -> None:
    """Take messages that lost their last placement out of the tail: who expunges much shall not have it merged first."""
    work.db.run_many(index.LEAVE_TAIL, [{"account": account, "number": number} for number in numbers])


def erase_words(work: Work, numbers: Iterable[int]) -> None:
    """Erase the words of messages."""
    work.db.run_many(index.ERASE_WORDS, [{"number": number} for number in numbers])


def erase_account(work: Work, account: int) -> None:
    """Erase all of an account's index; its messages are still there."""
    own = {"account": account}
    for statement in (index.ERASE_ACCOUNT_WORDS, index.DROP_TAIL, index.DROP_PARTS, index.DROP_SEGMENTS):
        work.db.run(statement, own)


def segments_of(work: Work, account: int, numbers: Collection[int]) -> dict[int, Segment]:
    """Give the segment of each of these messages that is in one."""
    if not numbers:
        return {}
    rising = sorted(numbers)
    found: dict[int, Segment] = {}
    for segment, first, last, octets in work.db.all(index.SEGMENTS_BETWEEN, {"account": account, "lowest": rising[0], "highest": rising[-1]}):
        here = rising[bisect_left(rising, first) : bisect_left(rising, last + 1)]
        if here:
            found |= dict.fromkeys(_numbers(work, account, segment).intersection(here), Segment(segment, octets))
    return found


def _numbers(work: Work, account: int, segment: bytes) -> frozenset[int]:
    row = work.db.one(index.SEGMENT_NUMBERS, {"account": account, "id": segment})
    return frozenset(_NUMBERS.decode(row[0])) if row else frozenset()


def drop(work: Work, account: int, segment: bytes) -> bool:
    """Drop a segment whole: what of it is placed is in the tail again. Tells whether it was there."""
    key = {"account": account, "id": segment}
    row = work.db.one(index.REMOVE_SEGMENT, key)
    if row is None:
        return False
    work.db.run(index.REMOVE_PARTS, key)
    first, last, packed = row
    recoverable = {number for (number,) in work.db.all(index.RECOVERABLE_BETWEEN, {"account": account, "first": first, "last": last})}
    others = [{"account": account, "number": number} for number in _NUMBERS.decode(packed) if number not in recoverable]
    work.db.run_many(index.ENTER_TAIL, others)
    return True


# ---------------------------------------------------------------- operations


def add_words(work: Work, operation: AddWords) -> int:
    """Keep words of messages that are the account's."""
    _bound(operation.words, limits.ROWS, "words")
    return sum(work.db.run(index.SET_WORDS, {"of_number": number, "account": operation.account, "sealed": sealed}) for number, sealed in operation.words)


def add_segment(work: Work, operation: AddSegment) -> None:
    """Take a segment if all its messages wait for one."""
    numbers = operation.numbers
    octets = sum(len(sealed) for _kind, sealed in operation.parts)
    _bound(numbers, limits.SEGMENT_MESSAGES, "messages of a segment")
    _bound(operation.replaces, limits.SEGMENTS_DROPPED, "segments")
    if not numbers or any(one >= two for one, two in itertools.pairwise(numbers)) or octets > limits.SEGMENT_OCTETS:
        raise LocalProtocolError(f"a segment of {len(numbers)} messages and {octets} octets")
    account, packed = operation.account, msgspec.msgpack.encode(numbers)
    key = {"account": account, "id": operation.id}
    there = work.db.one(index.SEGMENT_NUMBERS, key)
    if there is not None and there[0] == packed:
        return  # the same again
    if work.db.one(directory.ACCOUNT_STATUS, {"account": account}) is None:
        raise NotFoundError(f"account {account} is gone")
    if not all(drop(work, account, segment) for segment in operation.replaces):
        raise ConflictError(f"account {account}: somebody else dropped some of these segments")
    span = {"account": account, "first": numbers[0], "last": numbers[-1]}
    tail = [number for (number,) in work.db.all(index.TAIL_BETWEEN, span)]
    if there is not None or not set(tail).issuperset(numbers):
        raise ConflictError(f"account {account}: somebody else merged or removed some of these messages")
    if len(tail) == len(numbers):
        work.db.run(index.LEAVE_TAIL_BETWEEN, span)
    else:
        leave(work, account, numbers)
    erase_words(work, numbers)
    work.db.run(index.ADD_SEGMENT, key | {"first": numbers[0], "last": numbers[-1], "octets": octets, "numbers": packed})
    work.db.run_many(index.ADD_PART, [key | {"kind": kind, "sealed": sealed} for kind, sealed in operation.parts])


def drop_segments(work: Work, operation: DropSegments) -> int:
    """Drop segments."""
    _bound(operation.ids, limits.SEGMENTS_DROPPED, "segments")
    return sum(drop(work, operation.account, segment) for segment in operation.ids)


def set_summary(work: Work, operation: SetSummary) -> int:
    """Replace summaries whose old form is still there."""
    _bound(operation.summaries, limits.ROWS, "summaries")
    return sum(
        work.db.run(index.SET_SUMMARY, {"of_number": number, "account": operation.account, "old": old, "new": new}) for number, old, new in operation.summaries
    )


def retail(work: Work, operation: Retail) -> int:
    """Bring back into the tail what is neither there nor in a segment."""
    _bound(operation.numbers, limits.ROWS, "messages")
    merged = segments_of(work, operation.account, operation.numbers)
    lost = [number for number in operation.numbers if number not in merged]
    return sum(work.db.run(index.ENTER_TAIL_IF_PLACED, {"of_number": number, "account": operation.account}) for number in lost)


def _bound(things: Sequence[object], most: int, what: str) -> None:
    if len(things) > most:
        raise LocalProtocolError(f"{len(things)} {what} in one operation")
