# SPDX-License-Identifier: Apache-2.0
"""The search index of an account as this process has it: what is asked of the store, opened, and kept for a while.

Obeys docs/security.md: segments open with the mailbox key, the words of single messages with the message's own.
Must never know what anybody looks for.
"""

from __future__ import annotations

import asyncio
from array import array
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import msgspec

from moatmail.core.errors import SealBrokenError
from moatmail.core.events import Event
from moatmail.core.limits import mailbox as limits
from moatmail.core.ports.event_sink import EventSink
from moatmail.crypto.cover import AccountKeys, open_cover
from moatmail.crypto.seal import SealKey
from moatmail.mailbox.index.facts import KIND as FACTS
from moatmail.mailbox.index.facts import SegmentFacts, open_facts
from moatmail.mailbox.index.places import Numbers
from moatmail.mailbox.index.segment import POSTINGS, Part, Postings, open_part, open_postings
from moatmail.mailbox.index.words import FieldClass, Words, open_words
from moatmail.store.index_items import GetSegmentNumbers, GetSegmentPart, ListNumbers, ListSegments, ListUnindexed, UnindexedRow
from moatmail.store.interface import Store

Pause = Callable[[], Awaitable[None]]
Tail = Mapping[int, Words]
"""Message number -> the words of a message that is in no segment."""
Sealed = Part | Postings | SegmentFacts
"""What a sealed part of a segment may be, open."""


class KnownTail:
    """The messages of an account's tail as they were read up to the number `upto`: their rows, or their words where they were opened."""

    __slots__ = ("counted", "octets", "rows", "upto", "used")

    def __init__(self) -> None:
        self.counted = 0
        """What its cache counts for it: it grows while searches read on."""
        self.rows: dict[int, UnindexedRow | Words | None] = {}
        self.upto = 0
        self.octets = 0
        self.used = True


