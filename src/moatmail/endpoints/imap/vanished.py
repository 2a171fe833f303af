# SPDX-License-Identifier: Apache-2.0
"""VANISHED: which messages went, told by their UIDs, in ranges and in slices.

Obeys RFC 7162 §3.2.6 (VANISHED of UID FETCH), §3.2.10 (both forms of the response, never joined).
Must never know which command asks.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import islice

from moatmail.core.limits.endpoints import VANISHED
from moatmail.core.limits.mailbox import CHANGES
from moatmail.endpoints.imap.conversation import Conversation
from moatmail.endpoints.imap.selected import Selected
from moatmail.mailbox.numbering import Numbering, Span
from moatmail.mailbox.vanished import ForgottenError, vanished_since
from moatmail.wire.imap import responses


async def tell_vanished(conversation: Conversation, uids: Sequence[int], *, earlier: bool = False) -> None:
    """Write VANISHED of `uids` (rising), `earlier` as that of messages the client counts no more."""
    gone = Numbering(uids)
    spans = gone.uid_spans(1, gone.count)
    while part := list(islice(spans, VANISHED)):
        line = responses.vanished(part, earlier=earlier)
        conversation.untagged(line)
        await conversation.pause(len(line))


async def tell_earlier(conversation: Conversation, selected: Selected, ranges: Sequence[Span], since: int) -> None:
    """Tell which UIDs of `ranges` (sorted, disjoint) went after `since`: never one that the client was told to be there."""
    if not ranges:
        return
    try:
        await _tell_remembered(conversation, selected, ranges, since)
    except ForgottenError:
        # RFC 7162 §3.2.5.1: the client is told of more than went since; what of it it does not know it passes over.
        await _tell_absent(conversation, selected.numbering, ranges, selected.uidnext)


async def _tell_absent(conversation: Conversation, numbering: Numbering, ranges: Sequence[Span], uidnext: int) -> None:
    spans = _absent(numbering, ranges, uidnext)
    while part := list(islice(spans, VANISHED)):
        line = responses.vanished(part, earlier=True)
        conversation.untagged(line)
        await conversation.pause(len(line))


def _absent(numbering: Numbering, ranges: Sequence[Span], uidnext: int) -> Iterator[Span]:
    """Give the UIDs of `ranges` that no message has, of those that were given."""
    for low, high in ranges:
        start, last = low, min(high, uidnext - 1)
        for first, until in numbering.uid_spans(numbering.rank(low) + 1, numbering.rank(last + 1)):
            if start < first:
                yield start, first - 1
            start = until + 1
        if start <= last:
            yield start, last


async def _tell_remembered(conversation: Conversation, selected: Selected, ranges: Sequence[Span], since: int) -> None:
    async for batch in vanished_since(conversation.account, selected.mailbox, since, ranges[0][0], ranges[-1][1]):
        uids = await _within(conversation, batch.uids, ranges) if len(ranges) > 1 else batch.uids
        if batch.modseq > selected.modseq:
            # Went after this client's last look: it counts them still, and is told of them as gone when that may be.
            uids = await _without_present(conversation, selected, uids)
        await tell_vanished(conversation, uids, earlier=True)


async def _within(conversation: Conversation, uids: array[int], ranges: Sequence[Span]) -> array[int]:
    kept = array("I")
    for count, (low, high) in enumerate(ranges):
        kept.extend(uids[bisect_left(uids, low) : bisect_right(uids, high)])
        if count % VANISHED == VANISHED - 1:
            await conversation.pause()
    return kept


async def _without_present(conversation: Conversation, selected: Selected, uids: array[int]) -> array[int]:
    kept = array("I")
    for start in range(0, len(uids), CHANGES):
        kept.extend([uid for uid in uids[start : start + CHANGES] if uid < selected.uidnext and not selected.numbering.number(uid)])
        await conversation.pause()
    return kept
