# SPDX-License-Identifier: Apache-2.0
"""What was expunged and can still be brought back: until when, and how much of it an account may have.

Obeys RFC 9208 §3 (what is expunged leaves the quota at once).
Must never know how a message is erased: what is too much is only made due.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import msgspec

from moatmail.core.limits import store as limits
from moatmail.store.apply.work import Work
from moatmail.store.sql import directory, messages, state
from moatmail.store.sqlite import Database

RECOVERABLE_DAYS: Final = "store.recoverable_days"
RECOVERABLE_OCTETS: Final = "store.recoverable_octets"
_DEFAULTS: Final = {RECOVERABLE_DAYS: 25.0, RECOVERABLE_OCTETS: 20 * 2.0**30}
_DAY: Final = 86400.0


def erases_at_once(db: Database) -> bool:
    """Tell whether what is expunged is erased by the very operation."""
    return _setting(db, RECOVERABLE_DAYS) <= 0


def recoverable_until(work: Work, at: float) -> float:
    """Give until when what is expunged at `at` can be brought back; the setting is in days, 0 means that the next erasure takes it."""
    return at + _setting(work.db, RECOVERABLE_DAYS) * _DAY


def _setting(db: Database, key: str) -> float:
    row = db.one(state.GET_SETTING, {"name": key})
    try:
        return msgspec.json.decode(row[0], type=float) if row else _DEFAULTS[key]
    except msgspec.MsgspecError:
        return _DEFAULTS[key]


def leave_quota(work: Work, account: int, number: int, octets: int) -> None:
    """Count messages that became recoverable: their room is free again, and what the account has of such is bounded."""
    if number:
        work.db.run(directory.LEAVE_QUOTA, {"account": account, "number": number, "octets": octets})
        look(work, account)


def erased(work: Work, account: int, number: int, octets: int) -> None:
    """Count recoverable messages that are no more."""
    work.db.run(directory.FORGET_RECOVERABLE, {"account": account, "number": number, "octets": octets})


def look(work: Work, account: int) -> None:
    """Have the erasure that follows take care of an account that has more than one quota of recoverable messages (without a quota: than the setting).

    Who appends and expunges in turn never meets his quota, and would fill the disk with what can be brought back.
    """
    if _excess(work, account) is not None:
        work.effects.crowded.add(account)


def make_due(work: Work, accounts: Collection[int]) -> None:
    """Make the oldest recoverable messages of accounts due as far as they have too many: a page at most, whose erasure looks again."""
    for account in accounts:
        excess = _excess(work, account)
        if excess is not None:
            _make_due(work, account, *excess)


def _excess(work: Work, account: int) -> tuple[int, int] | None:
    """Give how many messages and octets are to go, None where the bound is kept.

    Some room is made beyond it, because with each message goes the segment of the index that holds its words.
    """
    row = work.db.one(directory.RECOVERABLE, {"account": account})
    if row is None:
        return None
    quota, number, octets = row
    most = quota or _setting(work.db, RECOVERABLE_OCTETS)
    if number <= limits.RECOVERABLE_MESSAGES and octets <= most:
        return None
    kept = 1 - limits.RECOVERABLE_ROOM
    return number - int(limits.RECOVERABLE_MESSAGES * kept), octets - int(most * kept)


def _make_due(work: Work, account: int, number: int, octets: int) -> None:
    """Make the oldest due, until at least `number` of them and `octets` are; those that were made due before count too."""
    due = []
    for message, size, erase_at in work.db.all(messages.OLDEST_RECOVERABLE, {"account": account, "rows": limits.ROWS}):
        if number <= 0 and octets <= 0:
            break
        number, octets = number - 1, octets - size
        if erase_at > 0:
            # No time: whatever the clock does, it is over.
            due.append({"of_number": message, "until": 0.0})
    work.db.run_many(messages.MAKE_RECOVERABLE, due)
