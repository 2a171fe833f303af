# SPDX-License-Identifier: Apache-2.0
"""Port Random: chance that a test can fix (never for keys, nonces or passwords: those use the operating system's generator).

Obeys no RFC.
Must never know secrets.
"""

from __future__ import annotations

from collections.abc import MutableSequence
from typing import Any, Protocol


class Random(Protocol):
    """Gives chance."""

    def uniform(self, low: float, high: float) -> float:
        """Give a number between `low` and `high`."""

    def shuffle(self, items: MutableSequence[Any]) -> None:
        """Put `items` into a random order, in place."""
