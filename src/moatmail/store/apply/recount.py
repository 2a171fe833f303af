# SPDX-License-Identifier: Apache-2.0
"""Counts made anew from rows, for repair: what is counted as it goes is wrong after damage.

Obeys RFC 3501 §2.3.1.1 (a UID is never given twice), RFC 7162 §3.1.2.1 (HIGHESTMODSEQ never falls).
Must never know how damage was found.
"""

from __future__ import annotations

from collections.abc import Sequence

from moatmail.core.errors import NotFoundError
from moatmail.store.apply.work import Work
from moatmail.store.repair_items import Recount
from moatmail.store.sql import recount as sql


def recount(work: Work, operation: Recount) -> bool:
    """Count anew; tell whether anything was wrong."""
    return _mailbox(work, operation.account, operation.mailbox) if operation.mailbox else _account(work, operation.account)


def _mailbox(work: Work, account: int, mailbox: int) -> bool:
    here = {"mailbox": mailbox}
    kept = work.db.one(sql.COUNTED, here | {"account": account})
    placed, gone = work.db.one(sql.PLACED, here), work.db.one(sql.GONE, here)
    if kept is None or placed is None or gone is None:
        raise NotFoundError(f"account {account} has no mailbox {mailbox}")
    *sums, last_uid, last_modseq = placed
    vanished, gone_uid, gone_modseq = gone
    *before, forgotten = kept
    # What was given once is never given again, whatever rows were lost.
    uidnext = max(before[-2], last_uid + 1, gone_uid + 1)
    modseq = max(before[-1], last_modseq, gone_modseq, forgotten)
    after = (*sums, vanished, uidnext, modseq)
    if tuple(before) == after:
        return False
    work.db.run(sql.SET_COUNTS, here | _new(sql.MAILBOX_COUNTS, after))
    work.effects.mailboxes[mailbox] = modseq
    return True


def _account(work: Work, account: int) -> bool:
    own = {"account": account}
    before, after = work.db.one(sql.TAKEN, own), work.db.one(sql.KEPT, own)
    if before is None or after is None:
        raise NotFoundError(f"account {account} is gone")
    if before == after:
        return False
    work.db.run(sql.SET_TAKEN, own | _new(sql.ACCOUNT_COUNTS, after))
    return True


def _new(names: Sequence[str], values: Sequence[int]) -> dict[str, int]:
    return {f"new_{name}": value for name, value in zip(names, values, strict=True)}
