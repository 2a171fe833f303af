# SPDX-License-Identifier: Apache-2.0
"""The selected mailbox of one session: numbers as it was told them, and up to where it was told.

Obeys RFC 3501 §2.3.1.2 (message numbers), §2.3.2 (recent), RFC 5182 (``$``), RFC 7162 §3.1 (modseq).
Must never know the store; `sync` brings it up to date.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from moatmail.mailbox.changes import Since
from moatmail.mailbox.numbering import Numbering, Span
from moatmail.mailbox.view import View
from moatmail.wire.imap import flags
from moatmail.wire.imap.sequence import STAR, SequenceSet, merge


class NumberBeyondError(Exception):
    """A message number that no message has (RFC 3501 §9: BAD)."""


@dataclass(slots=True)
class Selected:
    """A few hundred octets for a mailbox of any size: the arrays are the account's, shared."""

    mailbox: int
    read_only: bool
    numbering: Numbering
    modseq: int
    uidnext: int
    keywords: dict[bytes, bytes] = field(default_factory=dict)
    """Keywords told in FLAGS: small letters -> as they are written."""
    expunged: list[int] = field(default_factory=list)
    """UIDs that went and may not be told yet (RFC 3501 §7.4.1)."""
    own: set[int] = field(default_factory=set)
    """Modseqs of our own changes that the client knows of."""
    expunged_since: int = 0
    """The modseq since which expunges wait to be told; 0 for none."""
    flags_hidden_since: int = 0
    """The modseq since which NOTIFY keeps changed flags from being told; 0 for none."""
    saved: Numbering = field(default_factory=Numbering)
    """What ``$`` stands for: the UIDs as runs; those that went since are found no more (RFC 5182 §2.1)."""
    recent: list[Span] = field(default_factory=list)
    """Runs of UIDs that this session was the first to be told of."""

    def since(self, account: int) -> Since:
        """Give what the client knows: changes are asked from there."""
        return Since(account, self.mailbox, self.modseq, self.uidnext, lambda: self.numbering.uids(1, self.numbering.count))

    def resolve(self, sequence: SequenceSet, *, uid: bool) -> list[Span]:
        """Give the ranges of message numbers that a set names; raises NumberBeyondError for a number that is none."""
        numbering = self.numbering
        if uid:
            return numbering.spans_of_uids(self.uid_ranges(sequence))
        for pair in sequence.ranges:
            # `*` is a message that exists, so a range with it is never wholly beyond; clients ask 1:* of empty mailboxes too.
            if STAR not in pair and max(pair) > numbering.count:
                raise NumberBeyondError
        named = [(first, min(last, numbering.count)) for first, last in sequence.resolve(numbering.count)]
        if not sequence.saved:
            return named
        return list(merge(named + numbering.spans_of_uids(self.saved_ranges())))

    @property
    def complete(self) -> int:
        """Give the modseq up to which the client was told everything (RFC 7162 §3.2)."""
        return min(self.expunged_since or self.modseq, self.flags_hidden_since or self.modseq)

    def past_ranges(self, sequence: SequenceSet) -> tuple[Span, ...]:
        """Give the sorted, disjoint ranges that a set of UIDs names among all that ever were: ``*`` may have gone."""
        named = sequence.resolve(self.uidnext - 1)
        return merge([*named, *self.saved_ranges()]) if sequence.saved else named

    def saved_ranges(self) -> list[Span]:
        """Give the UID ranges that ``$`` stands for."""
        return list(self.saved.uid_spans(1, self.saved.count))

    def uid_ranges(self, sequence: SequenceSet) -> tuple[Span, ...]:
        """Give the sorted, disjoint ranges that a set of UIDs names."""
        named = sequence.resolve(self.numbering.last_uid)
        return merge([*named, *self.saved_ranges()]) if sequence.saved else named

    def reaches_new(self, sequence: SequenceSet) -> bool:
        """Tell whether a set of UIDs may name a message that the client was not told of."""
        return any(STAR in pair or max(pair) >= self.uidnext for pair in sequence.ranges)

    def is_aligned(self, view: View) -> bool:
        """Tell whether message number n is place n - 1 of the view: nothing went that we were not told of."""
        return not self.expunged and view.vanished_at <= self.modseq

    def places(self, view: View, page: Sequence[tuple[int, int]]) -> slice | list[int] | None:
        """Give the places in the view of messages (number, UID), by rising number; None where one of them is gone."""
        first, last = page[0][0] - 1, page[-1][0]
        if last - first == len(page) and last <= len(view.uids) and self.is_aligned(view):
            return slice(first, last)
        found = [view.place(uid) for _number, uid in page]
        return None if min(found) < 0 else found

    def is_recent(self, uid: int) -> bool:
        """Tell whether a message is recent to this session."""
        return any(first <= uid <= last for first, last in self.recent)

    def bits(self, uid: int, bits: int) -> int:
        """Give a message's flags as this session sees them."""
        return bits | flags.RECENT if self.recent and self.is_recent(uid) else bits

    def add_recent(self, first: int, beyond: int) -> None:
        """Take UIDs from `first` to below `beyond` as recent."""
        if first >= beyond:
            return
        if self.recent and self.recent[-1][1] == first - 1:
            self.recent[-1] = (self.recent[-1][0], beyond - 1)
        else:
            self.recent.append((first, beyond - 1))

    def count_recent(self) -> int:
        """Give how many messages are recent to this session."""
        return sum(self.numbering.rank(last + 1) - self.numbering.rank(first) for first, last in self.recent)
