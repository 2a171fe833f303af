# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import random

import msgspec
import pytest

from moatmail.core.errors import SealBrokenError
from moatmail.core.limits import mailbox as limits
from moatmail.crypto.seal import Purpose, SealKey, new_key
from moatmail.mailbox.criteria import fold
from moatmail.mailbox.index import words
from moatmail.mailbox.index.words import BodyWords, FieldClass, body_words, header_words, join, summary_words, words_text
from moatmail.message.text import header_text
from tests.unit.mailbox.shelf import Mail

MESSAGE = Mail(
    b"From: =?utf-8?Q?Ann_L=C3=BC?= <Ann@Example.test>\r\nTo: bob@example.test\r\nSubject: =?utf-8?B?R3LDvMOfZQ==?=\r\nX-Mark: one two\r\n"
    b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nHello WORLD, hello\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>ta<b>gs</b> world,</p>\r\n"
    b"--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\nnested\r\n--b--\r\n"
)


def split(text: bytes) -> list[str]:
    return sorted(text.decode().split())


def test_each_class_has_the_words_that_a_search_there_compares_with() -> None:
    summary = MESSAGE.summary
    made = join(summary_words(summary), header_words(MESSAGE.header()), body_words(summary.root, MESSAGE.read))
    assert made.whole
    assert split(made.texts[FieldClass.FROM]) == ["<ann@example.test>", "ann", "lü"]
    assert split(made.texts[FieldClass.TO]) == ["bob@example.test"]
    assert made.texts[FieldClass.CC] == made.texts[FieldClass.BCC] == b""
    assert split(made.texts[FieldClass.SUBJECT]) == ["grüsse"]
    assert {"x-mark:", "one", "two", "subject:", "grüsse", "boundary=b"} <= set(split(made.texts[FieldClass.HEADER]))
    assert split(made.texts[FieldClass.BODY]) == ["gs", "hello", "inner", "nested", "subject:", "ta", "world,"]


_LINES = (
    b"Subject: one two\r\n",
    b"Subject:three\r\n",
    b"X : four\r\n",
    b"X:\tfive\r\n",
    b"X:\r\n six\r\n",
    b" seven\r\n",
    b"\teight\r\n",
    b"no field\r\n",
    b"no field\n",
    b"X: a\rb\r\n",
    b"X: a\0b\r\n",
    b"X: \x0b\x1cc\x0c\r\n",
    b"X: =?utf-8?Q?d_e?=\r\n",
    b"X: \xc3\xa4\r\n",
    b"X: LOUD\r\n",
    b"X: long " + b"y" * 200 + b"\r\n",
    b"\r\n",
    b"X: \r\n",
    b"From x@example.test\r\n",
    b"X: no end",
    b": nothing\r\n",
    b"X:  two  blanks \r\n",
    b"X: bare\nY: bare\n",
)


@pytest.mark.parametrize("seed", range(40))
def test_a_header_block_has_the_words_of_its_text_however_it_is_written(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(100):
        # Half of the blocks are made of lines that need no second look, with at most one that does.
        plain = [line for line in _LINES if line[:3] in {b"Sub", b"X:\t", b"X: "}] if chance.random() < 0.5 else _LINES
        block = b"".join([*chance.choices(plain, k=chance.randrange(5)), chance.choice(_LINES), b"\r\n" * chance.randrange(2)])
        expected = words_text([fold(header_text(block))])
        assert split(header_words(block)) == split(expected or b""), block


def test_long_words_are_kept_in_pieces_that_overlap() -> None:
    run = "".join(chr(0x4E00 + place) for place in range(300))
    assert split(words_text((run[:128],)) or b"") == [run[:128]]
    assert sorted(split(words_text((run[:129],)) or b""), key=run.index) == [run[0:128], run[96:129]]
    assert sorted(split(words_text((run,)) or b""), key=run.index) == [run[0:128], run[96:224], run[192:300]]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(" ".join(map(str, range(limits.WORDS_MAX + 1))), id="more distinct words than are gathered"),
        pytest.param(" ".join(f"{place:060}" for place in range(20_000)), id="words of more octets than are kept"),
        pytest.param("".join(map(str, range(200_000))), id="one word without an end"),
    ],
)
def test_too_many_words_are_not_kept_but_said_to_be_missing(text: str) -> None:
    assert words_text((text,)) is None
    mail = Mail(b"Subject: huge\r\n\r\n" + text.encode())
    assert body_words(mail.summary.root, lambda start, length: (mail.octets[start : start + length],)) == BodyWords(b"", whole=False)


def test_a_long_text_is_cut_at_blanks_only() -> None:
    rnd = random.Random(1)
    text = "".join(rnd.choice(["word", "x", "\u3000", " ", "\x1c", "ü", "漢字"]) for _ in range(200_000))
    folded = fold(text)
    short = {word for word in folded.split() if len(word) <= limits.WORD_CHARACTERS}
    assert short <= set((words_text((folded,)) or b"").decode().split("\n"))


def test_sealed_words_open_for_their_message_only() -> None:
    made = join((b"", b"", b"", b"", b"\nhi\n"), b"", BodyWords())
    sealing = SealKey(new_key())
    sealed = words.seal(sealing, 3, b"m" * 16, made)
    assert words.open_words(sealing, 3, b"m" * 16, sealed) == made
    for key, account, message_id in ((sealing, 4, b"m" * 16), (sealing, 3, b"n" * 16), (SealKey(new_key()), 3, b"m" * 16)):
        with pytest.raises(SealBrokenError):
            words.open_words(key, account, message_id, sealed)


@pytest.mark.parametrize("octets", [b"", b"\x93\x02\xc3\x90", words.encode(msgspec.structs.replace(join((b"",) * 5, b"", BodyWords()), version=2))])
def test_what_are_no_words_of_our_version_is_refused(octets: bytes) -> None:
    with pytest.raises(ValueError, match="words of a message"):
        words.decode(octets)
    sealing = SealKey(new_key())
    with pytest.raises(SealBrokenError):
        words.open_words(sealing, 1, b"m" * 16, sealing.seal(Purpose.WORDS, 1, b"m" * 16, octets))
