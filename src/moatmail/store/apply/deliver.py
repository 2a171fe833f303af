# SPDX-License-Identifier: Apache-2.0
"""Messages coming in: contents, placements, queue entries.

Obeys RFC 5321 §6.1 (one transaction takes the message over), RFC 3501 §2.3.1.1 (UIDs), RFC 9208 §3 (quota).
Must never know what a message says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

from moatmail.core.errors import ConflictError, NotFoundError, OverQuotaError
from moatmail.store.apply import index, threads
from moatmail.store.apply.kept import keep_decision
from moatmail.store.apply.signing import is_new, keep_reports
from moatmail.store.apply.work import Work
from moatmail.store.operations import INBOX, Accept, Append, Delivery, NewContent, NewSpool, Placed
from moatmail.store.sql import directory, mailboxes, messages, queue
from moatmail.store.sqlite import Row

_SEEN: Final = mailboxes.SEEN
_DELETED: Final = mailboxes.DELETED


def accept(work: Work, operation: Accept) -> tuple[Placed, ...]:
    """Take over mail: everything or nothing."""
    if not is_new(work, operation.sent):
        return ()
    placed, references = deliver(work, operation.deliveries)
    new = sum(references.values())
    # R20: each recipient counts once, when it is accepted; entries that were there already count nothing.
    work.effects.count(work.now, "accepted", new)
    work.effects.count(work.now, "delivered", new)
    references.update(spool(work, operation.spools))
    keep_contents(work, operation.contents, references)
    keep_reports(work, operation.reports)
    if operation.decision is not None:
        keep_decision(work, operation.decision)
    return placed


def append(work: Work, operation: Append) -> tuple[Placed, ...]:
    """Put an account's own messages into a mailbox (RFC 3501 §6.3.11, RFC 3502 §6.3.11: all or none)."""
    placed, references = deliver(work, operation.deliveries)
    keep_contents(work, operation.contents, references)
    return placed


def deliver(work: Work, deliveries: Iterable[Delivery]) -> tuple[tuple[Placed, ...], Counter[bytes]]:
    """Place messages; give where they lie and how many new references each content has."""
    references: Counter[bytes] = Counter()
    placed = []
    for delivery in deliveries:
        message = delivery.message
        tied = threads.tie(work, message.account, message.links)
        new = work.db.one(
            messages.ADD_MESSAGE,
            {
                "id": message.id,
                "account": message.account,
                "content": message.content,
                "size": message.size,
                "received_at": message.received_at,
                "cover_kind": messages.cover_kind(message.cover),
                "cover": message.cover,
                "prefix": message.prefix,
                "summary": message.summary,
                "thread": tied.thread,
                "links": tied.links,
                "real_size": message.real_size or None,
            },
        )
        if new is None:
            placed.append(_placed_before(work, message.id))
            continue
        _take_room(work, message.account, message.size)
        placed.append(_place(work, delivery, new[0]))
        index.enter(work, message.account, new[0], message.words)
        references[message.content] += 1
    return tuple(placed), references


def _take_room(work: Work, account: int, octets: int) -> None:
    if not work.db.run(directory.TAKE_ROOM, {"account": account, "octets": octets, "none": 0}):
        if work.db.one(directory.ACCOUNT_STATUS, {"account": account}) is None:
            raise NotFoundError(f"account {account} is gone")
        raise OverQuotaError(f"account {account}")


def _place(work: Work, delivery: Delivery, number: int) -> Placed:
    mailbox, uidnext, modseq, uidvalidity = _next_uid(work, delivery)
    uid = uidnext - 1
    work.db.run(
        mailboxes.PLACE,
        {
            "mailbox": mailbox,
            "uid": uid,
            "message": number,
            "flags": delivery.flags,
            "keywords": " ".join(delivery.keywords),
            "modseq": modseq,
            "saved_at": work.now,
        },
    )
    work.effects.mailboxes[mailbox] = modseq
    return Placed(mailbox, uid, modseq, uidvalidity)


def _next_uid(work: Work, delivery: Delivery) -> Row:
    message = delivery.message
    counts = {
        "account": message.account,
        "add_unseen": 0 if delivery.flags & _SEEN else 1,
        "add_deleted": 1 if delivery.flags & _DELETED else 0,
        "add_octets": message.size,
        "add_deleted_octets": message.size if delivery.flags & _DELETED else 0,
    }
    if delivery.mailbox:
        row = work.db.one(mailboxes.NEXT_UID, counts | {"mailbox": delivery.mailbox})
    else:
        row = work.db.one(mailboxes.NEXT_UID_BY_USE, counts | {"special_use": delivery.special_use})
        if row is None and delivery.special_use != INBOX:
            # Its owner deleted the mailbox of that use: mail is never lost for it.
            row = work.db.one(mailboxes.NEXT_UID_BY_USE, counts | {"special_use": INBOX})
    if row is None:
        raise NotFoundError(f"account {message.account} has no such mailbox")
    return row


def _placed_before(work: Work, message_id: bytes) -> Placed:
    """Answer a repeated delivery: where it lies, or zeros where its owner has removed it since."""
    row = work.db.one(mailboxes.PLACED_MESSAGE, {"id": message_id})
    return Placed(*row) if row else Placed(0, 0, 0, 0)


def keep_contents(work: Work, contents: Iterable[NewContent], references: Counter[bytes]) -> None:
    """Keep contents that have new references; raises NotFoundError when a message or entry refers to none."""
    for content in contents:
        count = references.pop(content.id, 0)
        if not count:
            # Nothing new refers to it: a repetition, or a content nobody wants.
            continue
        if not work.db.run(messages.ADD_CONTENT, {"id": content.id, "references": count, "size": content.size, "blob": content.blob}):
            work.db.run(messages.REFER, {"of_id": content.id, "more": count})
    for content_id, count in references.items():
        if count and not work.db.run(messages.REFER, {"of_id": content_id, "more": count}):
            raise NotFoundError(f"no content {content_id.hex()}")


def spool(work: Work, entries: Iterable[NewSpool]) -> Counter[bytes]:
    """Put entries into the queue; give the new references to contents."""
    references: Counter[bytes] = Counter()
    for entry in entries:
        if not entry.due:
            raise ConflictError("a queue entry needs a recipient")
        fresh = work.db.run(
            queue.ADD_SPOOL,
            {
                "id": entry.id,
                "content": entry.content,
                "sealed_key": entry.sealed_key,
                "sealed_envelope": entry.sealed_envelope,
                "sealed_prefix": entry.sealed_prefix,
                "arrived_at": entry.arrived_at,
                "kind": entry.kind,
            },
        )
        if not fresh:
            continue
        work.db.run_many(
            queue.ADD_RECIPIENT,
            [
                {"spool": entry.id, "number": number, "state": "queued", "attempts": 0, "next_attempt": due, "sealed_reply": b""}
                for number, due in enumerate(entry.due)
            ],
        )
        references[entry.content] += 1
        work.effects.count(entry.arrived_at, "accepted", len(entry.due))
        work.effects.count(entry.arrived_at, "queued", len(entry.due))
        work.effects.queue = True
    return references
