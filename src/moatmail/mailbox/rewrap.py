# SPDX-License-Identifier: Apache-2.0
"""Turns covers that strangers' messages came with into ones that open a hundred times faster, in batches beside the reading.

Obeys docs/security.md: covers 0x01 and 0x03 were sealed to the public half, 0x02 is wrapped with the mailbox key.
Must never know why an account is open.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from moatmail.core.errors import SealBrokenError
from moatmail.core.limits.mailbox import REWRAP_BATCH, REWRAP_PAUSE
from moatmail.crypto.cover import AccountKeys, rewrap
from moatmail.store.interface import Store
from moatmail.store.operations import NewCover, Rewrap
from moatmail.store.queries import MessageRow, OldCovers


async def rewrap_account(store: Store, account: int, keys: AccountKeys, still_open: Callable[[], bool]) -> int:
    """Re-wrap all covers of strangers' messages while the account is open; give how many of them do not open (they stay as they are)."""
    while still_open():
        rows = await store.read(OldCovers(account, REWRAP_BATCH))
        if not rows:
            return 0
        covers = await asyncio.to_thread(_rewrap_all, account, keys, rows)
        if not covers or not await store.write(Rewrap(account, covers)):
            return len(rows) - len(covers)
        await asyncio.sleep(REWRAP_PAUSE)
    return 0


def _rewrap_all(account: int, keys: AccountKeys, rows: Sequence[MessageRow]) -> tuple[NewCover, ...]:
    covers = (_rewrap_one(account, keys, row) for row in rows)
    return tuple(cover for cover in covers if cover is not None)


def _rewrap_one(account: int, keys: AccountKeys, row: MessageRow) -> NewCover | None:
    try:
        return NewCover(row.id, row.cover, rewrap(keys, account, row.id, row.cover))
    except SealBrokenError:
        return None
