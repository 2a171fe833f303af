# SPDX-License-Identifier: Apache-2.0
"""What a server's processes hold: descriptors, memory, files on their way. For tests that ask whether anything leaked."""

from __future__ import annotations

import contextlib
import re
import time
from pathlib import Path

from tests.e2e.trial import Trial, descendants

LINGER = 15.0  # a closed connection is read from for a while (core/limits/net.py LINGER_SECONDS)


def pids(server: Trial) -> list[int]:
    """Give the whole tree, the supervisor first."""
    return [server.pid, *descendants(server.pid)]


def descriptors(server: Trial) -> dict[int, int]:
    """Give the number of open descriptors of each process."""
    return {pid: len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids(server)}


def until_descriptors(server: Trial, wanted: dict[int, int]) -> dict[int, int]:
    """Wait until no process holds more than `wanted`; give what they hold then, or at the end of patience."""
    end = time.monotonic() + LINGER
    while time.monotonic() < end:
        if all(count <= wanted.get(pid, 0) for pid, count in descriptors(server).items()):
            break
        time.sleep(0.05)
    return descriptors(server)


def pss(server: Trial) -> int:
    """Give the proportional memory of the tree, octets (root only for others' processes)."""
    total = 0
    for pid in pids(server):
        with contextlib.suppress(OSError):
            if found := re.search(r"^Pss: +(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE):
                total += int(found[1]) * 1024
    return total


def unfinished(server: Trial) -> list[str]:
    """Give the temporary files of content on its way in."""
    return sorted(path.name for path in (server.folder / "mail" / "content" / "tmp").glob("*"))
