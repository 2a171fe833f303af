# SPDX-License-Identifier: Apache-2.0
"""What the search index tells of texts that are sought: for each a column of the messages that surely have it, and of those that surely have not.

Obeys RFC 3501 §6.4.4, as `mailbox/search_message` reads it: whoever is in neither column is opened and looked at.
Must never know the protocol that asks, nor hold the loop: parts are opened in threads, and looked through in slices.
"""

from __future__ import annotations

from array import array
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import eq
from typing import Final

from moatmail.core.limits import mailbox as limits
from moatmail.mailbox.criteria import And, Body, Criterion, HeaderText, Not, Or, Text, fold
from moatmail.mailbox.index.cache import AccountIndex, Tail
from moatmail.mailbox.index.segment import Part
from moatmail.mailbox.index.sought import Sought, sought
from moatmail.mailbox.index.words import FieldClass
from moatmail.mailbox.search_columns import ORDER, Settled

Pause = Callable[[], Awaitable[None]]
_FIELDS: Final = {
    b"from": FieldClass.FROM,
    b"to": FieldClass.TO,
    b"cc": FieldClass.CC,
    b"bcc": FieldClass.BCC,
    b"subject": FieldClass.SUBJECT,
}
_ABSENT: Final = -1


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


def leaves(criterion: Criterion) -> Iterable[Criterion]:
    """Give the text criteria of a tree."""
    if isinstance(criterion, And | Or):
        for part in criterion.parts:
            yield from leaves(part)
    elif isinstance(criterion, Not):
        yield from leaves(criterion.part)
    elif isinstance(criterion, HeaderText | Body | Text):
        yield criterion


class Evaluation:
    """One search in one mailbox: which of its messages, by their places in the snapshot, the index knows about."""

    def __init__(self, index: AccountIndex, mailbox: int, uids: Sequence[int], pause: Pause) -> None:
        self._index = index
        self._mailbox = mailbox
        self._uids = uids
        self._pause = pause
        self._place_of: dict[int | None, int] = {}
        self._twice: dict[int, list[int]] = {}

    async def settle(self, criteria: Iterable[Criterion], open_places: Sequence[int]) -> dict[Criterion, Settled]:
        """Give the columns of text criteria, for as much of `open_places` (rising) as the index knows."""
        asked = {one: asking for one in dict.fromkeys(criteria) if (asking := question(one)) is not None}
        if not asked:
            return {}
        await self._learn_places(open_places)
        columns = {one: _Columns(len(self._uids)) for one in asked}
        # The tail first: what is merged meanwhile is then found twice, and never missed.
        tail = await self._index.tail(self._place_of.__contains__, self._pause)
        for segment in await self._index.segments(self._pause):
            places = self._places(segment.numbers)
            here = len(segment.numbers) - places.count(_ABSENT)
            for one, asking in asked.items():
                # A part of a body costs as much as opening some messages does.
                if here >= limits.INDEX_WORTH or (here and len(asking.classes) == 1 and asking.classes[0] <= FieldClass.SUBJECT):
                    await self._look_into_segment(asking, segment.id, places, columns[one])
            await self._pause()
        for one, asking in asked.items():
            await self._look_into_tail(asking, tail, columns[one])
        return {one: column.settled() for one, column in columns.items()}

    # ---- which message lies where ----

    async def _learn_places(self, open_places: Sequence[int]) -> None:
        numbers = await self._index.numbers(self._mailbox, self._uids[-1], self._pause)
        for start in range(0, len(open_places), limits.INDEX_SLICE):
            part = open_places[start : start + limits.INDEX_SLICE]
            known = list(map(numbers.get, map(self._uids.__getitem__, part)))
            before = len(self._place_of)
            self._place_of.update(zip(known, part, strict=True))
            if None in self._place_of or len(self._place_of) < before + len(part):
                self._learn_again(known, part)
            await self._pause()

    def _learn_again(self, known: Sequence[int | None], places: Sequence[int]) -> None:
        """Sort out messages that nobody numbered, and those that lie twice in the mailbox: copied within it."""
        self._place_of.pop(None, None)
        for number, place in zip(known, places, strict=True):
            if number is not None and self._place_of[number] != place:
                self._twice.setdefault(number, []).append(place)

    def _places(self, numbers: array[int]) -> list[int]:
        place_of = self._place_of.get
        return [place_of(number, _ABSENT) for number in numbers]

    @staticmethod
    def _run(places: Sequence[int]) -> range | None:
        """Give the places of a segment as a range, where its messages lie one behind the other: mostly they do."""
        run = range(places[0], places[0] + len(places))
        return run if places[0] >= 0 and places[-1] == run[-1] and all(map(eq, places, run)) else None

    # ---- looking ----

    async def _look_into_segment(self, asking: Question, segment: bytes, places: Sequence[int], columns: _Columns) -> None:
        parts = [await self._index.part(segment, kind) for kind in asking.classes]
        found: set[int] = set()
        unknown: set[int] = set()
        for part in parts:
            if part is None:
                return  # dropped meanwhile: its messages stay open
            found |= await self._matching(asking.sought, part)
            unknown.update(part.unknown)
        run = self._run(places)
        if run is not None:
            columns.false_run(run, found | unknown)
        else:
            columns.false([place for one, place in enumerate(places) if one not in found and one not in unknown])
        if asking.sought.certain:
            columns.true([places[one] for one in found])
        if self._twice:
            self._repeat(columns)

    async def _matching(self, sought: Sought, part: Part) -> set[int]:
        """Give the places within a segment of the messages with words that contain every needle."""
        matching: set[int] | None = None
        for needle in sought.needles:
            found: set[int] = set()
            start = 0
            while (start := part.find(needle, found, start, limits.INDEX_WORDS)) >= 0:
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
                    true.append(self._place_of[number])
            elif words.whole or FieldClass.BODY not in asking.classes:
                false.append(self._place_of[number])
            if count % limits.INDEX_TAIL_SLICE == 0:
                await self._pause()
        columns.true(true)
        columns.false(false)
        if self._twice:
            self._repeat(columns)

    def _repeat(self, columns: _Columns) -> None:
        """Say of a message that lies twice in the mailbox the same at both places."""
        for number, others in self._twice.items():
            columns.repeat(self._place_of[number], others)


class _Columns:
    """Two columns in the making: an octet per message, 0 or 1."""

    __slots__ = ("_false", "_true")

    def __init__(self, count: int) -> None:
        # One octet more for places of messages that are elsewhere: _ABSENT names the last.
        self._true = bytearray(count + 1)
        self._false = bytearray(count + 1)

    def true(self, places: Iterable[int]) -> None:
        column = self._true
        for place in places:
            column[place] = 1

    def false(self, places: Iterable[int]) -> None:
        column = self._false
        for place in places:
            column[place] = 1

    def false_run(self, run: range, but: Iterable[int]) -> None:
        """Say no to a run of places, but to those so far from its start."""
        column, first = self._false, run.start
        told = bytearray(b"\1" * len(run))
        for one in but:
            told[one] = column[first + one]
        column[first : run.stop] = told

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
