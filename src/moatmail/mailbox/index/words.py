# SPDX-License-Identifier: Apache-2.0
"""The distinct words of one message, by the kind of field they stand in: what the search index is made of.

Obeys RFC 3501 §6.4.4 (substrings, whatever the case) as `mailbox/search_message` reads it: these are the very texts it compares with, cut at blanks.
Must never know which message is meant, nor what anybody looks for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from enum import IntEnum
from typing import Final

import msgspec

from moatmail.core.errors import SealBrokenError
from moatmail.core.limits import mailbox as limits
from moatmail.crypto.seal import Purpose, SealKey
from moatmail.mailbox.criteria import fold
from moatmail.mailbox.search_message import summary_text
from moatmail.message.places import PartPlace
from moatmail.message.summary import Summary
from moatmail.message.text import Read, body_texts, header_text

VERSION: Final = 1
OVERLAP: Final = limits.WORD_OVERLAP
"""Characters that two pieces of a long word share: whatever is no longer than one more than this stands in one piece whole."""
_SPLIT: Final = 64 * 1024
_BLANK: Final = re.compile(r"\s")  # the same characters at which `str.split` cuts
# A header block whose words, cut at blanks as it stands, are those of its text: ASCII, whole lines, a blank behind every colon, nothing encoded.
_PLAIN_BLOCK: Final = re.compile(rb"(?:[!-9;-~]++:(?:[ \t][^\r\n\0]*+)?\r\n(?:[ \t][^\r\n\0]*+\r\n)*+)*+(?:\r\n)?")


class FieldClass(IntEnum):
    """Where a word stands; HEADER is the whole header block, names of fields included, BODY all texts that a body search looks into."""

    FROM = 0
    TO = 1
    CC = 2
    BCC = 3
    SUBJECT = 4
    HEADER = 5
    BODY = 6


_SUMMARY_FIELDS: Final = (b"from", b"to", b"cc", b"bcc", b"subject")


class Words(msgspec.Struct, frozen=True, array_like=True):
    """The words of a message: for each FieldClass a text in UTF-8, each word between line feeds, empty where there is none.

    `whole` is False where the words of the body were too many to be kept: then only the body itself tells what is in it.
    """

    version: int
    whole: bool
    texts: tuple[bytes, bytes, bytes, bytes, bytes, bytes, bytes]


class BodyWords(msgspec.Struct, frozen=True):
    """The words of a body, as `Words` has them."""

    text: bytes = b""
    whole: bool = True


# ---------------------------------------------------------------- making


def words_text(folded: Iterable[str]) -> bytes | None:
    """Give the distinct words of folded texts as one text, each word between line feeds; None where they are too many to be kept.

    Words longer than WORD_CHARACTERS are given as pieces of that length, each sharing OVERLAP characters with the next.
    """
    words: set[str] = set()
    for text in folded:
        for piece in _split(text):
            words.update(piece.split())
            if len(words) > limits.WORDS_MAX:
                return None
    long = _long(words)
    if sum(map(len, long)) > limits.WORDS_OCTETS // 2:
        return None
    octets = _joined(words, long)
    return octets if len(octets) <= limits.WORDS_OCTETS else None


def _all_words_text(folded: str) -> bytes:
    """Give the words of a text that is bounded already, however many: of a header nobody can be told that some of its words are missing."""
    words: set[str] = set()
    for piece in _split(folded) if len(folded) > _SPLIT else (folded,):
        words.update(piece.split())
    return _joined(words, _long(words))


def _long(words: set[str]) -> list[str]:
    """Give the words that are longer than a piece; in most texts there are none, which one pass without Python's own steps finds."""
    if max(map(len, words), default=0) <= limits.WORD_CHARACTERS:
        return []
    return [word for word in words if len(word) > limits.WORD_CHARACTERS]


def _joined(words: set[str], long: list[str]) -> bytes:
    """Join words, the long ones among them in pieces."""
    if not words:
        return b""
    words.difference_update(long)
    size = limits.WORD_CHARACTERS
    for word in long:
        words.update([word[start : start + size] for start in range(0, len(word) - OVERLAP, size - OVERLAP)])
    # Not sorted: that would take an eighth off their size, and as long as finding them took.
    return "\n".join(("", *words, "")).encode("utf-8", "surrogatepass")


def _split(text: str) -> Iterator[str]:
    """Cut at blanks: one call over megabytes would hold the interpreter for a tenth of a second."""
    start = 0
    while len(text) - start > _SPLIT and (match := _BLANK.search(text, start + _SPLIT)) is not None:
        yield text[start : match.start()]
        start = match.end()
    yield text[start:] if start else text


def header_words(block: bytes) -> bytes:
    """Give the words of a header block, which can be had in parts where each begins with a field: HEADER is their concatenation."""
    # A header block is bounded, and so are its words: by compatibility forms some times as many octets (a square kilometre is six letters).
    if block.isascii() and b"=?" not in block and _PLAIN_BLOCK.fullmatch(block) is not None:
        return _all_words_text(block.decode("ascii").lower())
    return _all_words_text(fold(header_text(block)))


def body_words(root: PartPlace, read: Read) -> BodyWords:
    """Give the words of a body; what `read` raises passes through."""
    text = words_text(fold(text) for text in body_texts(root, read))
    return BodyWords(b"", whole=False) if text is None else BodyWords(text)


def summary_words(summary: Summary) -> tuple[bytes, bytes, bytes, bytes, bytes]:
    """Give the words of From, To, Cc, Bcc and Subject, as a search for one of these fields reads them."""
    first, second, third, fourth, fifth = [_all_words_text(summary_text(summary, name)) for name in _SUMMARY_FIELDS]
    return first, second, third, fourth, fifth


class ContentWords(msgspec.Struct, frozen=True):
    """The words that all recipients of a content share: those of the header as it is stored, and of the body."""

    header: bytes
    body: BodyWords


def join(fields: tuple[bytes, bytes, bytes, bytes, bytes], header: bytes, body: BodyWords) -> Words:
    """Put the words of a message together."""
    return Words(VERSION, body.whole, (*fields, header, body.text))


# ---------------------------------------------------------------- keeping

_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(Words)


def encode(words: Words) -> bytes:
    """Give words as compact octets (MessagePack), their version first."""
    return _ENCODER.encode(words)


def decode(octets: bytes) -> Words:
    """Read what `encode` wrote; ValueError on damage or a version we do not know."""
    try:
        words = _DECODER.decode(octets)
    except msgspec.MsgspecError as error:
        raise ValueError("not the words of a message") from error
    if words.version != VERSION:
        raise ValueError("words of a message in another version")
    return words


def seal(sealing: SealKey, account: int, message_id: bytes, words: Words) -> bytes:
    """Seal words under the message key: of this recipient alone, for they tell to which address a message came."""
    return sealing.seal(Purpose.WORDS, account, message_id, encode(words))


def open_words(sealing: SealKey, account: int, message_id: bytes, sealed: bytes) -> Words:
    """Open words; raises SealBrokenError for anything but exactly this message's."""
    octets = sealing.open(Purpose.WORDS, account, message_id, sealed)
    try:
        return decode(octets)
    except ValueError as error:
        raise SealBrokenError(f"words of {message_id.hex()}: {error}") from None
