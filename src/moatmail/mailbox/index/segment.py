# SPDX-License-Identifier: Apache-2.0
"""Segments: the words of about a thousand messages of one account, merged so that one look finds all messages that have a word.

Obeys RFC 3501 §6.4.4 (substrings inside words are found, for a vocabulary is one text).
Must never know where a segment is kept, nor what anybody looks for.

A part is what a segment holds of one field class: all distinct words as one text, those of most messages first, and for each word its postings,
the messages that have it, counted from 0 within the segment. Words of equally many messages stand together, so that no word needs a length of
its own. Postings that are many are sealed apart: a look for a word that nobody wrote reads vocabularies only.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_right
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from itertools import accumulate, islice, repeat
from operator import mul, sub
from typing import Final, Literal

import msgspec

from moatmail.core.errors import SealBrokenError
from moatmail.core.limits import mailbox as limits
from moatmail.crypto.seal import Purpose, SealKey
from moatmail.mailbox.index.words import FieldClass, Words

VERSION: Final = 2
POSTINGS: Final = 16
"""Added to a field class it is the kind of the part with its postings, where they are sealed apart."""
_MARK: Final = 64
"""Words from one mark to the next: to tell which word a place in the text belongs to, so many are counted at most."""
_SLICE: Final = 16_384
"""Postings gone through in one call (a millisecond): others want the interpreter too."""
_HEAD_AT: Final = 5  # behind the octet of the version and four of the head's length
_FIRST_VERSION: Final = 0x99  # parts of version 1 were an array of nine, in MessagePack


class _Head(msgspec.Struct, frozen=True, array_like=True):
    """What stands before the vocabulary.

    Packed, low octets first: `numbers` (8 octets each: the first message number, then differences), `counts` and `words` (2 and 4: how many
    messages have each word of a group, and how many words it is of), `marks` (4: where every 64th word begins). `unknown`: messages whose words
    are not all there. `filled`: messages that have a word. `low` and `high`: the octets of the messages of each word, the first from 0, then
    differences; `low` is None where they are apart.
    """

    numbers: bytes
    unknown: list[int]
    filled: int
    counts: bytes
    words: bytes
    marks: bytes
    low: bytes | None
    high: bytes


class _First(msgspec.Struct, frozen=True, array_like=True):
    """A part of version 1: the same, its vocabulary (each word between line feeds) among it."""

    version: int
    numbers: list[int]
    unknown: list[int]
    filled: int
    vocabulary: bytes
    groups: list[tuple[int, int]]
    low: bytes
    high: bytes
    marks: list[int]


class Postings(msgspec.Struct, frozen=True, array_like=True):
    """Which messages have each word: octets as `_Head` has them."""

    version: int
    low: bytes
    high: bytes

    @property
    def octets(self) -> int:
        """Give how much memory they take, about."""
        return 2 * len(self.low)


_ENCODER: Final = msgspec.msgpack.Encoder()
_HEADS: Final = msgspec.msgpack.Decoder(_Head)
_FIRSTS: Final = msgspec.msgpack.Decoder(_First)
_POSTINGS: Final = msgspec.msgpack.Decoder(Postings)


# ---------------------------------------------------------------- making


class _Gathered:
    """The words of one field class while messages are added: for each the places of its messages, two octets each, low first."""

    __slots__ = ("filled", "postings", "unknown")

    def __init__(self) -> None:
        # No lists: the collector of garbage would walk through tens of thousands of them, again and again.
        self.postings: defaultdict[bytes, bytearray] = defaultdict(bytearray)
        self.unknown: list[int] = []
        self.filled = 0

    def add(self, place: int, text: bytes) -> None:
        if not text:
            return
        self.filled += 1
        words = text[1:-1].split(b"\n")
        # A concatenation of two texts may name a word twice.
        some = filter(None, set(words)) if b"\n\n" in text else words
        deque(map(bytearray.extend, map(self.postings.__getitem__, some), repeat(place.to_bytes(2, "little"))), maxlen=0)

    def encode(self, numbers: list[int]) -> tuple[bytes, bytes]:
        """Give the part, and its postings where they are apart."""
        by_size: defaultdict[int, list[bytes]] = defaultdict(list)
        for word, places in self.postings.items():
            by_size[len(places)].append(word)
        # What most messages have comes first: a look for a short text is over soon, for it soon has found every message.
        sizes = sorted(by_size, reverse=True)
        # Within a size in the order of their coming: sorted they would compress better, and their postings worse, which is more in people's mail.
        words = [word for size in sizes for word in by_size[size]]
        groups = [(size // 2, len(by_size[size])) for size in sizes]
        low, high = _octets(b"".join(map(self.postings.__getitem__, words)), groups)
        apart = len(low) > limits.SEGMENT_POSTINGS
        starts = list(accumulate([len(word) + 1 for word in words], initial=1))
        head = _ENCODER.encode(
            _Head(
                packed("Q", numbers[:1] + list(map(sub, numbers[1:], numbers))),
                self.unknown,
                self.filled,
                packed("H", [count for count, _ in groups]),
                packed("I", [words_of for _, words_of in groups]),
                packed("I", starts[:-1:_MARK]),
                None if apart else low,
                b"" if apart else high,
            )
        )
        vocabulary = b"\n".join((b"", *words, b"")) if words else b""
        return (
            b"".join((bytes((VERSION,)), len(head).to_bytes(_HEAD_AT - 1, "big"), head, vocabulary)),
            _ENCODER.encode(Postings(VERSION, low, high)) if apart else b"",
        )


def packed(kind: Literal["H", "I", "Q"], numbers: Sequence[int]) -> bytes:
    """Pack numbers, low octets first."""
    values = array(kind, numbers)
    if sys.byteorder == "big":
        values.byteswap()
    return values.tobytes()


def unpacked(kind: Literal["h", "H", "I", "Q"], octets: bytes) -> array[int]:
    """Give what was packed; raises ValueError for half a number."""
    values: array[int] = array(kind, octets)
    if sys.byteorder == "big":
        values.byteswap()
    return values


def _octets(two_each: bytes, groups: list[tuple[int, int]]) -> tuple[bytes, bytes]:
    """Give the low and the high octets of places as `_Head` keeps them: the first of each word, then differences."""
    places = unpacked("h", two_each)
    gaps = places[:1]
    for start in range(0, len(places) - 1, _SLICE):
        some = places[start : start + _SLICE + 1]
        gaps.extend(map(sub, some[1:], some))
    begin = 0
    for count, words in groups:
        end = begin + count * words
        gaps[begin:end:count] = places[begin:end:count]
        begin = end
    if sys.byteorder == "big":
        gaps.byteswap()
    octets = gaps.tobytes()
    return octets[::2], octets[1::2]


class SegmentBuilder:
    """Merges the words of messages into one segment: `add` (some 0.1 ms each) until `full`, then `seal` (a tenth of a second: in a thread)."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self._octets = 0
        self._classes = [_Gathered() for _ in FieldClass]

    def add(self, number: int, words: Words) -> None:
        """Take the words of one message; raises ValueError unless message numbers rise."""
        if self.numbers and number <= self.numbers[-1]:
            raise ValueError("message numbers of a segment rise")
        place = len(self.numbers)
        self.numbers.append(number)
        for gathered, text in zip(self._classes, words.texts, strict=True):
            gathered.add(place, text)
            self._octets += len(text)
        if not words.whole:
            self._classes[FieldClass.BODY].unknown.append(place)

    @property
    def full(self) -> bool:
        """Tell whether no more messages should be added: they are many, or their words."""
        return len(self.numbers) >= limits.SEGMENT_MESSAGES or self._octets >= limits.SEGMENT_OCTETS

    def seal_parts(self, kind: FieldClass, sealing: SealKey, account: int, segment_id: bytes) -> list[tuple[int, bytes]]:
        """Give (kind, sealed) of one field class, one or two, sealed under the mailbox key and bound to the segment's id and the kind."""
        part, postings = self._classes[kind].encode(self.numbers)
        kinds = ((int(kind), part), (kind + POSTINGS, postings))
        return [(one, sealing.seal(Purpose.SEGMENT, account, object_id(segment_id, one), octets, thoroughly=True)) for one, octets in kinds if octets]

    def seal(self, sealing: SealKey, account: int, segment_id: bytes) -> tuple[tuple[int, bytes], ...]:
        """Give (kind, sealed) of every field class."""
        return tuple([part for kind in FieldClass for part in self.seal_parts(kind, sealing, account, segment_id)])


