# SPDX-License-Identifier: Apache-2.0
"""Segments: the words of about a thousand messages of one account, merged so that one look finds all messages that have a word.

Obeys RFC 3501 §6.4.4 (substrings inside words are found, for a vocabulary is one text).
Must never know where a segment is kept, nor what anybody looks for.

A part is what a segment holds of one field class: all distinct words as one text, those of most messages first, and for each word the messages
that have it, counted from 0 within the segment. Words of equally many messages stand together, so that no word needs a length of its own.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_right
from collections import defaultdict
from itertools import accumulate
from operator import sub
from typing import Final

import msgspec

from moatmail.core.errors import SealBrokenError
from moatmail.core.limits import mailbox as limits
from moatmail.crypto.seal import Purpose, SealKey
from moatmail.mailbox.index.words import FieldClass, Words

VERSION: Final = 1
_MARK: Final = 64
"""Words from one mark to the next: to tell which word a place in the text belongs to, so many are counted at most."""
_LOW: Final = 0 if sys.byteorder == "little" else 1


class _Kept(msgspec.Struct, frozen=True, array_like=True):
    """A part as it is sealed.

    `numbers`: the first message number, then differences. `unknown`: messages whose words are not all there. `filled`: messages that have a word.
    `vocabulary`: each word between line feeds. `groups`: (messages per word, words). `low` and `high`: the octets of the messages of each word,
    the first from 0, then differences.
    """

    version: int
    numbers: list[int]
    unknown: list[int]
    filled: int
    vocabulary: bytes
    groups: list[tuple[int, int]]
    low: bytes
    high: bytes
    marks: list[int]


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(_Kept)


# ---------------------------------------------------------------- making


class _Gathered:
    """The words of one field class while messages are added."""

    __slots__ = ("filled", "postings", "unknown")

    def __init__(self) -> None:
        self.postings: defaultdict[bytes, list[int]] = defaultdict(list)
        self.unknown: list[int] = []
        self.filled = 0

    def add(self, place: int, text: bytes) -> None:
        if not text:
            return
        self.filled += 1
        postings = self.postings
        # A concatenation of two texts may name a word twice.
        for word in set(text[1:-1].split(b"\n")) if b"\n\n" in text else text[1:-1].split(b"\n"):
            if word:
                postings[word].append(place)

    def encode(self, numbers: list[int]) -> bytes:
        by_count: defaultdict[int, list[bytes]] = defaultdict(list)
        for word, places in self.postings.items():
            by_count[len(places)].append(word)
        # What most messages have comes first: a look for a short text is over soon, for it soon has found every message.
        counts = sorted(by_count, reverse=True)
        words = [word for count in counts for word in by_count[count]]
        gaps = array("H")
        for word in words:
            places = self.postings[word]
            gaps.append(places[0])
            gaps.extend(map(sub, places[1:], places))
        octets = gaps.tobytes()
        starts = list(accumulate([len(word) + 1 for word in words], initial=1))
        kept = _Kept(
            VERSION,
            numbers[:1] + list(map(sub, numbers[1:], numbers)),
            self.unknown,
            self.filled,
            b"\n".join((b"", *words, b"")) if words else b"",
            [(count, len(by_count[count])) for count in counts],
            octets[_LOW::2],
            octets[1 - _LOW :: 2],
            starts[:-1:_MARK],
        )
        return _ENCODER.encode(kept)


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

    def seal_part(self, kind: FieldClass, sealing: SealKey, account: int, segment_id: bytes) -> bytes:
        """Give the part of one field class, sealed under the mailbox key and bound to the segment's id and the class."""
        return sealing.seal(Purpose.SEGMENT, account, _object_id(segment_id, kind), self._classes[kind].encode(self.numbers))

    def seal(self, sealing: SealKey, account: int, segment_id: bytes) -> tuple[tuple[int, bytes], ...]:
        """Give (kind, sealed part) for every field class."""
        return tuple([(int(kind), self.seal_part(kind, sealing, account, segment_id)) for kind in FieldClass])


def _object_id(segment_id: bytes, kind: FieldClass) -> bytes:
    return segment_id + bytes((kind,))


# ---------------------------------------------------------------- looking


class Part:
    """One part, open: message numbers of the segment, and which of them have words that contain a needle."""

    __slots__ = ("_group_postings", "_group_words", "_groups", "_high", "_low", "_marks", "_vocabulary", "filled", "numbers", "octets", "unknown")

    def __init__(self, octets: bytes) -> None:
        """Read what a builder wrote; raises ValueError on damage or a version we do not know."""
        try:
            kept = _DECODER.decode(octets)
        except msgspec.MsgspecError as error:
            raise ValueError("not a part of a segment") from error
        if kept.version != VERSION:
            raise ValueError("a part of a segment in another version")
        self.numbers = array("Q", accumulate(kept.numbers))
        """The message numbers, rising."""
        self.unknown = kept.unknown
        """Places of messages whose words are not all here."""
        self.filled = kept.filled
        self.octets = len(octets)
        """How much memory it takes, about."""
        self._vocabulary = kept.vocabulary
        self._groups = kept.groups
        self._group_words = list(accumulate([words for _, words in kept.groups], initial=0))
        self._group_postings = list(accumulate([count * words for count, words in kept.groups], initial=0))
        self._low, self._high = kept.low, kept.high
        self._marks = array("I", kept.marks)
        postings = self._group_postings[-1]
        if not len(kept.low) == len(kept.high) == postings or len(kept.marks) != -(-self._group_words[-1] // _MARK):
            raise ValueError("a part of a segment contradicts itself")

    def find(self, needle: bytes, found: set[int], start: int = 0, words: int = sys.maxsize) -> int:
        """Add to `found` the places of the messages with a word that contains the needle; gives -1 at the end.

        A needle that begins or ends with a line feed begins or ends with its word. After `words` of them it gives where to go on.
        Raises ValueError where the part contradicts itself.
        """
        vocabulary = self._vocabulary
        first = 1 if needle.startswith(b"\n") else 0
        end = len(needle) - 1 if needle.endswith(b"\n") else len(needle)
        try:
            while len(found) < self.filled:
                position = vocabulary.find(needle, start)
                if position < 0:
                    return -1
                if words <= 0:
                    return position
                words -= 1
                self._add(position + first, found)
                start = vocabulary.index(b"\n", position + max(end, first))
        except IndexError:
            raise ValueError("a part of a segment contradicts itself") from None
        return -1

    def _add(self, position: int, found: set[int]) -> None:
        """Add the messages of the word that a position of the vocabulary belongs to."""
        mark = bisect_right(self._marks, position) - 1
        word = mark * _MARK + self._vocabulary.count(b"\n", self._marks[mark], position)
        group = bisect_right(self._group_words, word) - 1
        count = self._groups[group][0]
        begin = self._group_postings[group] + (word - self._group_words[group]) * count
        if count == 1:
            found.add(self._low[begin] | self._high[begin] << 8)
            return
        low, high = self._low[begin : begin + count], self._high[begin : begin + count]
        found.update(accumulate(low if high.count(0) == count else [one | other << 8 for one, other in zip(low, high, strict=True)]))


def open_part(sealing: SealKey, account: int, segment_id: bytes, kind: FieldClass, sealed: bytes) -> Part:
    """Open a part (a millisecond or two for a body's: in a thread); raises SealBrokenError for anything but exactly this one."""
    octets = sealing.open(Purpose.SEGMENT, account, _object_id(segment_id, kind), sealed)
    try:
        return Part(octets)
    except ValueError as error:
        raise SealBrokenError(f"segment {segment_id.hex()}, part {kind.name}: {error}") from None
