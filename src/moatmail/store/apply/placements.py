# SPDX-License-Identifier: Apache-2.0
"""Messages within an account: flags, copying, moving, expunging.

Obeys RFC 3501 §6.4.3-6.4.7, RFC 6851 (MOVE), RFC 7162 §3.1 (modseqs, UNCHANGEDSINCE).
Must never know a session: UIDs only.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Final, NamedTuple

import msgspec

from moatmail.core.errors import LimitReachedError, LocalProtocolError, NotFoundError
from moatmail.core.limits import store as limits
from moatmail.store.apply import index, recoverable
from moatmail.store.apply.deliver import deliver, keep_contents
from moatmail.store.apply.erase import EVERYTHING, erase_until
from moatmail.store.apply.uids import ranges
from moatmail.store.apply.work import Work
from moatmail.store.operations import Copied, Copy, Expunge, Expunged, FlagsStored, Move, PlacementRow, Replace, Replaced, Rewrap, StoreFlags
from moatmail.store.sql import mailboxes, messages
from moatmail.store.sqlite import Row

_SEEN: Final = mailboxes.SEEN
_DELETED: Final = mailboxes.DELETED
_HIGHEST_UID: Final = 2**32 - 1


class _Box(NamedTuple):
    """A mailbox's numbers as an operation found them."""

    id: int
    uidvalidity: int
    uidnext: int
    modseq: int


class _Placement(NamedTuple):
    """A placed message."""

    uid: int
    flags: int
    keywords: str
    message: int
    size: int


def _box(work: Work, account: int, mailbox: int) -> _Box:
    row = work.db.one(mailboxes.MAILBOX_STATE, {"account": account, "mailbox": mailbox})
    if row is None:
        raise NotFoundError(f"account {account} has no mailbox {mailbox}")
    return _Box(mailbox, *row[:3])


def _count(work: Work, box: _Box, modseq: int, rows: Iterable[_Placement], *, sign: int, uids: int = 0) -> None:
    """Bring a mailbox's counts up to date after `rows` came (`sign` 1) or went (-1)."""
    rows = list(rows)
    work.db.run(
        mailboxes.COUNT,
        {
            "mailbox": box.id,
            "modseq": modseq,
            "add_uidnext": uids,
            "add_messages": sign * len(rows),
            "add_unseen": sign * sum(not row.flags & _SEEN for row in rows),
            "add_deleted": sign * sum(bool(row.flags & _DELETED) for row in rows),
            "add_octets": sign * sum(row.size for row in rows),
            "add_deleted_octets": sign * sum(row.size for row in rows if row.flags & _DELETED),
            "add_vanished": max(0, -sign) * len(rows),
        },
    )
    work.effects.mailboxes[box.id] = modseq


def _read(work: Work, mailbox: int, uids: Collection[int] | None) -> list[_Placement]:
    spans = [(1, _HIGHEST_UID)] if uids is None else ranges(uids)
    wanted = None if uids is None else frozenset(uids)
    return [
        _Placement(*row)
        for first, last in spans
        for row in work.db.all(mailboxes.PLACED_IN, {"mailbox": mailbox, "first": first, "last": last})
        if wanted is None or row[0] in wanted
    ]


# ---------------------------------------------------------------- flags