def object_id(segment_id: bytes, kind: int) -> bytes:
    """Give the name under which a part of a segment is sealed."""
    return segment_id + bytes((kind,))


# ---------------------------------------------------------------- looking


class Part:
    """One part, open: message numbers of the segment, and which of them have words that contain a needle."""

    __slots__ = ("_base", "_counts", "_group_postings", "_group_words", "_marks", "_text", "filled", "numbers", "octets", "postings", "unknown")

    def __init__(self, octets: bytes) -> None:
        """Read what a builder wrote; raises ValueError on damage or a version we do not know."""
        self.octets = len(octets)
        """How much memory it takes, about."""
        head = self._read(octets)
        self.numbers = array("Q", accumulate(unpacked("Q", head.numbers)))
        """The message numbers, rising."""
        self.unknown = head.unknown
        """Places of messages whose words are not all here."""
        self.filled = head.filled
        self.postings = None if head.low is None else Postings(VERSION, head.low, head.high)
        """None where they are apart."""
        words = unpacked("I", head.words)
        self._counts = unpacked("H", head.counts)
        self._group_words = list(accumulate(words, initial=0))
        self._group_postings = list(accumulate(map(mul, self._counts, words), initial=0))
        self._marks = unpacked("I", head.marks)
        if len(self._counts) != len(words) or len(self._marks) != -(-self._group_words[-1] // _MARK):
            raise ValueError("a part of a segment contradicts itself")
        if self.postings is not None:
            self._check(self.postings)

    def _read(self, octets: bytes) -> _Head:
        """Give the head; the vocabulary is looked through where it lies, from `_base` on, for a copy would take as long as looking."""
        version = octets[:1]
        try:
            if version == bytes((VERSION,)):
                self._base = _HEAD_AT + int.from_bytes(octets[1:_HEAD_AT], "big")
                self._text = octets
                head = _HEADS.decode(octets[_HEAD_AT : self._base])
                if self._base <= len(octets):
                    return head
            if version == bytes((_FIRST_VERSION,)):
                first = _FIRSTS.decode(octets)
                if first.version == 1:
                    self._base, self._text = 0, first.vocabulary
                    counts, words = packed("H", [count for count, _ in first.groups]), packed("I", [words for _, words in first.groups])
                    numbers, marks = packed("Q", first.numbers), packed("I", first.marks)
                    return _Head(numbers, first.unknown, first.filled, counts, words, marks, first.low, first.high)
        except (msgspec.MsgspecError, OverflowError) as error:
            raise ValueError("not a part of a segment") from error
        raise ValueError("a part of a segment in a version we do not know")

    def _check(self, postings: Postings) -> None:
        if not len(postings.low) == len(postings.high) == self._group_postings[-1]:
            raise ValueError("a part of a segment contradicts itself")

    def has(self, needle: bytes) -> bool:
        """Tell whether any word contains the needle: that needs no postings."""
        return self._text.find(needle, self._base) >= 0

    def find(self, needle: bytes, found: set[int], start: int = 0, words: int = sys.maxsize, postings: Postings | None = None) -> int:
        """Add to `found` the places of the messages with a word that contains the needle; gives -1 at the end.

        A needle that begins or ends with a line feed begins or ends with its word. After `words` of them it gives where to go on.
        `postings` where they are apart. Raises ValueError where the part contradicts itself.
        """
        known = postings or self.postings
        if known is None:
            raise ValueError("the postings of a part are apart")
        self._check(known)
        text = self._text
        first = 1 if needle.startswith(b"\n") else 0
        end = len(needle) - 1 if needle.endswith(b"\n") else len(needle)
        start = max(start, self._base)
        try:
            while len(found) < self.filled:
                position = text.find(needle, start)
                if position < 0:
                    return -1
                if words <= 0:
                    return position
                words -= 1
                self._add(position + first, known, found)
                start = text.index(b"\n", position + max(end, first))
        except IndexError:
            raise ValueError("a part of a segment contradicts itself") from None
        return -1

    def texts(self, postings: Postings | None = None) -> list[bytes]:
        """Give for each message of the segment its words as `Words` has them (a tenth of a second for a body's: in a thread).

        `postings` where they are apart. Raises ValueError where the part contradicts itself.
        """
        known = postings or self.postings
        if known is None:
            raise ValueError("the postings of a part are apart")
        self._check(known)
        words = iter(self._text[self._base + 1 : -1].split(b"\n"))
        of_each: list[list[bytes]] = [[] for _ in self.numbers]
        begin = 0
        try:
            for count, number in zip(self._counts, map(sub, self._group_words[1:], self._group_words), strict=True):
                for word in islice(words, number):
                    for place in self._places(known, begin, count):
                        of_each[place].append(word)
                    begin += count
        except IndexError:
            raise ValueError("a part of a segment contradicts itself") from None
        return [b"\n".join((b"", *some, b"")) if some else b"" for some in of_each]

    def _add(self, position: int, postings: Postings, found: set[int]) -> None:
        """Add the messages of the word that a position of the text belongs to."""
        mark = bisect_right(self._marks, position - self._base) - 1
        word = mark * _MARK + self._text.count(b"\n", self._base + self._marks[mark], position)
        group = bisect_right(self._group_words, word) - 1
        count = self._counts[group]
        begin = self._group_postings[group] + (word - self._group_words[group]) * count
        if count == 1:
            found.add(postings.low[begin] | postings.high[begin] << 8)
        else:
            found.update(self._places(postings, begin, count))

    @staticmethod
    def _places(postings: Postings, begin: int, count: int) -> Iterable[int]:
        low, high = postings.low[begin : begin + count], postings.high[begin : begin + count]
        return accumulate(low if high.count(0) == count else [one | other << 8 for one, other in zip(low, high, strict=True)])


def open_part(sealing: SealKey, account: int, segment_id: bytes, kind: FieldClass, sealed: bytes) -> Part:
    """Open a part (a millisecond for a header's); raises SealBrokenError for anything but exactly this one."""
    octets = sealing.open(Purpose.SEGMENT, account, object_id(segment_id, kind), sealed)
    try:
        return Part(octets)
    except ValueError as error:
        raise SealBrokenError(f"segment {segment_id.hex()}, part {kind.name}: {error}") from None


def open_postings(sealing: SealKey, account: int, segment_id: bytes, kind: FieldClass, sealed: bytes) -> Postings:
    """Open the postings of a part; raises SealBrokenError for anything but exactly these."""
    octets = sealing.open(Purpose.SEGMENT, account, object_id(segment_id, kind + POSTINGS), sealed)
    try:
        postings = _POSTINGS.decode(octets)
    except msgspec.MsgspecError as error:
        raise SealBrokenError(f"segment {segment_id.hex()}, postings {kind.name}: {error}") from None
    if postings.version != VERSION:
        raise SealBrokenError(f"segment {segment_id.hex()}, postings {kind.name}: a version we do not know")
    return postings
