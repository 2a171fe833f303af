# SPDX-License-Identifier: Apache-2.0
"""What the search index tells of texts, sizes and dates that are sought: for each a column of the messages that surely match, and of those that surely do not.

Obeys RFC 3501 §6.4.4, as `mailbox/search_message` reads it: whoever is in neither column is opened and looked at.
Must never know the protocol that asks, nor hold the loop: parts are opened in threads, and looked through in slices.
"""

from __future__ import annotations

from array import array
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Final

from moatmail.core.limits import mailbox as limits
from moatmail.mailbox.criteria import And, Body, Criterion, HeaderText, Larger, Not, Or, Received, ReceivedFrom, ReceivedUntil, Smaller, Text, fold
from moatmail.mailbox.index.cache import AccountIndex, Segment, Tail
from moatmail.mailbox.index.places import Places
from moatmail.mailbox.index.segment import Part
from moatmail.mailbox.index.sought import Sought, sought
from moatmail.mailbox.index.words import FieldClass
from moatmail.mailbox.search_columns import ORDER, Settled
from moatmail.mailbox.search_facts import Facts, facts_test

Pause = Callable[[], Awaitable[None]]
_FIELDS: Final = {
    b"from": FieldClass.FROM,
    b"to": FieldClass.TO,
    b"cc": FieldClass.CC,
    b"bcc": FieldClass.BCC,
    b"subject": FieldClass.SUBJECT,
}
_TEXTS: Final = (HeaderText, Body, Text)
_FACTS: Final = (Larger, Smaller, Received, ReceivedFrom, ReceivedUntil)
_TURNED: Final = bytes((1, *[0] * 255))


@dataclass(frozen=True, slots=True)
class Question:
    """A text criterion as the index understands it: `classes` are the kinds of fields of which one has the text."""

    classes: tuple[FieldClass, ...]
    sought: Sought


def question(criterion: Criterion) -> Question | None:
    """Give a criterion as a question to the index; None where the index can tell nothing."""
    if isinstance(criterion, HeaderText):
        asked = _header_question(criterion)
    elif isinstance(criterion, Body):
        asked = Question((FieldClass.BODY,), sought(fold(criterion.text)))
    elif isinstance(criterion, Text):
        asked = Question((FieldClass.HEADER, FieldClass.BODY), sought(fold(criterion.text)))
    else:
        return None
    return asked if asked.sought.needles else None


def _header_question(criterion: HeaderText) -> Question:
    kind, found = _FIELDS.get(criterion.name), sought(fold(criterion.text))
    if kind is not None and criterion.text:
        return Question((kind,), found)
    # The words of the header do not tell which field they stand in: whoever has none of them is out, the others are looked at.
    return Question((FieldClass.HEADER,), Sought(found.needles, certain=False))


def leaves(criterion: Criterion, *, facts: bool = True) -> Iterable[Criterion]:
    """Give the criteria of a tree that an index may know about: those of texts, and with `facts` of sizes and internal dates."""
    if isinstance(criterion, And | Or):
        for part in criterion.parts:
            yield from leaves(part, facts=facts)
    elif isinstance(criterion, Not):
        yield from leaves(criterion.part, facts=facts)
    elif isinstance(criterion, _TEXTS) or (facts and isinstance(criterion, _FACTS)):
        yield criterion


def facts_of(criteria: Iterable[Criterion]) -> dict[Criterion, Facts]:
    """Give the comparisons of those criteria that size and internal date decide."""
    return {one: test for one in criteria if isinstance(one, _FACTS) and (test := facts_test(one)) is not None}


