# SPDX-License-Identifier: Apache-2.0
"""Port Clock: the only source of time.

Obeys no RFC.
Must never know time zones: epoch seconds (UTC) and a monotonic clock only.
"""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """Tells the time."""

    def now(self) -> float:
        """Give the wall clock in epoch seconds (UTC)."""

    def monotonic(self) -> float:
        """Give seconds that never go back, for measuring and deadlines."""
