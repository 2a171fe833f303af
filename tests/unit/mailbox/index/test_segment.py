# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import msgspec
import pytest

from moatmail.core.errors import SealBrokenError
from moatmail.core.limits import mailbox as limits
from moatmail.crypto.seal import Purpose, SealKey, new_key
from moatmail.mailbox.index.segment import POSTINGS, Part, SegmentBuilder, open_part, open_postings
from moatmail.mailbox.index.words import BodyWords, FieldClass, Words, join, words_text

KEY = SealKey(new_key())
ID = b"i" * 16
FIRST = "9901940301cd0380019003c41c0a636f6d6d6f6e0a616c7068610a626574610a616c7068616265740a92920301920103c406000101000102c4060000000000009101"
"""A part as version 1 wrote it: messages 3, 4, 900 and 901, "common alpha", "common beta", "common alphabet" and nothing."""


def subject(text: str) -> Words:
    return join((b"", b"", b"", b"", words_text((text,)) or b""), b"", BodyWords())


def merged(*subjects: str) -> Part:
    builder = SegmentBuilder()
    for number, text in enumerate(subjects, 1):
        builder.add(number, subject(text))
    return open_part(KEY, 1, ID, FieldClass.SUBJECT, dict(builder.seal(KEY, 1, ID))[FieldClass.SUBJECT])


def find(part: Part, needle: bytes) -> list[int]:
    found: set[int] = set()
    assert part.find(needle, found) == -1
    return sorted(found)


def test_a_needle_is_found_inside_words_at_their_ends_and_in_words_of_one_and_of_many() -> None:
    part = merged("common alpha", "common beta", "common alphabet", "")
    assert find(part, b"mmo") == [0, 1, 2]
    assert find(part, b"alpha") == [0, 2]
    assert find(part, b"alpha\n") == [0]
    assert find(part, b"\nbet") == [1]
    assert find(part, b"\nalphabet\n") == [2]
    assert find(part, b"gamma") == []
    assert part.filled == 3


def test_places_beyond_an_octet_and_many_words_are_told_apart() -> None:
    part = merged(*[f"w{place} even" if place % 2 else f"w{place}" for place in range(900)])
    assert find(part, b"\nw777\n") == [777]
    assert find(part, b"even") == list(range(1, 900, 2))
    assert find(part, b"w30") == [30, *range(300, 310)]


def test_a_look_ends_once_every_message_is_found() -> None:
    part = merged("the one", "the two", "the three")
    found: set[int] = set()
    assert part.find(b"e", found, 0, 1) == -1  # "the" has them all: the second word is not looked at
    assert found == {0, 1, 2}


def test_message_numbers_keep_their_distance() -> None:
    builder = SegmentBuilder()
    numbers = [5, 6, 1000, 2**40, 2**40 + 1]
    for number in numbers:
        builder.add(number, subject("x"))
    with pytest.raises(ValueError, match="rise"):
        builder.add(2**40 + 1, subject("x"))
    assert [list(open_part(KEY, 1, ID, FieldClass(kind), sealed).numbers) for kind, sealed in builder.seal(KEY, 1, ID)] == [numbers] * 7


def test_messages_whose_words_are_not_all_there_are_named() -> None:
    builder = SegmentBuilder()
    for number, whole in enumerate((True, False, True), 1):
        builder.add(number, join((b"",) * 5, b"", BodyWords(b"", whole=whole)))
    parts = {kind: open_part(KEY, 1, ID, FieldClass(kind), sealed) for kind, sealed in builder.seal(KEY, 1, ID)}
    assert [parts[kind].unknown for kind in FieldClass] == [[]] * 6 + [[1]]


def test_a_segment_is_full_by_messages_or_by_octets() -> None:
    builder = SegmentBuilder()
    for number in range(limits.SEGMENT_MESSAGES):
        assert not builder.full
        builder.add(number, subject("x"))
    assert builder.full
    builder, large = SegmentBuilder(), subject(" ".join(f"{place:060}" for place in range(16_000)))
    for number in range(9):
        builder.add(number, large)
    assert builder.full


def test_parts_open_for_their_account_segment_and_class_only() -> None:
    builder = SegmentBuilder()
    builder.add(1, subject("x"))
    sealed = dict(builder.seal(KEY, 1, ID))
    for account, segment_id, kind in ((2, ID, FieldClass.TO), (1, b"j" * 16, FieldClass.TO), (1, ID, FieldClass.CC)):
        with pytest.raises(SealBrokenError):
            open_part(KEY, account, segment_id, kind, sealed[FieldClass.TO])


