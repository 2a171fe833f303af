# SPDX-License-Identifier: Apache-2.0
"""The lock of a data folder: one writer at a time, whatever program it is.

Obeys no RFC.
Must never know what lies in the folder.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Final

from moatmail.core.errors import ConfigError

FILE: Final = "lock"


class FolderInUseError(ConfigError):
    """Another process holds the folder: a server runs there, and is the way to its store."""


class InstanceLock:
    """Held until `release` or the end of the process and of those that inherited it."""

    def __init__(self, folder: Path) -> None:
        """Take the lock, making the folder (0700) where it is missing; raises FolderInUseError or ConfigError with one line that says what to do."""
        path = folder / FILE
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(f"{folder}: cannot be written ({error.strerror}); give another folder or its rights") from None
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(self._descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(self._descriptor)
            raise FolderInUseError(f"{folder}: in use by another Moatmail (process {holder or 'unknown'}); stop it or give another folder") from None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def fileno(self) -> int:
        """Give the descriptor, for a process that shall inherit the lock."""
        return self._descriptor

    def release(self) -> None:
        """Give the lock back."""
        os.close(self._descriptor)
