# SPDX-License-Identifier: Apache-2.0
"""Octets that came and were not used yet, taken as lines or as counted pieces.

Obeys RFC 5321 §2.3.8 (a line ends with CR LF and nothing else).
Must never know a protocol's commands, or why somebody wants a line.
"""

from __future__ import annotations

from moatmail.core.errors import RemoteProtocolError


class LineTooLongError(RemoteProtocolError):
    """The line is longer than the limit; where the next one begins is unknown."""


class BareLineEndError(RemoteProtocolError):
    """The line holds a CR or an LF of its own; where it ends is a matter of opinion."""


class Buffer:
    """A queue of octets: adding is amortised O(1), taking copies once, and a search never begins at the front again."""

    __slots__ = ("_data", "_searched")

    def __init__(self) -> None:
        self._data: bytes | bytearray = b""
        self._searched = 0

    def __len__(self) -> int:
        return len(self._data)

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Add octets; `bytes` that meet an empty buffer are kept without a copy."""
        if not self._data:
            self._data = bytes(data)
            self._searched = 0
            return
        if not isinstance(self._data, bytearray):
            self._data = bytearray(self._data)
        self._data += data

    def startswith(self, prefix: bytes) -> bool:
        """Tell whether the octets begin with `prefix`."""
        return self._data.startswith(prefix)

    def peek(self, count: int) -> bytes:
        """Give at most `count` octets and leave them."""
        return bytes(self._data[:count])

    def take(self, count: int) -> bytes:
        """Give the first `count` octets, or all if there are fewer."""
        if count >= len(self._data):
            return self.take_all()
        piece = bytes(self._data[:count])
        self._drop(count)
        return piece

    def take_all(self) -> bytes:
        """Give all octets."""
        piece = bytes(self._data)
        self.clear()
        return piece

    def line(self, limit: int) -> bytes | None:
        """Give the next line of at most `limit` octets without its CR LF, None if it is not whole yet; LineTooLongError, BareLineEndError."""
        place = self._data.find(b"\n", self._searched)
        if place < 0:
            self._searched = len(self._data)
            if self._searched > limit + 1:
                raise LineTooLongError("line over the limit")
            return None
        line = bytes(self._data[: place + 1])
        if not line.endswith(b"\r\n") or line.find(b"\r") != place - 1:
            raise BareLineEndError("line with a bare CR or LF")
        if place - 1 > limit:
            raise LineTooLongError("line over the limit")
        self._drop(place + 1)
        return line[:-2]

    def clear(self) -> None:
        """Forget everything."""
        self._data = b""
        self._searched = 0

    def _drop(self, count: int) -> None:
        self._searched = 0
        if count == len(self._data):
            self._data = b""
        elif isinstance(self._data, bytearray):
            del self._data[:count]
        else:
            # Pipelined commands: a bytearray forgets its front without moving the rest.
            self._data = bytearray(self._data)
            del self._data[:count]
