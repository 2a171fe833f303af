# SPDX-License-Identifier: Apache-2.0
"""Content on its way out: every line ends with CR LF, every dot that begins one is doubled, nothing else changes.

Obeys RFC 5321 §4.5.2 (transparency), §2.3.8 (no bare CR or LF leaves us), RFC 3030 §2 (chunks).
Must never know the session around it or the meaning of what it writes.
"""

from __future__ import annotations

import io
import re
from typing import Final

_LINE_END: Final = re.compile(rb"\r\n|\r|\n")


class LineEnds:
    """Makes bare CR and LF into CR LF and drops NUL, in any cut; sound pieces pass through untouched, a last CR is kept back."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = b""

    def feed(self, piece: bytes) -> bytes:
        """Give the piece as it may leave."""
        data = self._held + piece if self._held else piece
        self._held = b""
        if b"\0" in data:
            # RFC 5322 §2.1: content has no NUL; gone before lines are looked at, or it would hide a dot behind a line end.
            data = data.replace(b"\0", b"")
        if data.endswith(b"\r"):
            data, self._held = data[:-1], b"\r"
        kinds = io.IncrementalNewlineDecoder(None, translate=False)
        kinds.decode(data.decode("latin-1"), final=True)
        if kinds.newlines in {None, "\r\n"}:
            return data
        # Hardening, smuggling out: what the next server might take for a line end becomes one before dots are doubled.
        return _LINE_END.sub(b"\r\n", data)

    def finish(self) -> bytes:
        """Give what was kept back."""
        held, self._held = self._held, b""
        return b"\r\n" if held else b""


class DotWriter:
    """Writes the content of DATA: doubles dots, ends with CR LF . CR LF (RFC 5321 §4.5.2)."""

    __slots__ = ("_last", "_lines")

    def __init__(self) -> None:
        self._lines = LineEnds()
        # The end of the 354 exchange is the beginning of a line.
        self._last = b"\r\n"

    def feed(self, piece: bytes) -> bytes:
        """Give the octets to send for the next piece."""
        return self._stuff(self._lines.feed(piece))

    def finish(self) -> bytes:
        """Give the octets that end the content; a last line without its end gets one."""
        tail = self._stuff(self._lines.finish())
        return tail + (b".\r\n" if self._last == b"\r\n" else b"\r\n.\r\n")

    def _stuff(self, data: bytes) -> bytes:
        if not data:
            return b""
        stuffed = data.replace(b"\r\n.", b"\r\n..") if b"\r\n." in data else data
        # A dot that begins this piece, behind a CR LF that the last one ended with or that is cut in two.
        if self._last == b"\r\n" and data[:1] == b".":
            stuffed = b"." + stuffed
        self._last = (self._last + data[-2:])[-2:]
        return stuffed


class ChunkWriter:
    """Writes the content of BDAT: each piece a chunk of its own, the last one empty (RFC 3030 §2)."""

    __slots__ = ("_lines",)

    def __init__(self) -> None:
        self._lines = LineEnds()

    def feed(self, piece: bytes) -> bytes:
        """Give the command and the octets, empty if there is nothing to send yet."""
        data = self._lines.feed(piece)
        return b"BDAT %d\r\n%b" % (len(data), data) if data else b""

    def finish(self) -> bytes:
        """Give the last chunk."""
        data = self._lines.finish()
        return b"BDAT %d LAST\r\n%b" % (len(data), data)