class PartCache:
    """Open parts of all accounts in this process, the longest unused dropped first; `drop` forgets an account's."""

    def __init__(self, octets: int = limits.INDEX_CACHE) -> None:
        self._room = octets
        self._octets = 0
        self._parts: OrderedDict[tuple[int, bytes, int], Sealed] = OrderedDict()
        self._tails: OrderedDict[int, KnownTail] = OrderedDict()
        self._tail_octets = 0

    def tail(self, account: int) -> KnownTail | None:
        """Give what is known of an account's tail."""
        return self._tails.get(account)

    def keep_tail(self, account: int, tail: KnownTail) -> None:
        """Know an account's tail from now on, unless it is large; those used longest ago are forgotten for it."""
        self.forget_tail(account)
        if tail.octets > limits.INDEX_TAIL_OCTETS or len(tail.rows) > limits.INDEX_TAIL_KEPT:
            return
        self._tails[account] = tail
        tail.counted = tail.octets
        self._tail_octets += tail.counted
        while self._tail_octets > limits.INDEX_TAILS:
            self.forget_tail(next(iter(self._tails)))

    def forget_tail(self, account: int) -> None:
        """Forget it."""
        gone = self._tails.pop(account, None)
        if gone is not None:
            self._tail_octets -= gone.counted
            gone.counted = 0

    def get(self, key: tuple[int, bytes, int]) -> Sealed | None:
        """Give a part that is here."""
        part = self._parts.get(key)
        if part is not None:
            self._parts.move_to_end(key)
        return part

    def put(self, key: tuple[int, bytes, int], part: Sealed) -> None:
        """Keep a part, unless it is so large that others would have to go."""
        if part.octets > limits.INDEX_CACHED_PART or key in self._parts:
            return
        self._parts[key] = part
        self._octets += part.octets
        while self._octets > self._room:
            _key, gone = self._parts.popitem(last=False)
            self._octets -= gone.octets

    def drop(self, account: int) -> None:
        """Forget an account's parts and its tail."""
        self.forget_tail(account)
        for key in [key for key in self._parts if key[0] == account]:
            self._octets -= self._parts.pop(key).octets

    def keep_only(self, account: int, segments: frozenset[bytes]) -> None:
        """Forget the parts of an account's segments that are gone: they hold words of messages that were erased."""
        for key in [key for key in self._parts if key[0] == account and key[1] not in segments]:
            self._octets -= self._parts.pop(key).octets

    def __len__(self) -> int:
        return len(self._parts)


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment: its id, and its message numbers, rising."""

    id: bytes
    numbers: array[int]


class AccountIndex:
    """What one open account's searches ask."""

    def __init__(self, store: Store, account: int, keys: AccountKeys, parts: PartCache, events: EventSink) -> None:
        self._store = store
        self._account = account
        self._keys = keys
        self._parts = parts
        self._events = events
        self._numbers: dict[int, Numbers] = {}
        self._known: dict[bytes, Segment] = {}
        self._broken: set[tuple[bytes, int]] = set()
        self._merged: frozenset[bytes] = frozenset()

    # ---- which message lies under which UID ----

    async def numbers(self, mailbox: int, last: int, pause: Pause) -> Numbers:
        """Give the message numbers of a mailbox, up to the UID `last` at least; a UID's message never changes, so what is known is known."""
        known = self._numbers.setdefault(mailbox, Numbers())
        while not known.uids or known.uids[-1] < last:
            page = await self._store.read(ListNumbers(self._account, mailbox, known.uids[-1] if known.uids else 0))
            uids, numbers = array("I", page.uids), array("Q", page.numbers)
            if not uids:
                break
            if not known.uids or known.uids[-1] < uids[0]:  # another search may have read the same meanwhile
                known.extend(uids, numbers)
            await pause()
        return known

    async def sweep(self, in_use: Callable[[int], bool]) -> None:
        """Drop what is known of mailboxes that nobody looks at any more, of segments that are gone, and the tail unless it was used since the last sweep.

        Raises what the store raises.
        """
        tail = self._parts.tail(self._account)
        if tail is not None:
            if not tail.used:
                self._parts.forget_tail(self._account)
            tail.used = False
        for mailbox in [mailbox for mailbox in self._numbers if not in_use(mailbox)]:
            del self._numbers[mailbox]
        if self._merged:
            await self._list_segments()  # what was erased shall not stay open until somebody searches

    # ---- segments ----

    async def segments(self, pause: Pause) -> list[Segment]:
        """Give the segments there are now."""
        found: list[Segment] = []
        for one in await self._list_segments():
            segment = self._known.get(one) or await self._learn(one)
            if segment is not None:
                found.append(segment)
            await pause()
        return found

    async def _learn(self, segment: bytes) -> Segment | None:
        packed = await self._store.read(GetSegmentNumbers(self._account, segment))
        if not packed:
            return None
        learnt = self._known[segment] = Segment(segment, array("Q", packed))
        return learnt

    async def _list_segments(self) -> tuple[bytes, ...]:
        ids = await self._store.read(ListSegments(self._account))
        if not self._merged.issubset(ids):
            self._parts.forget_tail(self._account)  # a segment was dropped: its messages are in the tail again
            self._parts.keep_only(self._account, frozenset(ids))
            self._known = {one: self._known[one] for one in ids if one in self._known}
        self._merged = frozenset(ids)
        return ids

    async def part(self, segment: Segment, kind: FieldClass) -> Part | None:
        """Give the vocabulary of a segment for a kind of field; None where it is gone, or does not open (the administrator is told once)."""
        part = await self._get(segment, int(kind), open_part, kind)
        return part if isinstance(part, Part) and part.numbers == segment.numbers else None

    async def postings(self, segment: Segment, kind: FieldClass) -> Postings | None:
        """Give the postings that are apart from a part; None where they are gone, or do not open."""
        postings = await self._get(segment, kind + POSTINGS, open_postings, kind)
        return postings if isinstance(postings, Postings) else None

    async def facts(self, segment: Segment) -> SegmentFacts | None:
        """Give sizes and dates of a segment's messages; None where it is gone, does not open, or is of a time when segments had none."""
        facts = await self._get(segment, FACTS, open_facts)
        return facts if isinstance(facts, SegmentFacts) and facts.numbers == segment.numbers else None

    async def _get(self, segment: Segment, kind: int, opened: Callable[..., Sealed], *named: FieldClass) -> Sealed | None:
        key = (self._account, segment.id, kind)
        part = self._parts.get(key)
        if part is None and (segment.id, kind) not in self._broken:
            part = await self._load(segment.id, kind, opened, named)
            if part is not None:
                self._parts.put(key, part)
        return part

    async def _load(self, segment: bytes, kind: int, opened: Callable[..., Sealed], named: tuple[FieldClass, ...]) -> Sealed | None:
        sealed = await self._store.read(GetSegmentPart(self._account, segment, kind))
        if sealed is None:
            return None
        arguments = (self._keys.sealing, self._account, segment, *named, sealed)
        try:
            # What takes a millisecond is done at once: going to a thread and back takes as long while others are at work.
            return opened(*arguments) if len(sealed) <= limits.INDEX_ON_LOOP else await asyncio.to_thread(opened, *arguments)
        except SealBrokenError as error:
            self._broken.add((segment, kind))
            self._events.emit(Event.of("seal.broken", f"a part of the search index of account {self._account} does not open: {error}", alert=True))
            return None

    # ---- messages that are in no segment yet ----

    async def tail(self, wanted: Callable[[int], bool], pause: Pause) -> Tail:
        """Give the words of messages in no segment, of those whose number is wanted; messages without words are not among them.

        What was read once is not read again: a message's words never change, and that it was merged since only says the same twice.
        """
        known = self._parts.tail(self._account) or KnownTail()
        known.used = True
        await self._read_tail(known, pause)
        found: dict[int, Words] = {}
        for number, row in list(known.rows.items()):
            if not wanted(number):
                continue
            words = self._open(row) if isinstance(row, UnindexedRow) else row
            known.rows[number] = words
            if words is not None:
                found[number] = words
            await pause()
        self._parts.keep_tail(self._account, known)
        return found

    async def _read_tail(self, known: KnownTail, pause: Pause) -> None:
        """Read on from where reading stopped; a message whose words are not made yet is looked at again next time."""
        after, whole = known.upto, True
        room = limits.INDEX_TAIL_READ
        while len(known.rows) < limits.INDEX_TAIL and known.octets < room and (rows := await self._store.read(ListUnindexed(self._account, after))):
            for row in rows:
                if row.words and row.number not in known.rows:
                    known.rows[row.number] = msgspec.structs.replace(row, prefix=b"", summary=b"")
                    known.octets += 3 * len(row.words) + limits.INDEX_TAIL_COST
                whole = whole and bool(row.words)
                if whole:
                    known.upto = row.number
            after = rows[-1].number
            await pause()  # a mailbox of before the index has many pages of messages without words

    def _open(self, row: UnindexedRow) -> Words | None:
        try:
            sealing = SealKey(open_cover(self._keys, self._account, row.id, row.cover).message_key)
            return open_words(sealing, self._account, row.id, row.words)
        except SealBrokenError:
            return None  # who reads the message tells of it
