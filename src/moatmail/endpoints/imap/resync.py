# SPDX-License-Identifier: Apache-2.0
"""What a client missed: UIDs that went and messages that changed since its last visit.

Obeys RFC 7162 §3.2.5 (QRESYNC at SELECT), §3.2.6 (VANISHED of UID FETCH), §3.2.10.1 (VANISHED (EARLIER)).
Must never know how what went is kept.

Every UID that ever went is kept with its modseq until its mailbox is deleted, so the answer is exact however old the client's state is, and the
message numbers that a client may send along (RFC 7162 §3.2.5.2) have nothing to narrow.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from moatmail.core.limits.mailbox import CHANGES
from moatmail.endpoints.imap.alter import current_view
from moatmail.endpoints.imap.conversation import Conversation
from moatmail.endpoints.imap.sync import put_vanished, tell_flags
from moatmail.mailbox.changes import fetch_vanished
from moatmail.mailbox.numbering import Span
from moatmail.mailbox.view import View
from moatmail.store.operations import PlacementRow

_ALL: Span = (1, 2**32 - 1)


async def resynchronize(conversation: Conversation, since: int, uids: Sequence[Span] | None) -> None:
    """Tell what went and what changed after the modseq `since`, among `uids` (sorted, disjoint; None for all)."""
    selected = conversation.box
    if since >= selected.modseq:
        return
    known = (_ALL,) if uids is None else tuple(uids)
    await tell_vanished(conversation, since, known)
    view = await current_view(conversation)
    changed = [uid for uid, modseq in zip(view.uids, view.modseqs, strict=True) if modseq > since]
    firsts = [first for first, _last in known]
    for start in range(0, len(changed), CHANGES):
        part = [uid for uid in changed[start : start + CHANGES] if _holds(firsts, known, uid)]
        view = await current_view(conversation)
        await tell_flags(conversation, selected, _rows(view, part), uid=True)
        await conversation.pause()


def _rows(view: View, uids: Sequence[int]) -> list[PlacementRow]:
    """Give the rows of messages that are still there."""
    rows: list[PlacementRow] = []
    for uid in uids:
        place = view.place(uid)
        if place >= 0:
            words = tuple([word.decode() for word in view.keywords.get(uid, ())])
            rows.append(PlacementRow(uid, view.flags[place], words, view.modseqs[place]))
    return rows


def _holds(firsts: Sequence[int], ranges: Sequence[Span], uid: int) -> bool:
    place = bisect_right(firsts, uid) - 1
    return place >= 0 and uid <= ranges[place][1]


async def tell_vanished(conversation: Conversation, since: int, ranges: Sequence[Span]) -> None:
    """Tell which UIDs of `ranges` (sorted, disjoint) went after the modseq `since`."""
    if not ranges:
        return
    account, selected = conversation.account, conversation.box
    last = min(ranges[-1][1], selected.uidnext - 1)
    gone = await fetch_vanished(account.store, account.id, selected.mailbox, since, (ranges[0][0], last))
    firsts = [first for first, _last in ranges]
    await put_vanished(conversation, [uid for uid in gone if _holds(firsts, ranges, uid)], earlier=True)
