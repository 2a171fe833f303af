# SPDX-License-Identifier: Apache-2.0
"""A number in memory that all processes of a node share: it is another one after every change of directory or settings.

Obeys no RFC.
Must never know what was changed.
"""

from __future__ import annotations

import struct
from mmap import mmap
from typing import Final

_NUMBER: Final = struct.Struct("=Q")


class Generation:
    """Made before the processes part. The store alone counts on, after a commit and before its answer leaves; others compare.

    Whoever reads it before he asks, and finds it the same later, knows that nothing was changed since his answer. A torn number is another number.
    """

    __slots__ = ("_memory",)

    def __init__(self) -> None:
        """Begin at 0."""
        self._memory = mmap(-1, _NUMBER.size)

    @property
    def number(self) -> int:
        """Give the number of now."""
        number: int = _NUMBER.unpack_from(self._memory)[0]
        return number

    def count(self) -> None:
        """Make it another number; the store's alone to do."""
        _NUMBER.pack_into(self._memory, 0, (self.number + 1) % (1 << 64))
