# SPDX-License-Identifier: Apache-2.0
"""Sequence sets: read, resolved against a mailbox, written in the shortest form.

Obeys RFC 3501 §9.
Must never know a mailbox.
"""

from __future__ import annotations

import pytest

from moatmail.wire.imap.sequence import PartialRange, compact, parse

RESOLVED = {
    "one number": (b"3", 9, ((3, 3),)),
    "a range backwards": (b"5:2", 9, ((2, 5),)),
    "members in any order are merged": (b"5,1,2:4,9", 9, ((1, 5), (9, 9))),
    "the star is the largest": (b"*", 9, ((9, 9),)),
    "a range to the star": (b"7:*", 9, ((7, 9),)),
    "a range beyond the star holds the largest": (b"12:*", 9, ((9, 12),)),
    "a range from the star": (b"*:3", 9, ((3, 9),)),
    "the star of an empty mailbox is nothing": (b"*,1:*", 0, ()),
    "numbers stay in an empty mailbox": (b"4,1:*", 0, ((4, 4),)),
}
COMPACT = {
    "nothing": ([], b""),
    "one": ([5], b"5"),
    "a run": ([1, 2, 3], b"1:3"),
    "runs and singles": ([1, 2, 4, 6, 7], b"1:2,4,6:7"),
    "an order that is not rising is kept": ([4, 5, 1], b"4:5,1"),
}


@pytest.mark.parametrize(("text", "largest", "wanted"), RESOLVED.values(), ids=RESOLVED.keys())
def test_resolve(text: bytes, largest: int, wanted: tuple[tuple[int, int], ...]) -> None:
    """A set becomes sorted, disjoint ranges."""
    sequence = parse(text)
    assert sequence is not None
    assert sequence.resolve(largest) == wanted
    assert bytes(sequence) == text


@pytest.mark.parametrize(
    "text", [b"", b"0", b"1,", b",1", b"1:2:3", b"1:0", b"01", b"4294967296", b"1 2", b"a", b"**", b"99999999999", b"$$", b"$:3", b"1:$", b"$,"]
)
def test_no_set(text: bytes) -> None:
    """What is no set is None."""
    assert parse(text) is None


def test_highest_is_the_highest_written() -> None:
    """The star does not count."""
    assert parse(b"3,8:*,5") is not None
    for text, highest in ((b"3,8:*,5", 8), (b"*", 0)):
        sequence = parse(text)
        assert sequence is not None
        assert sequence.highest == highest


@pytest.mark.parametrize(("numbers", "text"), COMPACT.values(), ids=COMPACT.keys())
def test_compact(numbers: list[int], text: bytes) -> None:
    """Rising runs become ranges."""
    assert compact(numbers) == text


def test_what_was_saved_is_a_member_of_its_own() -> None:
    """RFC 5182 §5: ``$`` stands where a set may stand, alone or among numbers; it is resolved by who knows it."""
    for text, ranges in ((b"$", ()), (b"3,$", ((3, 3),)), (b"$,7:*,$", ((7, 9),))):
        sequence = parse(text)
        assert sequence is not None
        assert sequence.saved
        assert sequence.resolve(9) == ranges
    assert bytes(parse(b"$,7:*") or b"") == b"7:*,$"
    assert not (parse(b"7") or parse(b"$")).saved  # type: ignore[union-attr]


PLACES = {
    "the first two": (PartialRange(1, 2), [10, 11]),
    "the middle": (PartialRange(2, 3), [11, 12]),
    "beyond the end is cut": (PartialRange(4, 9), [13, 14]),
    "all beyond": (PartialRange(6, 9), []),
    "the first two, the other way round": (PartialRange(2, 1), [10, 11]),
    "the last two, the other way round": (PartialRange(-2, -1), [13, 14]),
    "the last": (PartialRange(-1, -1), [14]),
    "the last two": (PartialRange(-1, -2), [13, 14]),
    "before the last": (PartialRange(-2, -3), [12, 13]),
    "beyond the beginning is cut": (PartialRange(-4, -9), [10, 11]),
    "all before the beginning": (PartialRange(-6, -9), []),
}


@pytest.mark.parametrize(("part", "wanted"), PLACES.values(), ids=PLACES.keys())
def test_places_of_a_result(part: PartialRange, wanted: list[int]) -> None:
    """RFC 9394 §3.1: counted from the oldest, or with minus signs from the newest; always told rising."""
    assert [10, 11, 12, 13, 14][part.places(5)] == wanted
    assert [][part.places(0)] == []
