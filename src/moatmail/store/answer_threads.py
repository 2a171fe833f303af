# SPDX-License-Identifier: Apache-2.0
"""The answers to queries about threads.

Obeys no RFC.
Must never know what ties messages together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from moatmail.core.errors import LocalProtocolError
from moatmail.core.limits import store as limits
from moatmail.store import thread_items as t
from moatmail.store.answer_index import within
from moatmail.store.apply.uids import ranges
from moatmail.store.sql import threads
from moatmail.store.sqlite import Database


def _list_unthreaded(db: Database, query: t.ListUnthreaded) -> tuple[t.UnthreadedRow, ...]:
    key = {"account": query.account, "after": query.after}
    with db.snapshot():
        numbers = within(db.all(threads.UNTHREADED_SIZES, key | {"rows": min(query.limit, limits.ROWS)}))
        rows = db.all(threads.UNTHREADED_ROWS, key | {"last": numbers[-1]}) if numbers else []
    return tuple([t.UnthreadedRow(*row) for row in rows])


def _get_threads(db: Database, query: t.GetThreads) -> tuple[tuple[int, bytes], ...]:
    if len(query.uids) > limits.ROWS:
        raise LocalProtocolError(f"{len(query.uids)} messages in one query")
    key = {"account": query.account, "mailbox": query.mailbox}
    wanted = frozenset(query.uids)
    return tuple([row for first, last in ranges(query.uids) for row in db.all(threads.THREADS_IN, key | {"first": first, "last": last}) if row[0] in wanted])


def _find_thread(db: Database, query: t.FindThread) -> tuple[tuple[int, int], ...]:
    key = {"account": query.account, "mailbox": query.mailbox, "thread": query.thread, "after": query.after, "after_uid": query.after_uid}
    return tuple(db.all(threads.IN_THREAD, key | {"rows": min(query.limit, limits.NUMBERS)}))


TABLE: Final[dict[type, Callable[[Database, Any], Any]]] = {
    t.ListUnthreaded: _list_unthreaded,
    t.GetThreads: _get_threads,
    t.FindThread: _find_thread,
}