def store_flags(work: Work, operation: StoreFlags) -> FlagsStored:
    """Change flags; all rows of one operation get one modseq (RFC 7162 §3.1.3), rows that were so before keep theirs."""
    box = _box(work, operation.account, operation.mailbox)
    modseq = box.modseq + 1
    wanted = frozenset(operation.uids)
    rows: list[PlacementRow] = []
    failed: list[int] = []
    changed: list[PlacementRow] = []
    unseen = 0
    turned: dict[int, int] = {}
    for first, last in ranges(operation.uids):
        for row in work.db.all(mailboxes.PLACEMENTS_IN, {"mailbox": box.id, "first": first, "last": last}):
            uid, flags, keywords, seen_modseq = row
            if uid not in wanted:
                continue
            # RFC 7162 §3.1.3: a message changed after the given modseq is left alone and told.
            if 0 <= operation.unchanged_since < seen_modseq:
                failed.append(uid)
                continue
            new_flags, new_keywords = _changed(operation, flags, keywords)
            if (new_flags, new_keywords) == (flags, keywords):
                rows.append(placement_row(row))
                continue
            new = placement_row((uid, new_flags, new_keywords, modseq))
            rows.append(new)
            changed.append(new)
            unseen += bool(flags & _SEEN) - bool(new_flags & _SEEN)
            if (flags ^ new_flags) & _DELETED:
                turned[uid] = 1 if new_flags & _DELETED else -1
    if not changed:
        return FlagsStored(tuple(rows), tuple(failed), box.modseq)
    work.db.run_many(
        mailboxes.SET_FLAGS,
        [{"of_mailbox": box.id, "of_uid": row.uid, "flags": row.flags, "keywords": " ".join(row.keywords), "modseq": modseq} for row in changed],
    )
    counts = {"add_uidnext": 0, "add_messages": 0, "add_octets": 0, "add_vanished": 0, "add_unseen": unseen, "add_deleted": sum(turned.values())}
    counts["add_deleted_octets"] = sum(turned[row.uid] * row.size for row in _read(work, box.id, turned))
    work.db.run(mailboxes.COUNT, counts | {"mailbox": box.id, "modseq": modseq})
    work.effects.mailboxes[box.id] = modseq
    return FlagsStored(tuple(rows), tuple(failed), modseq)


def placement_row(row: Row) -> PlacementRow:
    """Turn (uid, flags, keywords, modseq) as the tables have them into a row for callers."""
    uid, flags, keywords, modseq = row
    return PlacementRow(uid, flags, tuple(keywords.split(" ")) if keywords else (), modseq)


def _changed(operation: StoreFlags, flags: int, keywords: str) -> tuple[int, str]:
    have = keywords.split(" ") if keywords else []
    given = operation.keywords
    # RFC 3501 §2.3.2: keywords have no case; one that came with APPEND, COPY or MOVE may be written otherwise than the mailbox writes it.
    if operation.mode == "add":
        known = {keyword.lower() for keyword in have}
        new = [keyword for keyword in given if keyword.lower() not in known]
        return flags | operation.flags, _bounded(have + new) if new else keywords
    if operation.mode == "remove":
        unwanted = {keyword.lower() for keyword in given}
        return flags & ~operation.flags, " ".join(keyword for keyword in have if keyword.lower() not in unwanted)
    if operation.mode == "replace":
        return operation.flags, _bounded(given)
    raise LocalProtocolError(f"no mode of StoreFlags: {operation.mode!r}")


def _bounded(keywords: Sequence[str]) -> str:
    text = " ".join(keywords)
    if len(keywords) > limits.KEYWORDS or len(text) > limits.KEYWORD_OCTETS:
        raise LimitReachedError(public="too many keywords on one message")
    return text


# ---------------------------------------------------------------- copy and move


def copy(work: Work, operation: Copy) -> Copied:
    """Place messages a second time; a copy takes no room of the quota, because it is the same message."""
    source, target = _box(work, operation.account, operation.source), _box(work, operation.account, operation.target)
    return _put(work, target, _read(work, source.id, operation.uids))


def move(work: Work, operation: Move) -> Copied:
    """Copy, then take away at the source, in one transaction (RFC 6851 §3.3: never both and never neither)."""
    source, target = _box(work, operation.account, operation.source), _box(work, operation.account, operation.target)
    rows = _read(work, source.id, operation.uids)
    copied = _put(work, target, rows)
    if not rows:
        return msgspec.structs.replace(copied, source_modseq=source.modseq)
    # Moving within one mailbox gave UIDs and modseqs already: read the state anew.
    modseq = _take_away(work, _box(work, operation.account, operation.source), rows)
    target_modseq = modseq if source.id == target.id else copied.target_modseq
    return msgspec.structs.replace(copied, source_modseq=modseq, target_modseq=target_modseq)


def _put(work: Work, target: _Box, rows: Sequence[_Placement]) -> Copied:
    if not rows:
        return Copied(target.uidvalidity, (), (), target.modseq)
    # RFC 7162 §3.1: each new placement has a modseq of its own, so that long copies can be told in pages.
    work.db.run_many(
        mailboxes.PLACE,
        [
            {
                "mailbox": target.id,
                "uid": target.uidnext + number,
                "message": row.message,
                "flags": row.flags,
                "keywords": row.keywords,
                "modseq": target.modseq + 1 + number,
                "saved_at": work.now,
            }
            for number, row in enumerate(rows)
        ],
    )
    modseq = target.modseq + len(rows)
    _count(work, target, modseq, rows, sign=1, uids=len(rows))
    uids = tuple(range(target.uidnext, target.uidnext + len(rows)))
    return Copied(target.uidvalidity, tuple(row.uid for row in rows), uids, modseq)