class Evaluation:
    """One search in one mailbox: which of its messages, by their places in the snapshot, the index knows about."""

    def __init__(self, index: AccountIndex, mailbox: int, uids: Sequence[int], pause: Pause) -> None:
        self._index = index
        self._mailbox = mailbox
        self._uids = uids
        self._pause = pause
        self._places = Places(array("Q"), (), rising=True)
        self._columns: dict[Criterion, _Columns] = {}

    async def settle(self, criteria: Iterable[Criterion], open_places: Sequence[int]) -> dict[Criterion, Settled]:
        """Give the columns of criteria, for as much of `open_places` (rising) as the index knows."""
        every = tuple(dict.fromkeys(criteria))
        asked = {one: asking for one in every if (asking := question(one)) is not None}
        facts = facts_of(every)
        if not asked and not facts:
            return {}
        known = await self._index.numbers(self._mailbox, self._uids[-1], self._pause)
        self._places = await Places.learn(known, self._uids, open_places, self._pause)
        self._columns = {one: _Columns(len(self._uids)) for one in (*asked, *facts)}
        # The tail first: what is merged meanwhile is then found twice, and never missed.
        tail = await self._index.tail(self._places.is_open, self._pause) if asked else {}
        for segment in await self._index.segments(self._pause):
            await self._look_into_segment(segment, asked, facts)
            await self._pause()
        for one, asking in asked.items():
            await self._look_into_tail(asking, tail, self._columns[one])
        for number, others in self._places.twice.items():
            for column in self._columns.values():
                column.repeat(self._places.of(number), others)
        return {one: column.settled() for one, column in self._columns.items()}

    # ---- looking ----

    async def _look_into_segment(self, segment: Segment, asked: Mapping[Criterion, Question], facts: Mapping[Criterion, Facts]) -> None:
        places = self._places.of_all(segment.numbers)
        here = self._places.count_open(places)
        if not here:
            return
        for one, asking in asked.items():
            # A part of a body costs as much as opening some messages does.
            if here >= limits.INDEX_WORTH or (len(asking.classes) == 1 and asking.classes[0] <= FieldClass.SUBJECT):
                await self._look_for_words(asking, segment, places, self._columns[one])
        if facts and (known := await self._index.facts(segment)) is not None:
            for one, test in facts.items():
                matching = bytes(map(test, known.sizes, known.received_at, repeat(0.0)))
                self._columns[one].both(places, matching)

    async def _look_for_words(self, asking: Question, segment: Segment, places: Sequence[int], columns: _Columns) -> None:
        found: set[int] = set()
        unknown: set[int] = set()
        for kind in asking.classes:
            part = await self._index.part(segment, kind)
            matching = None if part is None else await self._matching(asking.sought, part, segment, kind)
            if part is None or matching is None:
                return  # dropped meanwhile: its messages stay open
            found |= matching
            unknown.update(part.unknown)
            await self._pause()
        columns.false(places, found | unknown)
        if asking.sought.certain:
            columns.true([places[one] for one in found])

    async def _matching(self, sought: Sought, part: Part, segment: Segment, kind: FieldClass) -> set[int] | None:
        """Give the places within a segment of the messages with words that contain every needle; None where the segment is gone."""
        if not all(map(part.has, sought.needles)):
            return set()
        postings = part.postings or await self._index.postings(segment, kind)
        if postings is None:
            return None
        matching: set[int] | None = None
        for needle in sought.needles:
            found: set[int] = set()
            start = 0
            while (start := part.find(needle, found, start, limits.INDEX_WORDS, postings)) >= 0:
                await self._pause()
            matching = found if matching is None else matching & found
            if not matching:
                return set()
            await self._pause()
        return matching or set()

    async def _look_into_tail(self, asking: Question, tail: Tail, columns: _Columns) -> None:
        true: list[int] = []
        false: list[int] = []
        for count, (number, words) in enumerate(tail.items()):
            texts = [words.texts[kind] for kind in asking.classes]
            if any(all(needle in text for needle in asking.sought.needles) for text in texts):
                if asking.sought.certain:
                    true.append(self._places.of(number))
            elif words.whole or FieldClass.BODY not in asking.classes:
                false.append(self._places.of(number))
            if count % limits.INDEX_TAIL_SLICE == 0:
                await self._pause()
        columns.true(true)
        columns.false(false, ())


class _Columns:
    """Two columns in the making: an octet per message, 0 or 1; one more for the place ABSENT, of messages that are elsewhere."""

    __slots__ = ("_false", "_true")

    def __init__(self, count: int) -> None:
        self._true = bytearray(count + 1)
        self._false = bytearray(count + 1)

    def true(self, places: Iterable[int]) -> None:
        column = self._true
        for place in places:
            column[place] = 1

    def false(self, places: Sequence[int], but: Collection[int]) -> None:
        """Say no to messages at `places`, but to those so far from its start."""
        column = self._false
        if isinstance(places, range):
            told = bytearray(b"\1") * len(places)
            for one in but:
                told[one] = column[places[one]]
            column[places.start : places.stop] = told
        else:
            for one, place in enumerate(places):
                if one not in but:
                    column[place] = 1

    def both(self, places: Sequence[int], matching: bytes) -> None:
        """Say yes or no to messages at `places`: an octet each, 1 or 0."""
        if isinstance(places, range):
            self._true[places.start : places.stop] = matching
            self._false[places.start : places.stop] = matching.translate(_TURNED)
        else:
            for place, one in zip(places, matching, strict=True):
                (self._true if one else self._false)[place] = 1

    def repeat(self, place: int, others: Iterable[int]) -> None:
        for other in others:
            self._true[other] = self._true[place]
            self._false[other] = self._false[place]

    def settled(self) -> Settled:
        # What the tail and a segment both tell is the same; were it not, the message would be opened.
        true, false = (int.from_bytes(column[:-1], ORDER) for column in (self._true, self._false))
        both = true & false
        return Settled(true ^ both, false ^ both)


Columns = Mapping[Criterion, Settled]
