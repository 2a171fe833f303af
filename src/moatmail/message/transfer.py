# SPDX-License-Identifier: Apache-2.0
"""Content transfer encodings undone, on whole bodies or piece by piece.

Obeys RFC 2045 §6.7 (quoted-printable), §6.8 (base64); goes on after padding, as list software makes it.
Must never know what the octets mean; never raises on content.
"""

from __future__ import annotations

import binascii
import re
from typing import Protocol

_BASE64_DELETE = bytes(octet for octet in range(256) if octet not in b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=")
_PADDING = re.compile(rb"=++")
_SOFT_BREAK_MAX = 1_024


class Decoder(Protocol):
    """Undoes an encoding piece by piece; pieces of any size give the same octets."""

    def feed(self, data: bytes) -> bytes:
        """Give the octets that are decided so far."""

    def finish(self) -> bytes:
        """Give the rest."""


def decoder(encoding: bytes) -> Decoder:
    """Give the decoder of a Content-Transfer-Encoding token, lower case; unknown ones pass octets through (RFC 2045 §6.4)."""
    return _DECODERS.get(encoding, _Identity)()


def decode_body(octets: bytes, encoding: bytes) -> bytes:
    """Undo a Content-Transfer-Encoding (lower case) of a whole body."""
    undo = decoder(encoding)
    return undo.feed(octets) + undo.finish()


class _Identity:
    def feed(self, data: bytes) -> bytes:
        return data

    def finish(self) -> bytes:
        return b""


class _Base64:
    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> bytes:
        # RFC 2045 §6.8: what is outside the alphabet is ignored, line ends first of all.
        text = self._rest + data.translate(None, _BASE64_DELETE)
        if b"=" not in text:
            whole = len(text) - len(text) % 4
            self._rest = text[whole:]
            return binascii.a2b_base64(text[:whole])
        # Padding ends a run, and another run may follow: each is decoded by itself.
        *runs, last = _PADDING.split(text)
        whole = len(last) - len(last) % 4
        self._rest = last[whole:]
        return b"".join([_unpadded(run) for run in runs]) + binascii.a2b_base64(last[:whole])

    def finish(self) -> bytes:
        rest, self._rest = self._rest, b""
        return _unpadded(rest)


def _unpadded(run: bytes) -> bytes:
    if len(run) % 4 == 1:
        run = run[:-1]
    return binascii.a2b_base64(run + b"=" * (-len(run) % 4))


class _QuotedPrintable:
    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> bytes:
        text = self._rest + data
        # Only whole lines are decided: blanks before a line end are dropped (RFC 2045 §6.7 rule 3), "=" joins lines.
        end = text.rfind(b"\n") + 1
        if not end and len(text) > _SOFT_BREAK_MAX:
            # A line without an end must not be kept whole; an "=" and blanks at its end are still open.
            end = len(text.rstrip(b" \t\r"))
            mark = text.find(b"=", max(end - 2, 0), end)
            end = mark if mark >= 0 else end
        self._rest = text[end:]
        return _unquote_printable(text[:end])

    def finish(self) -> bytes:
        rest, self._rest = self._rest, b""
        return _unquote_printable(rest)


# The look-behind lets a run of blanks be tried once only, from its beginning.
_TRAILING_BLANKS = re.compile(rb"(?<![ \t])[ \t]++(?=\r?\n)")


def _unquote_printable(text: bytes) -> bytes:
    if b" \r" in text or b" \n" in text or b"\t\r" in text or b"\t\n" in text:
        text = _TRAILING_BLANKS.sub(b"", text)
    return binascii.a2b_qp(text)


_DECODERS: dict[bytes, type[_Identity | _Base64 | _QuotedPrintable]] = {b"base64": _Base64, b"quoted-printable": _QuotedPrintable}
