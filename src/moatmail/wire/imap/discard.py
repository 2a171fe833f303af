# SPDX-License-Identifier: Apache-2.0
"""Reading and dropping the rest of a command nobody wants, so that its literals are never run as commands.

Obeys RFC 7888 §4 (non-synchronising literals of a refused command).
Must never know why the command was refused.
"""

from __future__ import annotations

from enum import Enum, auto

from moatmail.wire.imap.reader import Reader, read_marker


class Progress(Enum):
    """How far the dropping came."""

    WAITING = auto()  # more input is needed
    DONE = auto()  # the command is over
    TOO_LARGE = auto()  # the client announces more than is worth reading


class Discard:
    """One command's rest: a literal, then text, perhaps with further literals that do not wait for us."""

    __slots__ = ("_dropped", "_limit", "_reader", "_remaining")

    def __init__(self, reader: Reader) -> None:
        """Drop from `reader`."""
        self._reader = reader
        self._remaining = 0
        self._dropped = 0
        self._limit = 0

    def begin(self, size: int, limit: int) -> None:
        """Start with a literal of `size` octets (0: with text); `limit` bounds all literals of the command together."""
        self._remaining = size
        self._dropped = size
        self._limit = limit

    def step(self) -> Progress:
        """Drop what has come; bounded in memory whatever the sizes."""
        while self._dropped <= self._limit:
            self._remaining -= self._reader.skip(self._remaining)
            if self._remaining:
                return Progress.WAITING
            tail = self._reader.skip_line()
            if tail is None:
                return Progress.WAITING
            marker = read_marker(tail)
            if marker is None or marker.waits:
                return Progress.DONE  # a client that waits was answered with the tagged line
            self._remaining = marker.size
            self._dropped += marker.size
        return Progress.TOO_LARGE
