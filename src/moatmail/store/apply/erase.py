# SPDX-License-Identifier: Apache-2.0
"""Erasing: with the row goes the cover, and with the cover the only keys that open the message.

Obeys no RFC; the promise is told in docs/security.md.
Must never know who asked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple

from moatmail.core.limits import store as limits
from moatmail.store.apply.work import Work
from moatmail.store.operations import EraseDue, TruncateWAL
from moatmail.store.sql import messages
from moatmail.store.sqlite import Row

EVERYTHING: Final = 2**31
"""As a limit: all that is due."""


def erase_due(work: Work, operation: EraseDue) -> int:
    """Erase messages whose recoverable time is over; give how many."""
    return erase_until(work, operation.now, operation.limit)


def erase_until(work: Work, now: float, limit: int) -> int:
    """Erase at most `limit` messages that were recoverable until before `now`, and no more octets than one slice; the writer goes on with the rest at once.

    What is erased is overwritten (`secure_delete`), and so takes as much room in the log: a nearly full disk has that for a slice, not for a mailbox.
    """
    rows = _slice(work.db.all(messages.DUE_FOR_ERASURE, {"now": now, "rows": limit}))
    work.effects.erase_more |= rows.more
    work.db.run_many(messages.ERASE_MESSAGE, [{"number": number} for number, _ in rows.taken])
    drop_references(work, Counter(content for _, content in rows.taken))
    return len(rows.taken)


class _Slice(NamedTuple):
    taken: list[tuple[int, bytes]]
    more: bool


def _slice(rows: Sequence[Row]) -> _Slice:
    """Take rows up to the octets of one slice, at least one."""
    taken: list[tuple[int, bytes]] = []
    octets = 0
    for number, content, size in rows:
        if taken and octets > limits.ERASE_OCTETS:
            return _Slice(taken, more=True)
        taken.append((number, content))
        octets += min(size, limits.INLINE_CONTENT)  # what is larger lies in a file, which goes without a log
    return _Slice(taken, more=False)


def drop_references(work: Work, references: Counter[bytes]) -> None:
    """Take references from contents; one without any goes, and its file after the commit."""
    for content, count in references.items():
        row = work.db.one(messages.CONTENT_STATE, {"id": content})
        if row is None:
            continue
        held, in_file = row
        if held > count:
            work.db.run(messages.REFER, {"of_id": content, "more": -count})
            continue
        work.db.run(messages.ERASE_CONTENT, {"id": content})
        if in_file:
            work.effects.gone_files.append(content)


def truncate_wal(work: Work, _operation: TruncateWAL) -> None:
    """Have the log emptied after this commit: no erased page lingers in it."""
    work.effects.truncate = True
