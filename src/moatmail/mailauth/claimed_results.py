# SPDX-License-Identifier: Apache-2.0
"""Authentication-Results that others wrote: which of them claim to be ours, by any reading, and how they go.

Obeys RFC 8601 §2.2 (the field), §2.5 (authserv-id), §5 (fields that claim to be ours are removed).
Must never know what the results in them say.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Final

from moatmail.core.domain import domain_for_eyes
from moatmail.core.limits.mailauth import AUTHSERV_OCTETS_MAX, RESULTS_FIELDS_MAX
from moatmail.message.encoded_word import decode_words
from moatmail.message.header import Header

FIELD_NAME: Final = "Authentication-Results"
_NAME: Final = FIELD_NAME.lower().encode()
_PLAIN: Final = bytes([*b"\t\r\n", *range(0x20, 0x7F)])
_CONTROLS: Final = bytes([*range(0x20), 0x7F])
# A field to readers that skip blanks, controls and what is not ASCII.
_HIDDEN: Final = re.compile(
    b"[^!-~]*+".join(re.escape(bytes([octet])) for octet in _NAME) + rb"[^!-~]*+:([^\n]*+(?:\n[ \t][^\n]*+)*+)\n?",
    re.IGNORECASE,
)
_MARK: Final = re.compile(rb'[;()"\\]')
_BRACKETS: Final = {b"(": 1, b")": -1}
_ESCAPED: Final = re.compile(rb"\\(.)", re.DOTALL)
_DOTS: Final = re.compile(r"\s*+\.\s*+")
_FIRST_DOTS: Final = re.compile(r"(?<![\w.-])\.++")
_IGNORED: Final = re.compile("[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff]++")


def remove_foreign(header: bytes, authserv_id: str) -> bytes:
    """Give a header block without the Authentication-Results fields that claim to be of `authserv_id`; the same object where there is none.

    A field claims it if any reading of what stands before its first semicolon finds that name: folded, commented, quoted, escaped, encoded, damaged
    (RFC 8601 §5). Others stay, ARC-Authentication-Results too; of more than RESULTS_FIELDS_MAX those further down go unread. Never raises.
    """
    # Nearly every message has no such field, and no octet that could hide one.
    if _NAME not in header.lower() and not header.translate(None, _PLAIN):
        return header
    kept: list[bytes] = []
    place = 0
    for count, (start, end, value) in enumerate(_fields(header)):
        # RFC 8601 §5: for safety's sake all of them may go; so they do where somebody wants us to read for long.
        if count >= RESULTS_FIELDS_MAX or claims(value, authserv_id):
            kept.append(header[place:start])
            place = end
    if not place:
        return header
    kept.append(header[place:])
    return b"".join(kept)


def _fields(block: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Give where each field of that name starts and ends, and its raw value; also what only a careless reader takes for one, in order."""
    fields = Header(block)
    place = 0
    for name, (start, middle, end) in zip(fields.names, fields.spans, strict=True):
        if start > place:
            yield from _hidden(block, place, start)
        if name == _NAME:
            yield start, end + 1, block[middle:end]
        place = end + 1
    yield from _hidden(block, place, len(block))


def _hidden(block: bytes, start: int, end: int) -> Iterator[tuple[int, int, bytes]]:
    """Look through lines that are no field of RFC 5322 §2.2; each that holds the name and a colon is given whole."""
    for match in _HIDDEN.finditer(block, start, end):
        yield max(start, block.rfind(b"\n", start, match.start()) + 1), match.end(), match[1]


def claims(value: bytes, authserv_id: str) -> bool:
    """Tell whether a field's raw value claims to be of `authserv_id`; one whose name does not end soon claims everything."""
    plain = value.translate(None, b"\r\n").lstrip(b"; \t\0")
    goes_on = len(plain) > AUTHSERV_OCTETS_MAX
    pattern = _pattern(authserv_id.removesuffix("."))
    for text in _readings(plain[:AUTHSERV_OCTETS_MAX]):
        head, ended = _head(text)
        if (goes_on and not ended) or any(pattern.search(form) is not None for form in _forms(head)):
            return True
    return False


def _readings(plain: bytes) -> Iterator[bytes]:
    """Give a value as readers of several kinds see it: a control ends a word to some and is nothing to others."""
    yield plain
    if plain.translate(None, _CONTROLS) != plain:
        yield plain.translate(None, _CONTROLS)
    if b"=?" in plain:
        # RFC 2047 §5 allows no encoded words here, but the usual library decodes a field before anybody looks at its syntax.
        yield decode_words(plain).encode("utf-8", "ignore")


def _head(plain: bytes) -> tuple[bytes, bool]:
    """Give the words before the first semicolon, without comments and quotes, and whether there was one; where a comment or string never ends, all words."""
    words: list[bytes] = []
    place = position = depth = 0
    quoted = False
    while (match := _MARK.search(plain, position)) is not None:
        position = match.end()
        mark = match[0]
        if mark == b"\\":
            position += 1
        elif mark == b'"' and not depth:
            quoted = not quoted
        elif mark in _BRACKETS and not quoted:
            # RFC 5322 §3.2.2: comments nest; a bracket that closes nothing counts as a blank.
            if not depth:
                words.append(plain[place : match.start()])
            depth = max(depth + _BRACKETS[mark], 0)
            place = position
        elif mark == b";" and not depth and not quoted:
            return _unquoted([*words, plain[place : match.start()]]), True
    return _unquoted([plain] if depth or quoted else [*words, plain[place:]]), False


def _unquoted(words: Iterable[bytes]) -> bytes:
    # What follows an equals sign is a result, not a name: a field without an authserv-id is of nobody.
    head, _, _ = _ESCAPED.sub(rb"\1", b" ".join(words)).replace(b'"', b" ").partition(b"=")
    return head


def _forms(head: bytes) -> Iterator[str]:
    """Give the words as they stand, and once more as one name where only blanks stand round dots (RFC 5322 §4.4), with letters that are the same to eyes."""
    text = head.decode("utf-8", "ignore").lower()
    yield text
    yield _FIRST_DOTS.sub("", _DOTS.sub(".", _normal(text)))


def _normal(text: str) -> str:
    return text if text.isascii() else _IGNORED.sub("", unicodedata.normalize("NFKC", text)).replace("\u3002", ".").lower()


@functools.lru_cache(maxsize=16)
def _pattern(authserv_id: str) -> re.Pattern[str]:
    """Give what finds the name as a whole word, each label in A- or U-form, a last dot or not."""
    labels = [{label, _normal(domain_for_eyes(label))} for label in authserv_id.lower().split(".")]
    name = r"\.".join(f"(?:{'|'.join(sorted(map(re.escape, forms)))})" for forms in labels)
    return re.compile(rf"(?<![\w.-]){name}(?!\.*+[\w-])")
