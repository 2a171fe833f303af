# SPDX-License-Identifier: Apache-2.0
"""Passwords that were right within the last ten minutes, as keyed hashes in memory that the processes of our users share and that is never written.

Obeys no RFC; docs/security.md says what it costs whoever takes over a process.
Must never know what was typed beyond the call, or hold anything of a password that was wrong.
"""

from __future__ import annotations

import hashlib
import hmac
from mmap import MADV_DONTDUMP, mmap
from pathlib import Path
from typing import Final

from moatmail.core.limits.directory import LOGIN_MEMORY_BUCKETS, LOGIN_MEMORY_SECONDS, LOGIN_MEMORY_WAYS, LOGIN_MEMORY_WINDOW

_KEY: Final = 32
_WINDOW: Final = 4
_MARK: Final = 28
_SLOT: Final = _WINDOW + _MARK
_BUCKET: Final = LOGIN_MEMORY_WAYS * _SLOT
_SIZE: Final = _KEY + LOGIN_MEMORY_BUCKETS * _BUCKET
_WINDOWS: Final = int(LOGIN_MEMORY_SECONDS / LOGIN_MEMORY_WINDOW)


class Remembered:
    """Marks of successes: made before the processes part, shared by those that keep it, gone with the last of them.

    A mark is a hash of account, kept credential, password and moment, under a key drawn at the start; so a new password, another account or a later moment
    gives another mark, and nothing needs to be taken back. Slots are written without a lock: one that was torn is nobody's mark.
    """

    def __init__(self) -> None:
        self._memory = mmap(-1, _SIZE)
        self._memory.madvise(MADV_DONTDUMP)
        # The key goes from the kernel straight to where it stays: `close` leaves no copy behind in a process of strangers.
        with Path("/dev/urandom").open("rb", buffering=0) as source, memoryview(self._memory) as view, view[:_KEY] as key:
            if source.readinto(key) != _KEY:
                raise OSError("the system gave no random octets")

    def close(self) -> None:
        """Forget all in this process, the key too; the other processes keep theirs."""
        self._memory.close()

    def knows(self, account: int, credential: bytes, secret: str, now: float) -> bool:
        """Tell whether this password was right for this credential of the account within the last ten minutes; `now` is monotonic."""
        present = _window(now)
        found = False
        for start in self._slots(account):
            slot = self._memory[start : start + _SLOT]
            window = int.from_bytes(slot[:_WINDOW], "big")
            if 0 <= present - window < _WINDOWS:
                found |= hmac.compare_digest(slot[_WINDOW:], self._mark(account, credential, secret, window))
        return found

    def note(self, account: int, credential: bytes, secret: str, now: float) -> None:
        """Remember that this password was right; the oldest mark that lies in its way goes."""
        window = _window(now)
        oldest = min(self._slots(account), key=lambda start: self._memory[start : start + _WINDOW])
        self._memory[oldest : oldest + _SLOT] = window.to_bytes(_WINDOW, "big") + self._mark(account, credential, secret, window)

    def _slots(self, account: int) -> range:
        """Give where the marks of an account may lie; which accounts meet there is nobody's to know."""
        place = hashlib.blake2b(account.to_bytes(8, "big"), key=self._memory[:_KEY], digest_size=4, person=b"bucket").digest()
        start = _KEY + int.from_bytes(place, "big") % LOGIN_MEMORY_BUCKETS * _BUCKET
        return range(start, start + _BUCKET, _SLOT)

    def _mark(self, account: int, credential: bytes, secret: str, window: int) -> bytes:
        head = b"%d:%d:%d:" % (account, window, len(credential))
        return hashlib.blake2b(head + credential + secret.encode(), key=self._memory[:_KEY], digest_size=_MARK, person=b"mark").digest()


def _window(now: float) -> int:
    """Give the number of a moment, from 1: an empty slot is of no moment there ever was."""
    return _WINDOWS + int(now / LOGIN_MEMORY_WINDOW)
