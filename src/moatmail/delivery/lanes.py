# SPDX-License-Identifier: Apache-2.0
"""How many messages go to one destination at once; the others wait for their turn.

Obeys RFC 5321 §4.5.4.1 (a client should not press a host).
Must never know what is sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


class Lanes:
    """One lane for each destination in use, as wide as `width` said when it was opened; an empty lane is forgotten."""

    def __init__(self, width: Callable[[], int]) -> None:
        self._width = width
        self._lanes: dict[str, tuple[asyncio.Semaphore, list[None]]] = {}

    def __len__(self) -> int:
        return len(self._lanes)

    @asynccontextmanager
    async def enter(self, destination: str) -> AsyncIterator[None]:
        """Wait for a place in the lane to `destination` and hold it for the block."""
        lane = self._lanes.setdefault(destination, (asyncio.Semaphore(self._width()), []))
        places, users = lane
        users.append(None)
        try:
            async with places:
                yield
        finally:
            users.pop()
            if not users and self._lanes.get(destination) is lane:
                del self._lanes[destination]
