# SPDX-License-Identifier: Apache-2.0
"""Tells a session what changed in its mailbox since it was last told: expunges, new messages, flags.

Obeys RFC 3501 §5.2, §7.3.1, §7.4.1 (when EXPUNGE may be told), RFC 7162 §3.1 (MODSEQ of what is told), §3.2
(VANISHED, HIGHESTMODSEQ while something waits), RFC 9051 §7.5.2, RFC 9586 §3 (UIDFETCH, VANISHED).
Must never know which command asks.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from operator import attrgetter

from moatmail.core.limits.endpoints import IDLE_PUSHES, OWN_MODSEQS
from moatmail.core.limits.mailbox import CHANGES
from moatmail.endpoints.imap.conversation import Conversation
from moatmail.endpoints.imap.selected import Selected
from moatmail.endpoints.imap.vanished import tell_vanished
from moatmail.mailbox.changes import Changes, fetch_changes
from moatmail.store.operations import PlacementRow
from moatmail.wire.imap import responses


async def sync(conversation: Conversation, *, expunge: bool = True, uid: bool = False, own: bool = False) -> None:
    """Tell what changed; with `expunge` also which messages went, with `uid` the UIDs of changed ones. Ends the session when the mailbox is gone.

    Where NOTIFY wants nothing of the selected mailbox nothing is told, but the expunges that are the command's `own`.
    """
    selected, watch = conversation.selected, conversation.watch
    if selected is None:
        return
    if watch is not None and not watch.messages:
        await _keep_still(conversation, selected, own=own)
        return
    account = conversation.account
    changes = await fetch_changes(account.store, selected.since(account.id))
    if changes is None:
        # RFC 2180 §3.3: nothing that this client thinks to have is there any more.
        conversation.deselect()
        conversation.engine.bye(b"the mailbox was deleted")
        return
    if changes.modseq == selected.modseq and not (expunge and selected.expunged):
        _tell_complete(conversation, selected)
        return
    first_new, waited = selected.uidnext, bool(selected.expunged)
    if watch is not None and not watch.flags:
        selected.flags_hidden_since = selected.flags_hidden_since or selected.modseq
    _advance(selected, changes)
    if expunge:
        await _tell_expunged(conversation, selected)
    known = bisect_left(changes.rows, first_new, key=attrgetter("uid"))
    _tell_arrived(conversation, selected, [row.uid for row in changes.rows[known:]])
    if watch is not None and watch.items:
        # RFC 5465 §5.2: what the session appended itself it knows.
        watch.arrived([row.uid for row in changes.rows[known:] if row.modseq not in selected.own])
    told: list[PlacementRow] = []
    for start in range(0, len(changes.rows), CHANGES):
        part = changes.rows[start : start + CHANGES]
        tell_keywords(conversation, selected, (word for row in part for word in row.keywords))
        told.extend([row for row in part[: max(0, known - start)] if row.modseq not in selected.own])
        await conversation.pause()
    # What we did ourselves is behind us once we were told of everything up to it.
    selected.own = {modseq for modseq in selected.own if modseq > selected.modseq}
    if watch is None or watch.flags:
        await tell_flags(conversation, selected, told, uid=uid or watch is not None)
    _tell_complete(conversation, selected, waited=waited)


async def sync_silently(conversation: Conversation, *, uid: bool) -> None:
    """Tell what changed behind a FETCH whose one message is gone, unless a client could take it for the answer: then the next command tells.

    fetchmail gives up at any line that is not the FETCH response it waits for; getmail takes the first FETCH response, breaks at flags, and fetches
    all mail once more.
    """
    selected = conversation.selected
    if not uid or selected is None:
        return
    account = conversation.account
    changes = await fetch_changes(account.store, selected.since(account.id))
    if changes is None or all(row.uid >= selected.uidnext or row.modseq in selected.own for row in changes.rows):
        await sync(conversation, uid=True)


def _advance(selected: Selected, changes: Changes) -> None:
    """Go on to the modseq of `changes`."""
    selected.expunged.extend([gone for gone in changes.vanished if gone < selected.uidnext])
    if selected.expunged:
        selected.expunged_since = selected.expunged_since or selected.modseq
    selected.modseq, selected.uidnext = changes.modseq, changes.uidnext


def _tell_complete(conversation: Conversation, selected: Selected, *, waited: bool = False) -> None:
    """Tell up to where the client knows everything, where the mod-sequences that it saw would not tell it.

    RFC 7162 §3.2, §6: while something waits to be told, a client must not take what it saw for all there was; when what `waited` was
    told, it may.
    """
    if conversation.qresync and (waited or selected.complete < selected.modseq):
        conversation.untagged(responses.ok(responses.highest_modseq(selected.complete), b"all up to here was told"))


async def _keep_still(conversation: Conversation, selected: Selected, *, own: bool) -> None:
    """Leave the client its snapshot (RFC 5465 §5): all that happens meanwhile is told when it wants to be told again."""
    if len(selected.own) > OWN_MODSEQS:
        selected.own.clear()
    # Rows that a command shows may be newer than what the client was told of.
    _tell_complete(conversation, selected, waited=True)
    if not own:
        return
    # RFC 3501 §6.4.3: whoever expunges is told the numbers that went, whatever it wants to hear of others.
    account = conversation.account
    changes = await fetch_changes(account.store, selected.since(account.id))
    if changes is not None:
        selected.expunged.extend([gone for gone in changes.vanished if selected.numbering.number(gone)])
        await _tell_expunged(conversation, selected)


async def _tell_expunged(conversation: Conversation, selected: Selected) -> None:
    gone, selected.expunged, selected.expunged_since = sorted(set(selected.expunged)), [], 0
    if not gone:
        return
    if conversation.uid_only or conversation.qresync:
        # RFC 7162 §3.2.10.2, RFC 9586 §3.4: each UID told makes the client count one less, so none is told that it did not count.
        counted = await _counted(conversation, selected, gone)
        await conversation.work(selected.numbering.removing(counted))
        await tell_vanished(conversation, counted)
        return
    numbers = await conversation.work(selected.numbering.removing(gone))
    for start in range(0, len(numbers), CHANGES):
        part = numbers[start : start + CHANGES]
        conversation.engine.write(b"* %d EXPUNGE\r\n" * len(part) % tuple(part))
        await conversation.pause(len(part) * len(b"* 100000 EXPUNGE\r\n"))


async def _counted(conversation: Conversation, selected: Selected, gone: list[int]) -> list[int]:
    counted: list[int] = []
    for start in range(0, len(gone), CHANGES):
        counted.extend([uid for uid in gone[start : start + CHANGES] if selected.numbering.number(uid)])
        await conversation.pause()
    return counted


def _tell_arrived(conversation: Conversation, selected: Selected, arrived: list[int]) -> None:
    if not arrived:
        return
    selected.numbering.add(arrived)
    conversation.untagged(responses.exists(selected.numbering.count))
    tell_recent(conversation, selected)


def tell_recent(conversation: Conversation, selected: Selected) -> None:
    """Take as recent what no session was told of, and tell how many there are; IMAP4rev2 knows no recent messages (RFC 9051 appendix E)."""
    if conversation.rev2:
        selected.recent = []
        return
    _claim_recent(conversation, selected)
    conversation.untagged(responses.recent(selected.count_recent()))


def _claim_recent(conversation: Conversation, selected: Selected) -> None:
    """Take as recent what no session was told of; who cannot change the mailbox only looks (RFC 3501 §6.3.2: EXAMINE leaves recent messages so)."""
    recents = conversation.account.recents
    if selected.read_only:
        selected.recent = [(first, selected.uidnext - 1)] if (first := recents.first(selected.mailbox)) < selected.uidnext else []
    else:
        selected.add_recent(recents.claim(selected.mailbox, selected.uidnext), selected.uidnext)


def tell_keywords(conversation: Conversation, selected: Selected, words: Iterable[str]) -> None:
    """Tell FLAGS anew when a keyword came into use that the client was not told of (RFC 3501 §7.2.6)."""
    new = {octets.lower(): octets for word in words if (octets := word.encode()).lower() not in selected.keywords}
    if new:
        selected.keywords.update(new)
        conversation.untagged(responses.flags(sorted(selected.keywords.values())))


async def tell_flags(conversation: Conversation, selected: Selected, rows: Iterable[PlacementRow], *, uid: bool, values: bool = True) -> None:
    """Write FETCH responses with the flags of `rows` (without `values` only their modseqs), those of unknown messages left out."""
    by_uid = conversation.uid_only
    for count, row in enumerate(rows, 1):
        number = selected.numbering.number(row.uid)
        if not number:
            continue
        items = []
        # RFC 9051 §7.5.2, RFC 7162 §3.2.4: in IMAP4rev2 and after a CONDSTORE enabling command what is told unasked has the UID.
        if (uid or conversation.rev2 or conversation.condstore) and not by_uid:
            items.append(responses.uid_item(row.uid))
        if values:
            items.append(responses.flags_item(selected.bits(row.uid, row.flags), [word.encode() for word in row.keywords]))
        if conversation.condstore:
            # RFC 7162 §3.1: after a CONDSTORE enabling command every FETCH that tells flags tells the modseq too.
            items.append(responses.modseq_item(row.modseq))
        if items:
            conversation.engine.write(b"* %b\r\n" % responses.fetch(row.uid if by_uid else number, items, by_uid=by_uid))
        if count % IDLE_PUSHES == 0:
            await conversation.flush()


def enable_condstore(conversation: Conversation) -> None:
    """Take note of a CONDSTORE enabling command; within a mailbox its HIGHESTMODSEQ is told (RFC 7162 §3.1.8)."""
    if conversation.condstore:
        return
    conversation.condstore = True
    if conversation.selected is not None:
        conversation.untagged(responses.ok(responses.highest_modseq(conversation.selected.complete), b"highest"))
