# SPDX-License-Identifier: Apache-2.0
"""Erasing: with the row goes the cover, and with the cover the only keys that open the message.

Obeys no RFC; the promise is told in docs/security.md.
Must never know who asked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from moatmail.core.limits import store as limits
from moatmail.store.apply import index, recoverable, threads
from moatmail.store.apply.work import Work
from moatmail.store.operations import EraseDue, TruncateWAL
from moatmail.store.sql import messages

EVERYTHING: Final = 2**31
"""As a limit: all that is due."""


def erase_due(work: Work, operation: EraseDue) -> int:
    """Erase messages whose recoverable time is over, and the oldest of accounts that have too many; give how many."""
    recoverable.make_due(work, operation.crowded)
    return erase_until(work, operation.now, operation.limit)


def erase_until(work: Work, now: float, limit: int) -> int:
    """Erase at most `limit` messages that were recoverable until before `now`, and no more octets than one slice; the writer goes on with the rest at once.

    What is erased is overwritten (`secure_delete`), and so takes as much room in the log: a nearly full disk has that for a slice, not for a mailbox.
    """
    due = [_Due(*row) for row in work.db.all(messages.DUE_FOR_ERASURE, {"now": now, "rows": limit})]
    taken, segments = _slice(due, _segments(work, due))
    work.effects.erase_more |= len(taken) < len(due)
    # Before the messages: what else is recoverable in a segment is told by their rows.
    for account, segment in segments:
        index.drop(work, account, segment)
    index.erase_words(work, [one.number for one in taken])
    if taken:
        work.db.run(messages.KEEP_HIGHEST_NUMBER)
    work.db.run_many(messages.ERASE_MESSAGE, [{"number": one.number} for one in taken])
    threads.erase(work, taken)
    drop_references(work, Counter(one.content for one in taken))
    _count(work, taken)
    return len(taken)


class _Due(NamedTuple):
    number: int
    account: int
    content: bytes
    size: int
    thread: bytes | None
    links: bytes | None


def _segments(work: Work, due: Sequence[_Due]) -> dict[int, index.Segment]:
    """Give the segment of each message that is in one: it holds words of the message and goes with it."""
    of_account: dict[int, list[int]] = {}
    for one in due:
        of_account.setdefault(one.account, []).append(one.number)
    found: dict[int, index.Segment] = {}
    for account, numbers in of_account.items():
        found |= index.segments_of(work, account, numbers)
    return found


def _slice(due: Sequence[_Due], segments: Mapping[int, index.Segment]) -> tuple[list[_Due], set[tuple[int, bytes]]]:
    """Take messages up to the octets of one slice, at least one; give which segments go with them, as pairs of account and id."""
    taken: list[_Due] = []
    going: set[tuple[int, bytes]] = set()
    octets = 0
    for one in due:
        if taken and octets > limits.ERASE_OCTETS:
            break
        taken.append(one)
        octets += min(one.size, limits.INLINE_CONTENT)  # what is larger lies in a file, which goes without a log
        segment = segments.get(one.number)
        if segment is not None and (one.account, segment.id) not in going:
            going.add((one.account, segment.id))
            octets += segment.octets
    return taken, going


def _count(work: Work, taken: Sequence[_Due]) -> None:
    number = Counter(one.account for one in taken)
    octets: Counter[int] = Counter()
    for one in taken:
        octets[one.account] += one.size
    for account, gone in number.items():
        recoverable.erased(work, account, gone, octets[account])
        recoverable.look(work, account)


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
