# SPDX-License-Identifier: Apache-2.0
"""Room on the disk that is kept for deleting: without it nobody could make room on a full disk, for deleting writes a log first.

Obeys RFC 5321 §6.1 (a predictable shortage of resources must not lose mail).
Must never know what is written.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from moatmail.core.limits import store as limits

FILE: Final = "reserve"
_ENOUGH: Final = 3


class Reserve:
    """A file of `FREE_OCTETS` that stands for free room, given up when others have filled the disk."""

    def __init__(self, folder: Path) -> None:
        """Take the data folder, and make the reserve where there is room enough."""
        self._folder = folder
        self._path = folder / FILE
        self._held = self._path.exists()
        self.restore()

    def growth_allowed(self, inside: Callable[[], int]) -> bool:
        """Tell whether what grows may be taken now; on a disk that is nearly full the reserve is given up for what does not grow.

        `inside` gives the octets that the database holds free within its file: a file never shrinks, so room made by deleting is found there alone.
        """
        free = self._free()
        if free < limits.FREE_OCTETS // 4:
            self._release()
        return free >= limits.FREE_OCTETS or (free >= limits.FREE_OCTETS // 2 and free + inside() >= limits.FREE_OCTETS)

    def restore(self) -> None:
        """Make the reserve (again) when there is plenty of room."""
        if self._held or self._free() < _ENOUGH * limits.FREE_OCTETS:
            return
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, max(1, limits.FREE_OCTETS))
            finally:
                os.close(descriptor)
        except OSError:
            self._release()
            return
        self._held = True

    @property
    def held(self) -> bool:
        """Tell whether the reserve is there."""
        return self._held

    def _release(self) -> None:
        self._held = False
        with contextlib.suppress(OSError):
            self._path.unlink()

    def _free(self) -> int:
        status = os.statvfs(self._folder)
        return status.f_bavail * status.f_frsize
