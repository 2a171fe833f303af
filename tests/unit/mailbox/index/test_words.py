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


def test_long_words_are_kept_in_pieces_that_overlap() -> None:
    run = "".join(chr(0x4E00 + place) for place in range(150))
    assert sorted(split(words_text((run,)) or b""), key=run.index) == [run[0:64], run[32:96], run[64:128], run[96:150]]


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
    short = {word for word in folded.split() if len(word) <= 64}
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
