# SPDX-License-Identifier: Apache-2.0
"""Erasing: with the row goes the cover, and with the cover the only keys that open the message.

Obeys no RFC; the promise is told in docs/security.md.
Must never know who asked.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from moatmail.store.apply.work import Work
from moatmail.store.operations import EraseDue, TruncateWAL
from moatmail.store.sql import messages

EVERYTHING: Final = 2**31
"""As a limit: all that is due."""


def erase_due(work: Work, operation: EraseDue) -> int:
    """Erase messages whose recoverable time is over; give how many."""
    return erase_until(work, operation.now, operation.limit)


def erase_until(work: Work, now: float, limit: int) -> int:
    """Erase at most `limit` messages that were recoverable until before `now`."""
    rows = work.db.all(messages.DUE_FOR_ERASURE, {"now": now, "rows": limit})
    work.db.run_many(messages.ERASE_MESSAGE, [{"number": number} for number, _ in rows])
    drop_references(work, Counter(content for _, content in rows))
    return len(rows)


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
