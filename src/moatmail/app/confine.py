# SPDX-License-Identifier: Apache-2.0
"""What every process of ours gives up or promises: no core files, no readers of its memory, no life without its supervisor.

Obeys no RFC.
Must never know which role it confines.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
from collections.abc import Collection
from typing import Final

_SET_PDEATHSIG: Final = 1
_SET_DUMPABLE: Final = 4
_SET_NAME: Final = 15
_SET_CHILD_SUBREAPER: Final = 36
_SET_NO_NEW_PRIVS: Final = 38

_M_TRIM_THRESHOLD: Final = -1  # numbers of malloc.h
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
_LARGE_BLOCK: Final = 1024 * 1024
_HEAPS: Final = 2

_libc = ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, argument: int | bytes) -> None:
    value = ctypes.c_char_p(argument) if isinstance(argument, bytes) else ctypes.c_ulong(argument)
    if _libc.prctl(option, value, ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def guard_memory() -> None:
    """Let no core file and no debugger of the same user see this process's memory; files made from now on are 0600."""
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _prctl(_SET_DUMPABLE, 0)


def fill_standard_descriptors() -> None:
    """Open what is closed of 0, 1 and 2, so that no socket or database ever gets such a number and is written to as if it were the log."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the kernel gives the lowest free number: this one


def save_memory() -> None:
    """Have large blocks (a password hash takes 19 MiB) go back to the system when they are freed, and let threads share heaps; children inherit it.

    Left alone, glibc raises both thresholds after the first large block, and every process that hashed once keeps 19 MiB for ever.
    """
    if hasattr(_libc, "mallopt"):  # other C libraries give memory back by themselves
        _libc.mallopt(_M_MMAP_THRESHOLD, _LARGE_BLOCK)
        _libc.mallopt(_M_TRIM_THRESHOLD, 2 * _LARGE_BLOCK)
        _libc.mallopt(_M_ARENA_MAX, _HEAPS)


def adopt_orphans() -> None:
    """Become the parent of descendants whose parent ends, so that no process leaves our family."""
    _prctl(_SET_CHILD_SUBREAPER, 1)


def give_up_privileges() -> None:
    """Make sure that nothing this process starts gains rights (no setuid)."""
    _prctl(_SET_NO_NEW_PRIVS, 1)


def die_with(parent: int) -> None:
    """Have the kernel kill this process when `parent` ends; ends at once if it has ended already."""
    _prctl(_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it went before we asked
        os._exit(1)


def name_process(name: str) -> None:
    """Show `name` (15 octets at most) in process lists."""
    _prctl(_SET_NAME, name.encode()[:15])


def close_foreign(keep: Collection[int]) -> None:
    """Close every descriptor above 2 that is not in `keep`: what another role listens to is none of this one's."""
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - numbers, not paths
        descriptor = int(name)
        if descriptor > 2 and descriptor not in keep:
            with contextlib.suppress(OSError):  # the one that listed the folder is gone already
                os.close(descriptor)
