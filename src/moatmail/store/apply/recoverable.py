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

RECOVERABLE_DAYS: Final = "store.recoverable_days"
RECOVERABLE_OCTETS: Final = "store.recoverable_octets"
_DEFAULTS: Final = {RECOVERABLE_DAYS: 25.0, RECOVERABLE_OCTETS: 20 * 2.0**30}
_DAY: Final = 86400.0


def recoverable_until(work: Work, at: float) -> float:
    """Give until when what is expunged at `at` can be brought back; the setting is in days, 0 means that the next erasure takes it."""
    return at + _setting(work, RECOVERABLE_DAYS) * _DAY


def _setting(work: Work, key: str) -> float:
    row = work.db.one(state.GET_SETTING, {"name": key})
    try:
        return msgspec.json.decode(row[0], type=float) if row else _DEFAULTS[key]
    except msgspec.MsgspecError:
        return _DEFAULTS[key]


def leave_quota(work: Work, account: int, number: int, octets: int) -> None:
    """Count messages that became recoverable: their room is free again, and what the account has of such is bounded."""
    if number:
        work.db.run(directory.LEAVE_QUOTA, {"account": account, "number": number, "octets": octets})
        bound(work, (account,))


def erased(work: Work, account: int, number: int, octets: int) -> None:
    """Count recoverable messages that are no more."""
    work.db.run(directory.FORGET_RECOVERABLE, {"account": account, "number": number, "octets": octets})


def bound(work: Work, accounts: Collection[int]) -> None:
    """Make the oldest recoverable messages due where an account has more than one quota of them (without a quota: than the setting).

    Who appends and expunges in turn never meets his quota, and would fill the disk with what can be brought back. At most a page is made due at
    once: its erasure asks again. Some room is made beyond the bound, because with each message goes the segment of the index that holds its words.
    """
    for account in accounts:
        row = work.db.one(directory.RECOVERABLE, {"account": account})
        if row is None:
            continue
        quota, number, octets = row
        most = quota or _setting(work, RECOVERABLE_OCTETS)
        if number > limits.RECOVERABLE_MESSAGES or octets > most:
            kept = 1 - limits.RECOVERABLE_ROOM
            _make_due(work, account, number - int(limits.RECOVERABLE_MESSAGES * kept), octets - int(most * kept))


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
    work.effects.erase_more = True
