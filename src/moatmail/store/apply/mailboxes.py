# SPDX-License-Identifier: Apache-2.0
"""Mailboxes: making, renaming, deleting, subscribing.

Obeys RFC 3501 §6.3.3-6.3.7, §2.3.1.1 (a new mailbox of an old name gets a higher UIDVALIDITY), RFC 7162 §3.1.2.1 (HIGHESTMODSEQ is positive).
Must never know names: they come sealed, with a tag that tells equal ones.
"""

from __future__ import annotations

from moatmail.core.errors import AlreadyExistsError, ConflictError, NotFoundError, NotPermittedError
from moatmail.store.apply.erase import EVERYTHING, erase_until
from moatmail.store.apply.recoverable import leave_quota, recoverable_until
from moatmail.store.apply.work import Work
from moatmail.store.operations import INBOX, CreateMailbox, DeleteMailbox, RenameMailboxes, Subscribe
from moatmail.store.sql import directory, index, mailboxes, state


def create(work: Work, operation: CreateMailbox) -> int:
    """Make a mailbox; the same one again (same object id) answers as if just made."""
    if work.db.one(directory.ACCOUNT_STATUS, {"account": operation.account}) is None:
        raise NotFoundError(f"account {operation.account} is gone")
    found = work.db.one(mailboxes.FIND_BY_TAG, {"account": operation.account, "tag": operation.tag})
    if found is not None:
        if found[1] == operation.object_id:
            return int(found[0])
        raise AlreadyExistsError("a mailbox of this name exists")
    row = work.db.one(
        mailboxes.ADD_MAILBOX,
        {
            "account": operation.account,
            "object_id": operation.object_id,
            "sealed_name": operation.sealed_name,
            "tag": operation.tag,
            "uidvalidity": next_uidvalidity(work),
            "uidnext": 1,
            # RFC 7162 §3.1.2.1: a mailbox that keeps modseqs has a positive HIGHESTMODSEQ, an empty one too.
            "highestmodseq": 1,
            "special_use": operation.special_use,
        },
    )
    if row is None:
        raise ConflictError("a mailbox of this use exists")
    work.effects.listings.add(operation.account)
    return int(row[0])


def next_uidvalidity(work: Work) -> int:
    """Give a UIDVALIDITY above all earlier ones: the time, or one more where the clock stood or went back (RFC 3501 §2.3.1.1)."""
    row = work.db.one(state.GET_META, {"counter": "uidvalidity"})
    value = max(int(work.now), (row[0] if row else 0) + 1)
    work.db.run(state.SET_META, {"name": "uidvalidity", "value": value})
    return value


def rename(work: Work, operation: RenameMailboxes) -> None:
    """Give mailboxes new names, all or none; first each takes its own id as tag, so that names may change places."""
    for step in operation.renamed:
        placeholder = b"renaming" + step.mailbox.to_bytes(8, "big")
        row = {"account": operation.account, "mailbox": step.mailbox, "new_name": step.sealed_name, "new_tag": placeholder}
        if not work.db.run(mailboxes.RENAME, row):
            raise NotFoundError(f"account {operation.account} has no mailbox {step.mailbox}")
    for step in operation.renamed:
        if work.db.one(mailboxes.FIND_BY_TAG, {"account": operation.account, "tag": step.tag}) is not None:
            raise AlreadyExistsError("a mailbox of the new name exists")
        work.db.run(mailboxes.RENAME, {"account": operation.account, "mailbox": step.mailbox, "new_name": step.sealed_name, "new_tag": step.tag})
    work.effects.listings.add(operation.account)


def remove(work: Work, operation: DeleteMailbox) -> None:
    """Delete a mailbox; its messages that lie nowhere else become recoverable."""
    key = {"account": operation.account, "mailbox": operation.mailbox}
    row = work.db.one(mailboxes.MAILBOX_STATE, key)
    if row is None:
        raise NotFoundError(f"account {operation.account} has no mailbox {operation.mailbox}")
    if row[3] == INBOX:
        # RFC 3501 §6.3.4: it is an error to delete INBOX.
        raise NotPermittedError("INBOX cannot be deleted")
    here = {"mailbox": operation.mailbox}
    only_here = work.db.one(mailboxes.COUNT_ONLY_HERE, here)
    until = recoverable_until(work, operation.at)
    work.db.run(index.LEAVE_TAIL_ONLY_HERE, here | {"account": operation.account})
    work.db.run(mailboxes.RECOVERABLE_ONLY_HERE, here | {"until": until})
    leave_quota(work, operation.account, *(only_here or (0, 0)))
    work.db.run(mailboxes.UNPLACE_ALL, here)
    work.db.run(mailboxes.FORGET_VANISHED, here)
    work.db.run(mailboxes.REMOVE_MAILBOX, key)
    if until <= operation.at:
        erase_until(work, operation.at, EVERYTHING)
    # Whoever has it selected learns that it is gone by asking again.
    work.effects.mailboxes[operation.mailbox] = row[2] + 1
    work.effects.listings.add(operation.account)


def subscribe(work: Work, operation: Subscribe) -> None:
    """Add or drop a subscription; both may be repeated."""
    if operation.on:
        changed = work.db.run(
            mailboxes.SUBSCRIBE,
            {"account": operation.account, "tag": operation.tag, "object_id": operation.object_id, "sealed_name": operation.sealed_name},
        )
    else:
        changed = work.db.run(mailboxes.UNSUBSCRIBE, {"account": operation.account, "tag": operation.tag})
    if changed:
        work.effects.listings.add(operation.account)
