# SPDX-License-Identifier: Apache-2.0
"""What threads ask of the store: messages that have none yet, and which messages belong together.

Obeys RFC 8474 §5.2 (a THREADID is never changed once it was told), RFC 8621 §3 (what a thread is) through `mailbox`, which says what ties messages.
Must never know Message-IDs or subjects: what ties messages comes as digests, and is kept as others that only the Vault can make.
"""

from __future__ import annotations

from typing import Any, ClassVar

from moatmail.store.operations import Operation
from moatmail.store.queries import Query
from moatmail.store.record import Record

# ---------------------------------------------------------------- changes


class AddThreads(Operation[int], frozen=True):
    """Give messages their threads: (number, links), at most 500, in this order; `links` as in NewMessage.

    A message that has a thread keeps it, whatever its links say now; its links are replaced. Answers how many messages were changed:
    numbers that are not (or no more) the account's are passed over. Raises LocalProtocolError.
    """

    result: ClassVar[Any] = int

    account: int
    links: tuple[tuple[int, bytes], ...]


# ---------------------------------------------------------------- questions


class UnthreadedRow(Record, frozen=True):
    """A message without a thread, with what is needed to open its summary."""

    number: int
    id: bytes
    cover: bytes
    summary: bytes


class ListUnthreaded(Query[tuple[UnthreadedRow, ...]], frozen=True):
    """Ask for the account's messages without a thread, by number after `after`: at most `limit` (<= 500), and at most some octets of summaries.

    An empty answer is the end, a short one is not.
    """

    result: ClassVar[Any] = tuple[UnthreadedRow, ...]

    account: int
    after: int = 0
    limit: int = 500


class GetThreads(Query[tuple[tuple[int, bytes], ...]], frozen=True):
    """Ask for the threads of messages of a mailbox by UID (<= 500): (uid, thread) of those that have one."""

    result: ClassVar[Any] = tuple[tuple[int, bytes], ...]

    account: int
    mailbox: int
    uids: tuple[int, ...]


class FindThread(Query[tuple[tuple[int, int], ...]], frozen=True):
    """Ask which messages of a mailbox belong to a thread: (number, uid), by both, after (`after`, `after_uid`), at most `limit` (<= 2,000).

    An empty answer is the end.
    """

    result: ClassVar[Any] = tuple[tuple[int, int], ...]

    account: int
    mailbox: int
    thread: bytes
    after: int = 0
    after_uid: int = 0
    limit: int = 2000
