# SPDX-License-Identifier: Apache-2.0
"""Sizes and internal dates of a segment's messages: a search for them opens one seal for a thousand messages, and reads no rows.

Obeys RFC 3501 §2.3.3 (a message's internal date) and §2.3.4 (its size): both stay as they are for as long as the message.
Must never know what anybody looks for.

They are a part of a segment, of a kind of its own, and say nothing that the rows of the messages do not say.
"""

from __future__ import annotations

import sys
from array import array
from dataclasses import dataclass
from itertools import accumulate
from operator import sub
from typing import Final, TypeVar

import msgspec

from moatmail.core.errors import SealBrokenError
from moatmail.crypto.seal import Purpose, SealKey
from moatmail.mailbox.index.segment import object_id

KIND: Final = 80
"""The kind of this part of a segment; those below are of words and of listings, which leave messages out and have seconds only."""
VERSION: Final = 1


class _Facts(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """As it is sealed. `numbers`: the first message number, then differences; `sizes` and `received_at` (IEEE 754): 8 octets each, low first."""

    version: int
    numbers: list[int]
    sizes: bytes
    received_at: bytes


A = TypeVar("A", "array[int]", "array[float]")
_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(_Facts)


@dataclass(frozen=True, slots=True)
class SegmentFacts:
    """Side by side: message numbers, rising, sizes in octets, internal dates in epoch seconds."""

    numbers: array[int]
    sizes: array[int]
    received_at: array[float]

    @property
    def octets(self) -> int:
        """Give how much memory they take, about."""
        return 24 * len(self.numbers)


class FactsBuilder:
    """Gathers the facts of one segment's messages."""

    def __init__(self) -> None:
        self._numbers: list[int] = []
        self._sizes = array("Q")
        self._received_at = array("d")

    def add(self, number: int, size: int, received_at: float) -> None:
        """Take a message; their numbers rise."""
        self._numbers.append(number)
        self._sizes.append(size)
        self._received_at.append(received_at)

    def seal(self, sealing: SealKey, account: int, segment_id: bytes) -> tuple[int, bytes]:
        """Give kind and sealed octets, bound to the segment as its other parts are."""
        numbers = self._numbers[:1] + list(map(sub, self._numbers[1:], self._numbers))
        octets = _ENCODER.encode(_Facts(VERSION, numbers, _low_first(self._sizes).tobytes(), _low_first(self._received_at).tobytes()))
        return KIND, sealing.seal(Purpose.SEGMENT, account, object_id(segment_id, KIND), octets, thoroughly=True)


def open_facts(sealing: SealKey, account: int, segment_id: bytes, sealed: bytes) -> SegmentFacts:
    """Open the facts of a segment; raises SealBrokenError for anything but exactly these."""
    try:
        facts = _DECODER.decode(sealing.open(Purpose.SEGMENT, account, object_id(segment_id, KIND), sealed))
        numbers, sizes, received_at = array("Q", accumulate(facts.numbers)), array("Q", facts.sizes), array("d", facts.received_at)
    except (msgspec.MsgspecError, ValueError) as error:
        raise SealBrokenError(f"segment {segment_id.hex()}: no facts: {error}") from None
    if facts.version != VERSION or not len(numbers) == len(sizes) == len(received_at):
        raise SealBrokenError(f"segment {segment_id.hex()}: facts of another version, or that contradict themselves")
    return SegmentFacts(numbers, _low_first(sizes), _low_first(received_at))


def _low_first(values: A) -> A:
    """Give values in the order of octets in which they are kept; for one already so, the value itself."""
    if sys.byteorder == "big":
        values = values[:]
        values.byteswap()
    return values
