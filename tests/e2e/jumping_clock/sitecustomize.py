# SPDX-License-Identifier: Apache-2.0
"""Makes the wall clock of every Python process that has this folder on its path a fixed distance from the true one, and lets it jump while it runs.

Python imports a module of this name at its start. The distance in seconds, a double, lies in the file that MOATMAIL_JUMPING_CLOCK names, mapped into memory, so
that all processes see a jump at once. The monotonic clock is left alone: that is what a real jump does.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from pathlib import Path

if path := os.environ.get("MOATMAIL_JUMPING_CLOCK"):
    with Path(path).open("rb") as file:
        _shared = mmap.mmap(file.fileno(), 8, access=mmap.ACCESS_READ)
    _time, _gmtime, _localtime, _gettime = time.time, time.gmtime, time.localtime, time.clock_gettime

    def _now() -> float:
        distance: float = struct.unpack("<d", _shared)[0]
        return _time() + distance

    time.time = _now
    time.time_ns = lambda: int(_now() * 1e9)
    time.gmtime = lambda seconds=None: _gmtime(_now() if seconds is None else seconds)
    time.localtime = lambda seconds=None: _localtime(_now() if seconds is None else seconds)
    time.clock_gettime = lambda clock: _now() if clock == time.CLOCK_REALTIME else _gettime(clock)
