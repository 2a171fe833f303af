# SPDX-License-Identifier: Apache-2.0
"""Encoded words in header values: reading and writing.

Obeys RFC 2047 §2 (form), §4 (B and Q), §5, §6.2 (adjacent words), RFC 2231 §5 (language tag).
Must never know which field a value comes from.
"""

from __future__ import annotations

import binascii
import re

from moatmail.core.limits.message import ENCODED_WORD_OCTETS_MAX, ENCODED_WORDS_MAX
from moatmail.message.charset import decode

_WORD = re.compile(rb"=\?([!-)+-<>@-~]{1,64}+)(?:\*[A-Za-z0-9-]{0,32}+)?\?([BbQq])\?([^?\r\n]{0,%d}+)\?=" % ENCODED_WORD_OCTETS_MAX)
_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/]++")
_CHUNK_OCTETS = 39  # in base64 52 characters: with =?utf-8?B??= under the 75 of RFC 2047 §2


def decode_words(value: bytes) -> str:
    """Give an unfolded value as text: encoded words decoded, raw octets read as UTF-8; never raises (RFC 2047 §6).

    Adjacent words of one charset are joined as octets first, since senders cut characters in two between words.
    """
    if b"=?" not in value:
        return decode(value, "utf-8")
    out: list[str] = []
    run = bytearray()
    run_charset = ""
    position = 0
    for count, match in enumerate(_WORD.finditer(value)):
        if count == ENCODED_WORDS_MAX:
            break
        between = value[position : match.start()]
        charset = match[1].decode("ascii").lower()
        # RFC 2047 §6.2: blanks between two encoded words are not shown.
        adjacent = count > 0 and not between.strip(b" \t")
        if not adjacent or charset != run_charset:
            out.append(decode(bytes(run), run_charset))
            run.clear()
        if not adjacent:
            out.append(decode(between, "utf-8"))
        run_charset = charset
        run += _octets(match[2], match[3])
        position = match.end()
    out.append(decode(bytes(run), run_charset))
    out.append(decode(value[position:], "utf-8"))
    return "".join(out)


def encode_words(text: str) -> list[bytes]:
    """Give a text as encoded words in UTF-8 and base64, none over 75 characters, no character cut in two (RFC 2047 §2, §5)."""
    words: list[bytes] = []
    chunk = b""
    for character in text:
        octets = character.encode("utf-8", "replace")
        if len(chunk) + len(octets) > _CHUNK_OCTETS:
            words.append(_word(chunk))
            chunk = b""
        chunk += octets
    if chunk:
        words.append(_word(chunk))
    return words


def _word(octets: bytes) -> bytes:
    return b"=?utf-8?B?" + binascii.b2a_base64(octets, newline=False) + b"?="


def _octets(kind: bytes, text: bytes) -> bytes:
    if kind in b"Qq":
        # RFC 2047 §4.2: "_" is a blank in any charset; header=True of the library does just that.
        return binascii.a2b_qp(text, header=True)
    return _unbase64(text)


def _unbase64(text: bytes) -> bytes:
    text = _NOT_BASE64.sub(b"", text)
    # A word cut in mid-quantum keeps what its complete octets say.
    if len(text) % 4 == 1:
        text = text[:-1]
    return binascii.a2b_base64(text + b"=" * (-len(text) % 4))
