# SPDX-License-Identifier: Apache-2.0
"""What the search index asks of the store: words of single messages, segments merged of many, and which messages are in none.

Obeys RFC 3501 §6.4.4 through `mailbox`, which searches with it.
Must never know a word: words and segments come sealed.

A placed message is in the tail or in one segment. Its words are kept until they are merged: then the segment has them, and beside it they
would take three quarters of the index. Erasing a message drops the segment that holds its words, and what else was in it is in the tail
again, without words: those are made anew from contents.
"""

from __future__ import annotations

from typing import Any, ClassVar

from moatmail.store.operations import Operation
from moatmail.store.queries import Query
from moatmail.store.record import Record

# ---------------------------------------------------------------- changes


class AddWords(Operation[int], frozen=True):
    """Keep the sealed words of messages: (number, sealed), at most 500; what was kept before is replaced.

    Answers how many were kept: numbers that are not (or no more) the account's are passed over.
    """

    result: ClassVar[Any] = int

    account: int
    words: tuple[tuple[int, bytes], ...]


class AddSegment(Operation[None], frozen=True):
    """Merge messages into a segment: `numbers` rising and without gaps of meaning, at most 2,000; `parts` are (kind, sealed), each kind once.

    Taken only if every message is in the tail of this account, which it leaves, and its words go; else nothing is done. `replaces`, at most 8
    segments, are dropped first: what is placed of them is in the tail then. Sent again with the same id and numbers it answers as if just done.
    Raises ConflictError.
    """

    account: int
    id: bytes
    numbers: tuple[int, ...]
    parts: tuple[tuple[int, bytes], ...]
    replaces: tuple[bytes, ...] = ()


class DropSegments(Operation[int], frozen=True):
    """Drop segments, at most 8: their messages are in the tail again. Answers how many there were."""

    result: ClassVar[Any] = int

    account: int
    ids: tuple[bytes, ...]


class SetSummary(Operation[int], frozen=True):
    """Replace sealed summaries by ones made anew: (number, old, new), at most 500; each only if the old one is still there. Answers how many."""

    result: ClassVar[Any] = int

    account: int
    summaries: tuple[tuple[int, bytes, bytes], ...]


class Retail(Operation[int], frozen=True):
    """Put those of `numbers` (at most 500) into the tail that are placed and in no segment though they should be in one or the other; for repair."""

    result: ClassVar[Any] = int

    account: int
    numbers: tuple[int, ...]


# ---------------------------------------------------------------- questions


class UnindexedRow(Record, frozen=True):
    """A message of the tail: its number, what is needed to open it, and when it came; `words` is empty where none were made yet."""

    number: int
    id: bytes
    content: bytes
    cover: bytes
    prefix: bytes
    summary: bytes
    words: bytes
    size: int
    received_at: float


class ListUnindexed(Query[tuple[UnindexedRow, ...]], frozen=True):
    """Ask for the account's messages in no segment, by number after `after`: at most `limit` (<= 500), and at most some octets of words.

    An empty answer is the end, a short one is not.
    """

    result: ClassVar[Any] = tuple[UnindexedRow, ...]

    account: int
    after: int = 0
    limit: int = 500


class UnindexedCount(Record, frozen=True):
    """How many messages are in no segment, and how many of these have no words; counted no further than 2,000 of the first."""

    messages: int
    without_words: int


class ListSegmentRows(Query[tuple[UnindexedRow, ...]], frozen=True):
    """Ask for the placed messages of a segment, as ListUnindexed gives those of none, without their words."""

    result: ClassVar[Any] = tuple[UnindexedRow, ...]

    account: int
    id: bytes
    after: int = 0
    limit: int = 500


class DoomedPage(Record, frozen=True):
    """Ids of segments, at most 8; `at` and `number` say where to go on, `at` is 0 at the end."""

    segments: tuple[bytes, ...]
    at: float
    number: int


class FindDoomed(Query[DoomedPage], frozen=True):
    """Ask which segments will be dropped because a message of theirs is erased before `before` (epoch seconds), from `at` and `number` on.

    Those of which fewer than `least` messages would stay are not told.
    """

    result: ClassVar[Any] = DoomedPage

    account: int
    before: float
    least: int = 1
    at: float = 0.0
    number: int = 0


class CountUnindexed(Query[UnindexedCount], frozen=True):
    """Ask how much is left to index."""

    result: ClassVar[Any] = UnindexedCount

    account: int


class ListSegments(Query[tuple[bytes, ...]], frozen=True):
    """Ask for the ids of an account's segments, rising."""

    result: ClassVar[Any] = tuple[bytes, ...]

    account: int


class GetSegmentNumbers(Query["bytes | None"], frozen=True):
    """Ask which messages are in a segment: their numbers, rising, packed as those of a NumbersPage; None when it is gone."""

    result: ClassVar[Any] = bytes | None

    account: int
    id: bytes


class NumbersPage(Record, frozen=True):
    """UIDs and message numbers side by side, each packed: `array("I", uids)` and `array("Q", numbers)` read them."""

    uids: bytes
    numbers: bytes


class ListNumbers(Query[NumbersPage], frozen=True):
    """Ask which message lies under which UID of a mailbox, by UID after `after`, at most `limit` (<= 2,000). A UID's message never changes."""

    result: ClassVar[Any] = NumbersPage

    account: int
    mailbox: int
    after: int = 0
    limit: int = 2000


class RealSizes(Query[tuple[tuple[int, int], ...]], frozen=True):
    """Ask for (uid, size) of the messages of a mailbox that readers of UTF-8 are told another size of, by UID after `after`: at most `limit` (<= 2,000)."""

    result: ClassVar[Any] = tuple[tuple[int, int], ...]

    account: int
    mailbox: int
    after: int = 0
    limit: int = 2000


class PlacedRow(Record, frozen=True):
    """What a list of messages needs beside their summaries: UID, message number and id, size, when it came and was put here, its thread if it has one."""

    uid: int
    number: int
    id: bytes
    size: int
    received_at: float
    saved_at: float
    thread: bytes = b""


class ListPlaced(Query[tuple[PlacedRow, ...]], frozen=True):
    """Ask for the messages of a mailbox by UID from `first` to `last`, at most `limit` (<= 500)."""

    result: ClassVar[Any] = tuple[PlacedRow, ...]

    account: int
    mailbox: int
    first: int
    last: int
    limit: int = 500


class FindSegments(Query[tuple[bytes, ...]], frozen=True):
    """Ask for the ids of the segments that may hold messages `first` to `last` (by number); more than `limit` are not told."""

    result: ClassVar[Any] = tuple[bytes, ...]

    account: int
    first: int
    last: int
    limit: int = 8


class GetSegmentPart(Query["bytes | None"], frozen=True):
    """Ask for one sealed part of one segment; None when the segment is gone or has none of this kind."""

    result: ClassVar[Any] = bytes | None

    account: int
    id: bytes
    kind: int
