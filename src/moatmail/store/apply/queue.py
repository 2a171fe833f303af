# SPDX-License-Identifier: Apache-2.0
"""The queue of remote mail: leasing what is due, writing down what became of it.

Obeys RFC 5321 §4.5.4.1 (recipients are tried and settled one by one), §6.1 (a failure becomes a notification in the same transaction).
Must never know addresses or routes.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from moatmail.core.errors import ConflictError, LocalProtocolError
from moatmail.core.limits import store as limits
from moatmail.store.apply.deliver import deliver, keep_contents, spool
from moatmail.store.apply.erase import drop_references
from moatmail.store.apply.work import Work
from moatmail.store.operations import ClaimedSpool, ClaimSpool, Placed, ReleaseLeases, SettleSpool, SpoolRecipient
from moatmail.store.sql import queue

_QUEUED: Final = "queued"
_FINAL: Final = frozenset({"delivered", "relayed", "bounced"})


def claim(work: Work, operation: ClaimSpool) -> tuple[ClaimedSpool, ...]:
    """Lease entries with due recipients that nobody holds."""
    claimed = []
    for row in work.db.all(queue.DUE, {"now": operation.now, "rows": min(operation.limit, limits.CLAIM)}):
        entry, content, sealed_key, sealed_envelope, sealed_prefix, arrived_at, kind = row
        due = tuple(SpoolRecipient(*recipient) for recipient in work.db.all(queue.DUE_RECIPIENTS, {"id": entry, "now": operation.now}))
        work.db.run(queue.LEASE, {"of_id": entry, "owner": operation.owner, "until": operation.lease_until})
        claimed.append(ClaimedSpool(entry, content, sealed_key, sealed_envelope, arrived_at, kind, due, sealed_prefix))
    return tuple(claimed)


def release_others(work: Work, operation: ReleaseLeases) -> int:
    """Free the leases of processes that are no more."""
    freed = work.db.run(queue.RELEASE_OTHERS, {"owner": operation.owner})
    work.effects.queue |= freed > 0
    return freed


def settle(work: Work, operation: SettleSpool) -> tuple[Placed, ...]:
    """Write down outcomes and what follows from them; an entry without waiting recipients goes."""
    lease = work.db.one(queue.GET_LEASE, {"id": operation.id})
    if lease is None or lease[0] != operation.owner:
        # Another process took the entry over: what this one did stands, but it may not write over the other's outcomes.
        raise ConflictError(f"queue entry {operation.id.hex()} is not leased to {operation.owner}")
    _owner, content, arrived_at = lease
    for outcome in operation.outcomes:
        if outcome.state != _QUEUED and outcome.state not in _FINAL:
            raise LocalProtocolError(f"no state of a recipient: {outcome.state!r}")
        settled = work.db.run(
            queue.SETTLE_RECIPIENT,
            {
                "of_id": operation.id,
                "of_number": outcome.number,
                "new_state": outcome.state,
                "next": outcome.next_attempt,
                "reply": outcome.sealed_reply,
            },
        )
        if settled and outcome.state in _FINAL:
            # R20: the day on which it was accepted, so that each day's account closes.
            work.effects.count(arrived_at, _QUEUED, -1)
            work.effects.count(arrived_at, outcome.state)
    placed, references = deliver(work, operation.deliveries)
    references.update(spool(work, operation.spools))
    keep_contents(work, operation.contents, references)
    if operation.sealed_prefix is not None:
        work.db.run(queue.SET_PREFIX, {"of_id": operation.id, "prefix": operation.sealed_prefix})
    _close(work, operation.id, content)
    return placed


def _close(work: Work, entry: bytes, content: bytes) -> None:
    waiting = work.db.one(queue.STILL_QUEUED, {"id": entry})
    if waiting and waiting[0]:
        work.db.run(queue.LEASE, {"of_id": entry, "owner": "", "until": 0.0})
        work.effects.queue = True
        return
    work.db.run(queue.REMOVE_RECIPIENTS, {"id": entry})
    work.db.run(queue.REMOVE_SPOOL, {"id": entry})
    drop_references(work, Counter({content: 1}))
