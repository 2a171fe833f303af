# SPDX-License-Identifier: Apache-2.0
"""Port EventSink: where events go (implemented in `monitor`).

Obeys no RFC.
Must never block or raise.
"""

from __future__ import annotations

from typing import Protocol

from moatmail.core.events import Event


class EventSink(Protocol):
    """Takes events."""

    def emit(self, event: Event) -> None:
        """Take one event; never blocks, never raises."""
