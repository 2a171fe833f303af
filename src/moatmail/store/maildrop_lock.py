# SPDX-License-Identifier: Apache-2.0
"""One POP3 session of an account at a time, over all processes of a node.

Obeys RFC 1939 §4 (the maildrop is acquired for the session, or the login fails).
Must never know what a session does.

One file for all accounts: who holds account n holds octet n of it. Nothing is written, nothing has to be cleaned up, and the kernel lets go of
what a killed process held. Where several nodes share a store, a lease in it has to take this place.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Final

FILE: Final = "pop3.lock"


class MaildropLock:
    """The locks of one process; no other code of it may open the file, for closing any descriptor of it would let go of all."""

    def __init__(self, folder: Path) -> None:
        """Open the file in `folder`, which the processes of a node share and nobody else can enter; raises OSError."""
        self._descriptor = os.open(folder / FILE, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        self._held: set[int] = set()

    def acquire(self, account: int) -> bool:
        """Take an account's maildrop; False when a session has it. Raises OSError when the kernel has no room for a lock."""
        if account in self._held:  # the kernel would give it to the same process again
            return False
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, account)
        except (BlockingIOError, PermissionError):
            return False
        self._held.add(account)
        return True

    def release(self, account: int) -> None:
        """Give it back."""
        self._held.discard(account)
        fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, account)

    def close(self) -> None:
        """Let go of everything."""
        self._held.clear()
        os.close(self._descriptor)
