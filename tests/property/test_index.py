# SPDX-License-Identifier: Apache-2.0
"""The index never lies: words and segments of texts find what is in the texts, for certain where they say so, and miss nothing."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from moatmail.core.limits import mailbox as limits
from moatmail.crypto.seal import SealKey, new_key
from moatmail.mailbox.criteria import fold
from moatmail.mailbox.index.segment import POSTINGS, Part, Postings, SegmentBuilder, open_part, open_postings
from moatmail.mailbox.index.sought import Sought, sought
from moatmail.mailbox.index.words import BodyWords, FieldClass, Words, decode, encode, join, words_text

# Letters of several scripts, blanks of every kind, what folding changes, and control characters that are no blanks.
LETTERS = st.sampled_from([*"abAB.@=-0", "é", "e\u0301", "ß", "İ", "ﬁ", "ж", "Σ", "ς", "漢", "字", "か", "\u3099", "ب", "\u064b", "😀", "\xad", "\0", "\ufffd"])
BLANKS = st.sampled_from([" ", "\n", "\t", "\r\n", "\xa0", "\u3000", "\x1c", "\x85", "\u2028", "  "])
RUNS = st.one_of(
    st.lists(LETTERS, max_size=5).map("".join), st.lists(LETTERS, min_size=1, max_size=6).flatmap(lambda some: st.integers(1, 60).map("".join(some).__mul__))
)
TEXTS = st.lists(st.one_of(RUNS, BLANKS), max_size=14).map("".join)


@st.composite
def asked(draw: st.DrawFn) -> tuple[list[str], str]:
    """Give texts and a text to look for that often is a part of one of them."""
    texts = draw(st.lists(TEXTS, min_size=1, max_size=6))
    if draw(st.booleans()):
        return texts, draw(TEXTS)
    source = draw(st.sampled_from(texts))
    start = draw(st.integers(0, len(source)))
    return texts, source[start : start + draw(st.sampled_from([1, 2, 3, 8, 31, 32, 33, 34, 63, 64, 65, 66, 97, 127, 128, 129, 160, 200]))]


@settings(max_examples=100, deadline=None)
@given(asked(), st.sampled_from([64, 65, 100, 128]))
def test_words_cut_into_pieces_of_another_size_are_found_as_well(case: tuple[list[str], str], size: int) -> None:
    """What was kept when pieces were shorter stays as it is: only how much they overlap is promised."""
    texts, text = case
    looked_for = sought(fold(text))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "WORD_CHARACTERS", size)
        for one in map(fold, texts):
            answer = in_words(looked_for, words_text((one,)) or b"")
            assert answer is None or answer == (fold(text) in one), (one, text)


def in_words(looked_for: Sought, words: bytes) -> bool | None:
    """Tell what the words of one text say: True, False, or None where they cannot tell."""
    if not all(needle in words for needle in looked_for.needles):
        return False
    return True if looked_for.certain else None


@settings(max_examples=400, deadline=None)
@given(asked())
@example((["a" * 97], "a" * 33))
@example((["".join(chr(0x4E00 + place) for place in range(100))], "".join(chr(0x4E00 + place) for place in range(31, 65))))
@example((["ab" * 48 + "c"], "bc"))
@example((["x " + "ab" * 40], "x ab"))
@example((["0123456789" * 13], ("0123456789" * 13)[96:129]))
@example((["".join(map(chr, range(0x4E00, 0x4EA0)))], "".join(map(chr, range(0x4E60, 0x4E81)))))
@example((["".join(map(chr, range(0x4E00, 0x4EA1)))], "".join(map(chr, range(0x4E80, 0x4EA1)))))
@example(([("0123456789" * 10)[:96]], ("0123456789" * 10)[63:96]))
def test_words_tell_the_truth_or_nothing(case: tuple[list[str], str]) -> None:
    texts, text = case
    looked_for = sought(fold(text))
    for one in map(fold, texts):
        words = words_text((one,))
        assert words is not None
        answer = in_words(looked_for, words)
        assert answer is None or answer == (fold(text) in one), (one, text, words)
        if len(text.split()) == 1 and fold(text) and len(fold(text)) <= 33 and not any(map(str.isspace, fold(text))):
            assert answer is not None  # a short word never needs a last look


def message_words(text: str, *, whole: bool = True) -> Words:
    body = words_text((fold(text),))
    assert body is not None
    return join((b"", b"", b"", b"", b""), b"", BodyWords(body, whole))


@settings(max_examples=200, deadline=None)
@given(asked(), st.integers(1, 9))
def test_a_segment_says_of_each_message_what_its_own_words_say(case: tuple[list[str], str], step: int) -> None:
    texts, text = case
    sealing, builder = SealKey(new_key()), SegmentBuilder()
    singles = [message_words(one) for one in texts]
    for place, words in enumerate(singles):
        builder.add(1 + 1000 * place, words)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "SEGMENT_POSTINGS", 0 if step % 2 else 1000)
        sealed = dict(builder.seal(sealing, 7, b"s" * 16))
    part = open_part(sealing, 7, b"s" * 16, FieldClass.BODY, sealed[FieldClass.BODY])
    apart = sealed.get(FieldClass.BODY + POSTINGS)
    postings = open_postings(sealing, 7, b"s" * 16, FieldClass.BODY, apart) if apart else None
    assert list(part.numbers) == [1 + 1000 * place for place in range(len(texts))]
    again = part.texts(postings)
    assert [set(one.split(b"\n")) - {b""} for one in again] == [set(words.texts[FieldClass.BODY].split(b"\n")) - {b""} for words in singles]
    for needle in sought(fold(text)).needles:
        wanted = {place for place, words in enumerate(singles) if needle in words.texts[FieldClass.BODY]}
        found: set[int] = set()
        assert part.has(needle) == bool(wanted)
        assert part.find(needle, found, postings=postings) == -1
        assert found == wanted
        assert in_slices(part, needle, step, postings) == wanted


def in_slices(part: Part, needle: bytes, step: int, postings: Postings | None) -> set[int]:
    found: set[int] = set()
    start = 0
    while start >= 0:
        start = part.find(needle, found, start, step, postings)
    return found


@given(st.lists(TEXTS, max_size=3), st.booleans())
def test_words_survive_their_octets(texts: list[str], whole: bool) -> None:
    words = message_words(" ".join(texts), whole=whole)
    assert decode(encode(words)) == words
