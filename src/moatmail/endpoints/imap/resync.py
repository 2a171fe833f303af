# SPDX-License-Identifier: Apache-2.0
"""What a returning client is told as it opens a mailbox: what went and what changed since it left.

Obeys RFC 7162 §3.2.5 (QRESYNC), RFC 9586 §3.3 (UIDFETCH).
Must never know how changes are kept.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from moatmail.endpoints.imap.alter import numbers_of
from moatmail.endpoints.imap.conversation import Conversation
from moatmail.endpoints.imap.fetch import Fetch, Plan
from moatmail.endpoints.imap.selected import Selected
from moatmail.endpoints.imap.vanished import tell_earlier
from moatmail.mailbox.numbering import Numbering, Span
from moatmail.wire.imap import events
from moatmail.wire.imap.fetch import Attribute
from moatmail.wire.imap.qresync import Known, Match
from moatmail.wire.imap.sequence import SequenceSet

_STEPS = 64  # runs of matches compared without a look at the clock: each is some bisections


async def resync(conversation: Conversation, selected: Selected, known: Known, uidvalidity: int) -> None:
    """Tell what happened since `known`; nothing at all where its UIDs are those of an earlier mailbox."""
    if known.uidvalidity != uidvalidity or known.modseq >= selected.modseq:
        return
    conversation.begin_slice()
    # RFC 7162 §3.2.5.1: who names no UIDs may know all that there ever were; who names some is told of no others.
    ranges = clip(((1, selected.uidnext - 1),) if known.uids is None else known.uids, 1, selected.uidnext - 1)
    matched = await _matched(conversation, selected.numbering, known.matches)
    await tell_earlier(conversation, selected, clip(ranges, matched + 1, selected.uidnext - 1) if matched else ranges, known.modseq)
    items = (Attribute.FLAGS,) if conversation.uid_only else (Attribute.UID, Attribute.FLAGS)
    plan = Plan.of(events.Fetch(b"", True, SequenceSet(()), items, known.modseq))
    fetch = Fetch(conversation, selected, plan, known.modseq)
    await fetch.run(await fetch.changed(await numbers_of(conversation, selected.numbering, ranges), known.modseq))


def clip(ranges: Sequence[Span], low: int, high: int) -> list[Span]:
    """Give what of `ranges` lies between two numbers, both included."""
    return [(max(first, low), min(last, high)) for first, last in ranges if max(first, low) <= min(last, high)]


async def _matched(conversation: Conversation, numbering: Numbering, matches: Sequence[Match]) -> int:
    """Give the highest UID that still has the number the client knows: up to it nothing went that the client does not know of.

    RFC 7162 §3.2.5.2; both lists rise, so the first match from behind is the highest.
    """
    for count, match in enumerate(reversed(matches), 1):
        if uid := _highest(numbering, match):
            return uid
        if count % _STEPS == 0:
            await conversation.pause()
    return 0


def _highest(numbering: Numbering, match: Match) -> int:
    count = min(match.count, numbering.count - match.number + 1)
    if count <= 0:
        return 0
    # A UID never falls behind its number: where one run is ahead of the other it stays ahead.
    ahead = match.uid - match.number
    place = bisect_right(range(count), ahead, key=lambda step: numbering.uid(match.number + step) - match.number - step) - 1
    return match.uid + place if place >= 0 and numbering.uid(match.number + place) == match.uid + place else 0
