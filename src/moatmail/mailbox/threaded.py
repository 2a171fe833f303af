# SPDX-License-Identifier: Apache-2.0
"""Mail kept before there were threads given its own, while its account is open.

Obeys RFC 8474 §5.2 (a message without a THREADID may get one, once), docs/security.md (only who has the account open can read what ties messages).
Must never know what a thread is: `thread_links` says what ties messages, the store joins them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from moatmail.core.errors import SealBrokenError
from moatmail.core.limits.mailbox import THREADS_BATCH
from moatmail.mailbox.reading import Owner
from moatmail.mailbox.thread_links import links
from moatmail.mailbox.unsealing import open_summary
from moatmail.store.thread_items import AddThreads, ListUnthreaded, UnthreadedRow


async def give_threads(owner: Owner, still_open: Callable[[], bool]) -> int:
    """Give threads to the account's messages that have none, in the order in which they came; gives how many. Raises what the store raises."""
    given, after = 0, 0
    while still_open() and (rows := await owner.store.read(ListUnthreaded(owner.id, after, THREADS_BATCH))):
        after = rows[-1].number
        if made := await asyncio.to_thread(_links_of, owner, rows):
            given += await owner.store.write(AddThreads(owner.id, made))
    return given


def _links_of(owner: Owner, rows: Sequence[UnthreadedRow]) -> tuple[tuple[int, bytes], ...]:
    """Give the links of messages; one that does not open stays without a thread: whoever reads it tells of that."""
    made: list[tuple[int, bytes]] = []
    for row in rows:
        try:
            made.append((row.number, links(open_summary(owner.keys, owner.id, row))))
        except SealBrokenError:
            continue
    return tuple(made)
