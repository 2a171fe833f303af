# SPDX-License-Identifier: Apache-2.0
"""Which function applies which operation, and how one that was done before is answered.

Obeys RFC 5321 §6.1: a repeated operation is never done twice.
Must never know a transaction's bounds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from moatmail.core.errors import LocalProtocolError
from moatmail.store import index_items, operations, repair_items, thread_items
from moatmail.store.apply import account, change, deliver, erase, index, kept, mailboxes, placements, queue, recount, threads
from moatmail.store.apply.work import Work
from moatmail.store.sql import state

_TABLE: Final[dict[type, Callable[[Work, Any], Any]]] = {
    operations.Accept: deliver.accept,
    operations.Append: deliver.append,
    operations.Replace: placements.replace,
    operations.Copy: placements.copy,
    operations.Move: placements.move,
    operations.StoreFlags: placements.store_flags,
    operations.Expunge: placements.expunge,
    operations.Rewrap: placements.rewrap,
    operations.CreateMailbox: mailboxes.create,
    operations.RenameMailboxes: mailboxes.rename,
    operations.DeleteMailbox: mailboxes.remove,
    operations.Subscribe: mailboxes.subscribe,
    operations.OpenAccount: account.open_account,
    operations.Journal: account.journal,
    operations.ClaimSpool: queue.claim,
    operations.ReleaseLeases: queue.release_others,
    operations.SettleSpool: queue.settle,
    operations.Change: change.apply,
    operations.EraseDue: erase.erase_due,
    operations.TruncateWAL: erase.truncate_wal,
    operations.RecordDecision: kept.record_decision,
    operations.EraseDecisions: kept.erase_decisions,
    operations.ForgetObserved: kept.forget_observed,
    index_items.AddWords: index.add_words,
    index_items.AddSegment: index.add_segment,
    index_items.DropSegments: index.drop_segments,
    index_items.SetSummary: index.set_summary,
    index_items.Retail: index.retail,
    thread_items.AddThreads: threads.add_threads,
    repair_items.Recount: recount.recount,
}

GROWING: Final = frozenset(
    {
        operations.Accept,
        operations.Append,
        operations.Replace,
        operations.CreateMailbox,
        operations.Copy,
        operations.RecordDecision,
        index_items.AddWords,
        index_items.AddSegment,
        thread_items.AddThreads,
    }
)
"""What is refused while the disk has no room: everything else shrinks, or is small and needed to make room."""


def apply(work: Work, operation: operations.Operation[Any]) -> Any:  # noqa: ANN401  the operation names its result type
    """Apply one operation inside the writer's transaction and give its answer; raises what the operation's contract says."""
    kind = type(operation)
    function = _TABLE.get(kind)
    if function is None:
        raise LocalProtocolError(f"no such operation: {kind.__name__}")
    identity: bytes = getattr(operation, kind.once) if kind.once else b""
    if not identity:
        return function(work, operation)
    done = work.db.one(state.FIND_DONE, {"operation": identity})
    if done is not None:
        return msgspec.msgpack.decode(done[0], type=kind.result)
    before = work.db.changes
    answer = function(work, operation)
    if work.db.changes == before:
        # Nothing happened: doing it again is as good as remembering it, and costs no sync.
        return answer
    work.db.run(state.REMEMBER, {"id": identity, "at": work.now, "answer": msgspec.msgpack.encode(answer)})
    return answer
