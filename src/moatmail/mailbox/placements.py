# SPDX-License-Identifier: Apache-2.0
"""Messages where they lie: flags changed, copied, moved, expunged; long lists in slices, each an operation of its own.

Obeys RFC 3501 §6.4.3-§6.4.7, RFC 4315 §2.1 (UID EXPUNGE), RFC 6851 (MOVE), RFC 7162 §3.1.3 (UNCHANGEDSINCE).
Must never know message numbers: UIDs only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from moatmail.core.limits.mailbox import BATCH, MOVED
from moatmail.crypto.seal import new_id
from moatmail.mailbox.opened import Opened
from moatmail.store.operations import Copied, Copy, Expunge, FlagsStored, Move, StoreFlags
from moatmail.store.queries import ListPlacements, MailboxRow


@dataclass(frozen=True, slots=True)
class FlagChange:
    """What to do with flags: `mode` "add", "remove" or "replace"; `unchanged_since` -1 for always."""

    mode: str
    flags: int
    keywords: tuple[str, ...] = ()
    unchanged_since: int = -1


def slices(uids: Sequence[int], size: int = BATCH) -> Iterator[tuple[int, ...]]:
    """Cut UIDs into the slices of one operation each."""
    return (tuple(uids[start : start + size]) for start in range(0, len(uids), size))


async def set_flags(opened: Opened, mailbox: int, uids: tuple[int, ...], change: FlagChange, now: float) -> FlagsStored:
    """Change the flags of one slice; raises NotFoundError when the mailbox is gone."""
    operation = StoreFlags(_id(now), opened.id, mailbox, uids, change.mode, change.flags, change.keywords, change.unchanged_since)
    return await opened.store.write(operation)


async def copy(opened: Opened, source: int, target: int, uids: Sequence[int], now: float) -> Copied:
    """Copy messages, all or none (RFC 3501 §6.4.7: a copy that fails leaves nothing behind)."""
    return await opened.store.write(Copy(_id(now), opened.id, source, target, tuple(uids)))


async def move(opened: Opened, source: int, target: int, uids: tuple[int, ...], now: float) -> Copied:
    """Move one slice of messages, each here or there and never both (RFC 6851 §3.3)."""
    return await opened.store.write(Move(_id(now), opened.id, source, target, uids))


async def move_all(opened: Opened, source: MailboxRow, target: int, now: float) -> None:
    """Move what lies in a mailbox as `source` shows it: what comes meanwhile stays, or a mailbox that gets mail without end were never moved."""
    while rows := await opened.store.read(ListPlacements(opened.id, source.id, 0, MOVED)):
        uids = tuple([row.uid for row in rows if row.uid < source.uidnext])
        if not uids:
            return
        await move(opened, source.id, target, uids, now)


async def expunge(opened: Opened, mailbox: int, uids: Sequence[int], now: float) -> None:
    r"""Remove those of `uids` that bear ``\Deleted``."""
    for part in slices(uids, MOVED):
        await opened.store.write(Expunge(opened.id, mailbox, part, now, _id(now)))


def _id(now: float) -> bytes:
    return new_id(int(now * 1000))
