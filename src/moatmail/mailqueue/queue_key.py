# SPDX-License-Identifier: Apache-2.0
"""The public half of the queue: what every process seals to that hands something over to it.

Obeys no RFC; the tree of keys is told in docs/security.md.
Must never know the private half.
"""

from __future__ import annotations

from moatmail.store.interface import Store
from moatmail.store.queries import GetQueueKeys


class QueueKey:
    """The public half of the queue, asked once and kept."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._public: bytes | None = None

    async def get(self) -> bytes:
        """Give the public half; raises StoreUnavailableError."""
        if self._public is None:
            self._public = (await self._store.read(GetQueueKeys())).public
        return self._public
