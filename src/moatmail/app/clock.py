# SPDX-License-Identifier: Apache-2.0
"""Port Clock as this machine has it.

Obeys no RFC.
Must never know time zones.
"""

from __future__ import annotations

import time


class SystemClock:
    """The machine's clocks."""

    def now(self) -> float:
        """Give the wall clock in epoch seconds (UTC)."""
        return time.time()

    def monotonic(self) -> float:
        """Give seconds that never go back."""
        return time.monotonic()