# ---------------------------------------------------------------- expunge


def expunge(work: Work, operation: Expunge) -> Expunged:
    r"""Take away what bears \Deleted (RFC 3501 §6.4.3; with UIDs RFC 4315 §2.1)."""
    box = _box(work, operation.account, operation.mailbox)
    rows = [row for row in _read(work, box.id, operation.uids) if row.flags & _DELETED]
    if not rows:
        return Expunged((), box.modseq)
    modseq = _take_away(work, box, rows)
    _make_recoverable(work, operation.account, rows, operation.at)
    return Expunged(tuple(row.uid for row in rows), modseq)


def replace(work: Work, operation: Replace) -> Replaced:
    """Take a message away and place another, both or neither (RFC 8508 §3); the room of the old one counts for the new one."""
    box = _box(work, operation.account, operation.mailbox)
    rows = _read(work, box.id, (operation.uid,))
    if not rows:
        raise NotFoundError(f"mailbox {box.id} has no message {operation.uid}")
    modseq = _take_away(work, box, rows)
    _make_recoverable(work, operation.account, rows, work.now)
    placed, references = deliver(work, (operation.delivery,))
    keep_contents(work, operation.contents, references)
    return Replaced(placed[0], placed[0].modseq if placed[0].mailbox == box.id else modseq)


def _take_away(work: Work, box: _Box, rows: Sequence[_Placement]) -> int:
    modseq = box.modseq + 1
    work.db.run_many(mailboxes.UNPLACE, [{"mailbox": box.id, "uid": row.uid} for row in rows])
    work.db.run_many(mailboxes.VANISH, [{"mailbox": box.id, "modseq": modseq, "uid": row.uid} for row in rows])
    _count(work, box, modseq, rows, sign=-1)
    _forget(work, box, 2 * len(rows))
    return modseq


def _forget(work: Work, box: _Box, rows: int) -> None:
    """Forget what vanished longest ago where more is remembered than is of use; who asks for it is told of every UID that is not there.

    RFC 7162 §3.2.5.1 allows that answer: it is right, only larger. At least `rows` go at once, so that a mailbox of an older version shrinks too.
    """
    row = work.db.one(mailboxes.COUNT_VANISHED, {"mailbox": box.id})
    if row is None or row[0] <= limits.VANISHED_KEPT + limits.VANISHED_SLACK:
        return
    most = min(row[0] - limits.VANISHED_KEPT, max(limits.VANISHED_SLACK, rows))
    last = work.db.one(mailboxes.LAST_TO_FORGET, {"mailbox": box.id, "rows": most})
    if last is not None:
        modseq, uid = last
        gone = work.db.run(mailboxes.FORGET_OLDEST, {"mailbox": box.id, "modseq": modseq, "uid": uid})
        work.db.run(mailboxes.FORGOT, {"mailbox": box.id, "rows": gone, "modseq": modseq})


def _make_recoverable(work: Work, account: int, rows: Iterable[_Placement], at: float) -> None:
    """Messages without any placement leave the quota and can be brought back until their time is over."""
    until = recoverable.recoverable_until(work, at)
    gone = {row.message: row.size for row in rows if work.db.one(mailboxes.IS_PLACED, {"message": row.message}) is None}
    work.db.run_many(messages.MAKE_RECOVERABLE, [{"of_number": number, "until": until} for number in gone])
    index.leave(work, account, gone)
    recoverable.leave_quota(work, account, len(gone), sum(gone.values()))
    if until <= at:
        erase_until(work, at, EVERYTHING)


def rewrap(work: Work, operation: Rewrap) -> int:
    """Replace covers whose old form is still there."""
    return sum(
        work.db.run(
            messages.REWRAP,
            {"of_id": cover.message, "of_account": operation.account, "old": cover.old, "new": cover.new, "new_kind": messages.cover_kind(cover.new)},
        )
        for cover in operation.covers
    )
