# SPDX-License-Identifier: Apache-2.0
"""The shared table pid → role: written by the supervisor alone, read by every role to know who is at the other end of a local socket.

Obeys no RFC.
Must never be writable for a role: whoever takes one over must not give it another's rights.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
from typing import Final

from moatmail.app.roles import ROLES

CLI: Final = "cli"
"""An unknown process of the same user: the command line."""

NOBODY: Final = ""
"""A process that descends from a role or from the supervisor, but has no role itself: it may do nothing."""

SLOTS: Final = 1024
_SLOT: Final = 8  # pid and role number, four octets each
_SIZE: Final = SLOTS * _SLOT
_ADD_SEALS: Final = 1033  # fcntl.F_ADD_SEALS, of which Python 3.11 has no name on every build
_SEALS: Final = 0x1 | 0x2 | 0x4 | 0x10  # SEAL, SHRINK, GROW, FUTURE_WRITE: only the mapping that exists now can write
_ANCESTORS_MAX: Final = 64
_WALKS: Final = 4


class Roster:
    """The table as the supervisor has it; `reader_fd` is what roles map."""

    def __init__(self) -> None:
        """Make an empty table in memory that only this process can write."""
        descriptor = os.memfd_create("moatmail-roster", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(descriptor, _SIZE)
        self._map = mmap.mmap(descriptor, _SIZE)
        # Opened for reading, a mapping of it can never be made writable; the seal says the same to whoever opens it anew.
        self.reader_fd = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)
        with contextlib.suppress(OSError):  # FUTURE_WRITE needs Linux 5.1; without it the read-only descriptor still holds
            fcntl.fcntl(descriptor, _ADD_SEALS, _SEALS)
        os.close(descriptor)
        self._cells = memoryview(self._map).cast("I")

    def enter(self, slot: int, pid: int, role: str) -> None:
        """Write that `pid` has `role`, in the worker's slot."""
        self._cells[2 * slot + 1] = ROLES.index(role)
        self._cells[2 * slot] = pid

    def remove(self, slot: int) -> None:
        """Forget the slot's process; done before the pid is reaped, for then another process may get it."""
        self._cells[2 * slot] = 0

    def close_writer(self) -> None:
        """Give up the writable mapping: the first thing a role does."""
        self._cells.release()
        self._map.close()


class RosterView:
    """The table as a role sees it."""

    def __init__(self, reader_fd: int, supervisor: int) -> None:
        """Map the table for reading and close the descriptor; `supervisor` is the pid that keeps it."""
        self._map = mmap.mmap(reader_fd, _SIZE, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ)
        os.close(reader_fd)
        self._cells = memoryview(self._map).cast("I")
        self._supervisor = supervisor

    def role_of(self, pid: int) -> str:
        """Give the role of a local peer's pid: one of `ROLES`, `CLI`, or `NOBODY` for a descendant of a role."""
        if pid <= 0:  # a peer outside our pid namespace: the kernel has no number for it, and an empty slot holds the same 0
            return NOBODY
        for _ in range(_WALKS):  # an ancestor may end under our feet; its child then has another one
            found = self._judged(pid)
            if found is not None:
                return found
        return NOBODY

    def _judged(self, pid: int) -> str | None:
        """Walk from `pid` up to the first process; None when one was gone."""
        if role := self._entered(pid):
            return role
        parent = pid
        for _ in range(_ANCESTORS_MAX):
            parent = _parent_of(parent)
            if parent < 0:
                return None
            if parent <= 1:  # 0: our namespace ends here
                return CLI
            # Roles and the supervisor adopt orphans (subreaper), so nobody leaves the family by forking twice.
            if parent == self._supervisor or self._entered(parent):
                return NOBODY
        return NOBODY

    def _entered(self, pid: int) -> str:
        cells = self._cells
        for cell in range(0, 2 * SLOTS, 2):
            if cells[cell] == pid:
                role = cells[cell + 1]
                return ROLES[role] if cells[cell] == pid else NOBODY
        return NOBODY


def _parent_of(pid: int) -> int:
    """Give the parent's pid; -1 when the process is gone (nothing is granted to it)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - a number makes no path worth an object
            # The name in brackets may hold anything, brackets too: the fields count from the last one.
            return int(file.read().rpartition(b")")[2].split()[1])
    except (OSError, IndexError, ValueError):
        return -1
