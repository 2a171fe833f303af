# SPDX-License-Identifier: Apache-2.0
"""STORE, COPY, MOVE, EXPUNGE, UID EXPUNGE.

Obeys RFC 3501 §6.4.3, §6.4.6, §6.4.7, RFC 4315 (UIDPLUS), RFC 6851 (MOVE), RFC 7162 §3.1.3 (UNCHANGEDSINCE, MODIFIED).
Must never know how rows are kept.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence

from moatmail.core.errors import NotFoundError
from moatmail.core.limits.endpoints import VANISHED
from moatmail.core.limits.mailbox import CHANGES, MOVED
from moatmail.endpoints.imap.answers import written_ranges
from moatmail.endpoints.imap.conversation import Conversation, RefusedError
from moatmail.endpoints.imap.selected import NumberBeyondError, Selected
from moatmail.endpoints.imap.sync import enable_condstore, sync, tell_flags, tell_keywords
from moatmail.mailbox import mailboxes, placements
from moatmail.mailbox.numbering import Numbering, Span
from moatmail.mailbox.placements import FlagChange
from moatmail.mailbox.view import View
from moatmail.store.operations import FlagsStored
from moatmail.store.queries import MailboxRow
from moatmail.wire.imap import events, responses
from moatmail.wire.imap.sequence import SequenceSet
from moatmail.wire.imap.server import Result


async def resolve(conversation: Conversation, sequence: SequenceSet, *, uid: bool) -> list[Span]:
    """Give the message numbers a set names, a long set in slices; raises RefusedError (BAD) for numbers that no message has."""
    selected = conversation.box
    if uid and len(sequence.ranges) > VANISHED:
        await conversation.flush()  # to read it may have been a slice of work already
        return await numbers_of(conversation, selected.numbering, selected.uid_ranges(sequence))
    try:
        return selected.resolve(sequence, uid=uid)
    except NumberBeyondError:
        raise RefusedError(b"no such message number", result=Result.BAD) from None


async def numbers_of(conversation: Conversation, numbering: Numbering, ranges: Sequence[Span]) -> list[Span]:
    """Give the message numbers of UIDs in `ranges` (sorted, disjoint), in slices."""
    spans: list[Span] = []
    for start in range(0, len(ranges), VANISHED):
        spans.extend(numbering.spans_of_uids(ranges[start : start + VANISHED]))
        await conversation.pause()
    return spans


async def named_uids(conversation: Conversation, spans: list[Span]) -> list[int]:
    """Give the UIDs of ranges of message numbers, in slices: a mailbox full of holes has a run for every message."""
    uids: list[int] = []
    for first, last in spans:
        for count, (low, high) in enumerate(conversation.box.numbering.uid_spans(first, last)):
            uids.extend(range(low, high + 1))
            if count % CHANGES == CHANGES - 1:
                await conversation.pause()
    return uids


async def current_view(conversation: Conversation) -> View:
    """Give the arrays of the selected mailbox as of now."""
    view = await conversation.account.views.current(conversation.box.mailbox)
    if view is None:
        raise NotFoundError(public="the mailbox was deleted")
    return view


# ---------------------------------------------------------------- STORE


async def on_store(conversation: Conversation, command: events.Store) -> None:
    """Change flags, slice by slice."""
    selected = conversation.changeable
    if command.unchanged_since is not None:
        enable_condstore(conversation)
    if command.uid:
        await sync(conversation, uid=True)
    uids = await named_uids(conversation, await resolve(conversation, command.sequence, uid=command.uid))
    change = await _change(conversation, command)
    failed: list[int] = []
    found = 0
    for part in placements.slices(uids):
        view = await current_view(conversation)
        before, upto = {uid: view.modseqs[place] for uid in part if (place := view.place(uid)) >= 0}, view.modseq
        stored = await placements.set_flags(conversation.account, selected.mailbox, part, change, conversation.now())
        hidden = _hidden(selected, stored, before, upto) if command.silent else frozenset()
        await _tell_stored(conversation, command, stored, before, hidden)
        failed.extend(stored.failed)
        found += len(stored.rows) + len(stored.failed)
        await conversation.flush()
    await sync(conversation, expunge=command.uid, uid=command.uid)
    # RFC 7162 §3.1.3: message numbers after STORE, UIDs after UID STORE.
    missed = sorted(failed) if command.uid else sorted(number for uid in failed if (number := selected.numbering.number(uid)))
    code = responses.modified(missed) if missed else b""
    if found < len(uids) and not command.uid:
        # RFC 5530 §3, RFC 2180 §4.2; what was left alone is told even then (RFC 7162 §3.1.3, example 11).
        raise RefusedError(b"some of the messages are gone", code or b"EXPUNGEISSUED")
    conversation.done(command, b"stored", code)


async def _change(conversation: Conversation, command: events.Store) -> FlagChange:
    # RFC 3501 §2.3.2: keywords have no case; one spelling a mailbox, so that removing finds what adding wrote.
    spellings = (await current_view(conversation)).spellings if command.flags.keywords else {}
    words = tuple(dict.fromkeys(spellings.get(word.lower(), word).decode() for word in command.flags.keywords))
    since = -1 if command.unchanged_since is None else command.unchanged_since
    return FlagChange(command.mode.value, command.flags.bits, words, since)


def _hidden(selected: Selected, stored: FlagsStored, before: dict[int, int], upto: int) -> frozenset[int]:
    """Give the UIDs that we changed and another before us, of which the client was not told yet: our modseq hides his from `sync`."""
    ours = [row.uid for row in stored.rows if row.modseq == stored.highestmodseq and before.get(row.uid) != row.modseq]
    if stored.highestmodseq > upto + 1:
        return frozenset(ours)  # somebody was between our look and our change: it may have been any of them
    return frozenset([uid for uid in ours if (was := before.get(uid, 0)) > selected.modseq and was not in selected.own])


async def _tell_stored(conversation: Conversation, command: events.Store, stored: FlagsStored, before: dict[int, int], hidden: frozenset[int]) -> None:
    selected = conversation.box
    tell_keywords(conversation, selected, (word for row in stored.rows for word in row.keywords))
    if any(row.modseq == stored.highestmodseq and before.get(row.uid) != row.modseq for row in stored.rows):
        if stored.highestmodseq == selected.modseq + 1:
            selected.modseq += 1  # nothing else happened since the client was last told: what we did need not be read again
        else:
            selected.own.add(stored.highestmodseq)
    # RFC 7162 §3.1.3: the new modseqs are told even when the flags are not (.SILENT).
    await tell_flags(conversation, selected, [row for row in stored.rows if row.uid not in hidden], uid=command.uid, values=not command.silent)
    # RFC 3501 §6.4.6: what another changed is told, silent or not.
    await tell_flags(conversation, selected, [row for row in stored.rows if row.uid in hidden], uid=command.uid)


# ---------------------------------------------------------------- COPY and MOVE


async def _target(conversation: Conversation, name: str) -> MailboxRow:
    try:
        return await mailboxes.find(conversation.account, name)
    except NotFoundError as error:
        raise RefusedError(error.public.encode(), b"TRYCREATE") from None  # RFC 3501 §6.4.7


async def on_copy(conversation: Conversation, command: events.Copy) -> None:
    """Copy messages, all or none."""
    selected = conversation.box
    if command.uid:
        await sync(conversation, uid=True)
    uids = await named_uids(conversation, await resolve(conversation, command.sequence, uid=command.uid))
    target = await _target(conversation, command.mailbox)
    code = b""
    if uids:
        copied = await placements.copy(conversation.account, selected.mailbox, target.id, uids, conversation.now())
        if copied.source_uids:
            conversation.did(target.id, copied.target_modseq - len(copied.target_uids) + 1, copied.target_modseq)
            code = responses.copy_uid(
                copied.uidvalidity, await written_ranges(conversation, copied.source_uids), await written_ranges(conversation, copied.target_uids)
            )
    await sync(conversation, uid=command.uid)
    conversation.done(command, b"copied", code)


async def on_move(conversation: Conversation, command: events.Move) -> None:
    """Move messages; where they went is told before they are told as gone (RFC 6851 §4.3)."""
    selected = conversation.changeable
    if command.uid:
        await sync(conversation, uid=True)
    uids = await named_uids(conversation, await resolve(conversation, command.sequence, uid=command.uid))
    target = await _target(conversation, command.mailbox)
    source: list[int] = []
    there: list[int] = []
    try:
        for part in placements.slices(uids, MOVED):
            moved = await placements.move(conversation.account, selected.mailbox, target.id, part, conversation.now())
            source.extend(moved.source_uids)
            there.extend(moved.target_uids)
            if target.id != selected.mailbox:
                conversation.did(target.id, moved.target_modseq - len(moved.target_uids) + 1, moved.target_modseq)
    finally:
        # RFC 6851 §3.3: what was moved before something failed is moved, and told.
        if source:
            code = responses.copy_uid(target.uidvalidity, await written_ranges(conversation, source), await written_ranges(conversation, there))
            conversation.untagged(responses.ok(code, b"moved"))
    await sync(conversation, uid=command.uid, own=True)
    # RFC 6851 §4.4: as EXPUNGE does (RFC 7162 §3.2.7).
    conversation.done(command, b"moved", _highest(conversation, selected, went=bool(source)))


# ---------------------------------------------------------------- EXPUNGE


async def on_expunge(conversation: Conversation, command: events.Expunge) -> None:
    r"""Remove all messages with ``\Deleted``."""
    selected = conversation.changeable
    await sync(conversation)
    view = await current_view(conversation)
    went = await _expunge(conversation, selected, view.deleted())
    conversation.done(command, b"expunged", _highest(conversation, selected, went=went))


async def on_uid_expunge(conversation: Conversation, command: events.UidExpunge) -> None:
    r"""Remove those of the named messages that bear ``\Deleted`` (RFC 4315 §2.1)."""
    selected = conversation.changeable
    await sync(conversation, uid=True)
    deleted = (await current_view(conversation)).deleted()
    wanted: list[int] = []
    for count, (low, high) in enumerate(selected.uid_ranges(command.sequence)):
        wanted.extend(deleted[bisect_left(deleted, low) : bisect_right(deleted, high)])
        if count % CHANGES == CHANGES - 1:
            await conversation.pause()
    went = await _expunge(conversation, selected, wanted)
    conversation.done(command, b"expunged", _highest(conversation, selected, went=went))


def _highest(conversation: Conversation, selected: Selected, *, went: bool) -> bytes:
    """RFC 7162 §3.2.7: up to where the client knows all now, for it will not hear of what went by any message's MODSEQ."""
    return responses.highest_modseq(selected.complete) if went and conversation.qresync else b""


async def _expunge(conversation: Conversation, selected: Selected, uids: Iterable[int]) -> bool:
    """Remove messages; tells whether anything went."""
    before = selected.modseq
    await placements.expunge(conversation.account, selected.mailbox, list(uids), conversation.now())
    await sync(conversation, own=True)
    return selected.modseq != before
