# SPDX-License-Identifier: Apache-2.0
"""The delivery keys that a process which delivers holds for a moment: one agreement with an account's public half serves what comes in a minute.

Obeys docs/security.md: what was delivered before that minute cannot be read by who takes the process over.
Must never know a private half, nor a message.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from moatmail.core.limits import crypto as limits
from moatmail.crypto.cover import DeliveryKey, MessageKeys, cover_to_public


class DeliveryCovers:
    """Covers for messages on their way in, on one event loop; every key is dropped when its time is over, whether or not anything is delivered then."""

    __slots__ = ("_keys", "_timer")

    def __init__(self) -> None:
        """Begin with no key."""
        self._keys: OrderedDict[tuple[int, bytes], tuple[float, DeliveryKey]] = OrderedDict()  # the oldest first
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._keys)

    def __repr__(self) -> str:
        return f"DeliveryCovers({len(self)} accounts)"

    def cover(self, public: bytes, account: int, message_id: bytes, keys: MessageKeys) -> bytes:
        """Cover the keys of a message for an account; raise SealBrokenError for a damaged public half."""
        known = self._keys.get((account, public))
        if known is None or known[1].covers >= limits.DELIVERY_KEY_COVERS:
            self._keys.pop((account, public), None)
            if len(self._keys) >= limits.DELIVERY_KEYS:
                return cover_to_public(public, account, message_id, keys)
            loop = asyncio.get_running_loop()
            known = self._keys[account, public] = loop.time() + limits.DELIVERY_KEY_SECONDS, DeliveryKey(public, account)
            self._arm(loop)
        return known[1].cover(message_id, keys)

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is None and self._keys:
            until, _ = next(iter(self._keys.values()))
            self._timer = loop.call_at(until, self._forget, loop)

    def _forget(self, loop: asyncio.AbstractEventLoop) -> None:
        """Drop the keys whose time is over."""
        self._timer = None
        now = loop.time()
        while self._keys and next(iter(self._keys.values()))[0] <= now:
            self._keys.popitem(last=False)
        self._arm(loop)
