# SPDX-License-Identifier: Apache-2.0
"""The input of an IMAP session: lines and literals out of octets, each looked at once.

Obeys RFC 3501 §2.2 and §4.3, RFC 7888 §4 (literals).
Must never know a command.
"""

from __future__ import annotations

from dataclasses import dataclass

from moatmail.wire.imap.grammar import MARKER

_SIZE_DIGITS = 18  # beyond it a literal is larger than anything


@dataclass(frozen=True, slots=True)
class LiteralMarker:
    """The announcement of a literal at the end of a line: `size` in octets, `waits` for a continuation, `binary` of RFC 3516."""

    size: int
    waits: bool
    binary: bool


def read_marker(line: bytes) -> LiteralMarker | None:
    """Find the literal announced at the end of `line`, if any."""
    if not line.endswith(b"}"):
        return None
    start = line.rfind(b"{")
    if start < 0 or not MARKER.fullmatch(line, start):
        return None
    waits = line[-2:-1] != b"+"
    digits = line[start + 1 : -1 if waits else -2].lstrip(b"0")
    size = int(digits or b"0") if len(digits) <= _SIZE_DIGITS else 10**_SIZE_DIGITS
    return LiteralMarker(size, waits, binary=line[start - 1 : start] == b"~")


class Reader:
    """Buffered input; a line ends with LF, a CR before it belongs to the end."""

    __slots__ = ("_buffer", "_scanned", "_tail")

    def __init__(self) -> None:
        """Begin empty."""
        self._buffer = bytearray()
        self._scanned = 0  # octets known to hold no LF
        self._tail = b""

    def __len__(self) -> int:
        """Tell how many octets wait."""
        return len(self._buffer)

    def feed(self, data: bytes) -> None:
        """Add input."""
        self._buffer += data

    def clear(self) -> None:
        """Forget what waits."""
        self._buffer.clear()
        self._scanned = 0
        self._tail = b""

    def line(self) -> bytes | None:
        """Take a whole line without its end, or None while there is none."""
        end = self._buffer.find(b"\n", self._scanned)
        if end < 0:
            self._scanned = len(self._buffer)
            return None
        stop = end - 1 if end and self._buffer[end - 1] == 0x0D else end
        line = bytes(self._buffer[:stop])
        del self._buffer[: end + 1]
        self._scanned = 0
        return line

    def overlong(self, limit: int) -> bool:
        """Tell whether the line that waits for its end is longer than `limit` already."""
        return self._scanned > limit

    def peek(self, size: int) -> bytes:
        """Look at the first octets that wait."""
        return bytes(self._buffer[:size])

    def take(self, size: int) -> bytes:
        """Take at most `size` octets."""
        if size >= len(self._buffer):
            data = bytes(self._buffer)
            self._buffer.clear()
        else:
            data = bytes(self._buffer[:size])
            del self._buffer[:size]
        self._scanned = 0
        return data

    def skip(self, size: int) -> int:
        """Drop at most `size` octets and tell how many were dropped."""
        dropped = min(size, len(self._buffer))
        del self._buffer[:dropped]
        self._scanned = 0
        return dropped

    def skip_line(self) -> bytes | None:
        """Drop input up to the end of the line; None while it has not come, then the last octets of the line, for its marker."""
        line = self.line()
        keep = 40  # longer than any marker with a sensible size
        if line is None:
            self._tail = (self._tail + self._buffer[-keep:])[-keep:]
            self._buffer.clear()
            self._scanned = 0
            return None
        tail = (self._tail + line)[-keep:].removesuffix(b"\r")  # the CR may have come, and been dropped, before its LF
        self._tail = b""
        return tail