def test_what_is_no_part_of_our_version_is_refused() -> None:
    head = bytes((0x98, 0xC4, 0, 0x90, 0, 0xC4, 0, 0xC4, 0, 0xC4, 0, 0xC4, 0, 0xC4, 0))
    Part(b"\2\0\0\0" + bytes((len(head),)) + head)
    damaged = (b"\3\0\0\0" + bytes((len(head),)) + head, b"\2\0\0\0\4" + head, b"\2\xff\xff\xff\xff" + head, b"\2")
    first = bytes((0x99, 2, 0x90, 0x90, 0, 0xC4, 0, 0x90, 0xC4, 0, 0xC4, 0, 0x90))
    for octets in (b"", b"\x90", first, *damaged):
        with pytest.raises(ValueError, match="part of a segment"):
            Part(octets)
        with pytest.raises(SealBrokenError):
            open_part(KEY, 1, ID, FieldClass.TO, KEY.seal(Purpose.SEGMENT, 1, ID + b"\1", octets))


def test_a_part_that_contradicts_itself_is_refused() -> None:
    # One word in one message, of whose postings none is there.
    one, four, eight = bytes((0xC4, 2, 1, 0)), bytes((0xC4, 4, 1, 0, 0, 0)), bytes((0xC4, 8, 1, 0, 0, 0, 0, 0, 0, 0))
    head = b"\x98" + eight + bytes((0x90, 1)) + one + four + four + bytes((0xC4, 0, 0xC4, 0))
    first = bytes((0x99, 1, 0x91, 1, 0x90, 1, 0xC4, 3)) + b"\nx\n" + bytes((0x91, 0x92, 1, 1, 0xC4, 0, 0xC4, 0, 0x91, 1))
    for octets in (b"\2\0\0\0" + bytes((len(head),)) + head + b"\nx\n", first):
        with pytest.raises(ValueError, match="contradicts"):
            Part(octets)


def test_a_part_of_the_first_version_is_read_as_it_was_written() -> None:
    part = Part(bytes.fromhex(FIRST))
    assert list(part.numbers) == [3, 4, 900, 901]
    assert [find(part, needle) for needle in (b"mmo", b"alpha\n", b"\nbet", b"alpha", b"gamma")] == [[0, 1, 2], [0], [1], [0, 2], []]
    assert (part.filled, part.unknown) == (3, [])


def test_postings_that_are_many_lie_apart_and_vocabularies_tell_without_them_what_nobody_wrote(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SEGMENT_POSTINGS", 4)
    builder = SegmentBuilder()
    for number, text in enumerate(("common alpha", "common beta", "common alphabet"), 1):
        builder.add(number, subject(text))
    sealed = dict(builder.seal(KEY, 1, ID))
    assert sorted(sealed) == [*range(7), FieldClass.SUBJECT + POSTINGS]
    part = open_part(KEY, 1, ID, FieldClass.SUBJECT, sealed[FieldClass.SUBJECT])
    assert (part.postings, part.has(b"alph"), part.has(b"\npha"), part.has(b"gamma")) == (None, True, False, False)
    with pytest.raises(ValueError, match="apart"):
        part.find(b"alph", set())
    apart = sealed[FieldClass.SUBJECT + POSTINGS]
    postings = open_postings(KEY, 1, ID, FieldClass.SUBJECT, apart)
    found: set[int] = set()
    assert part.find(b"alph", found, postings=postings) == -1
    assert found == {0, 2}
    for account, segment_id, kind in ((2, ID, FieldClass.SUBJECT), (1, b"j" * 16, FieldClass.SUBJECT), (1, ID, FieldClass.BODY)):
        with pytest.raises(SealBrokenError):
            open_postings(KEY, account, segment_id, kind, apart)
    with pytest.raises(SealBrokenError):
        open_part(KEY, 1, ID, FieldClass.SUBJECT, apart)
    with pytest.raises(ValueError, match="contradicts"):
        part.find(b"alph", set(), postings=msgspec.structs.replace(postings, low=b"\0" * 4))


def test_no_look_at_a_vocabulary_sees_what_stands_before_it() -> None:
    """The head has message numbers: they may look like letters."""
    builder = SegmentBuilder()
    for number in (0x61, 0x62, 0x6A, 0x6B62):
        builder.add(number, subject("zz"))
    part = open_part(KEY, 1, ID, FieldClass.SUBJECT, dict(builder.seal(KEY, 1, ID))[FieldClass.SUBJECT])
    assert [part.has(bytes((octet,))) for octet in range(1, 256)] == [octet in b"\nz" for octet in range(1, 256)]
    assert find(part, b"a") == []
