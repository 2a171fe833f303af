# SPDX-License-Identifier: Apache-2.0
r"""NOTIFY: takes the wishes, and tells what is due, between commands and while the client idles.

Obeys RFC 5465 §3.1, §4 (IDLE), §5 (what is told of which event), RFC 5258 §3 (``\NonExistent``), RFC 2180 §3.3 (the selected mailbox is gone).
Must never know where hints come from: `mailbox/watching` compares, `watch` judges.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from moatmail.core.errors import TemporaryError
from moatmail.core.limits.endpoints import NOTIFY_WATCHED
from moatmail.endpoints.imap.conversation import Conversation, RefusedError
from moatmail.endpoints.imap.fetch import Fetch, Plan
from moatmail.endpoints.imap.folders import USES
from moatmail.endpoints.imap.sync import enable_condstore, sync, tell_flags
from moatmail.endpoints.imap.watch import Watch
from moatmail.mailbox.changes import Since, fetch_changes
from moatmail.mailbox.watching import Box, TooMuchWatchedError, Watching, watch
from moatmail.wire.imap import events, fetch_grammar, responses
from moatmail.wire.imap.fetch import Attribute, FetchItem
from moatmail.wire.imap.notify import OVERFLOW, NotifyEvent
from moatmail.wire.imap.sequence import SequenceSet

_TOO_MUCH: Final = RefusedError(b"too many mailboxes to watch", OVERFLOW)


async def on_notify(conversation: Conversation, command: events.Notify) -> None:
    """Replace the wishes; what is not understood or too much leaves the old ones as they were (RFC 5465 §3.1)."""
    if conversation.watch is not None:
        await _tell_due(conversation, conversation.watch)
    wishes = await _begin(conversation, command)
    conversation.watch_by(None)
    try:
        if command.groups:
            # RFC 5465 §3.1: a NOTIFY SET that succeeds is a NOOP too, whatever is to be told from now on; §5: so each gives a new snapshot.
            await sync(conversation, uid=True)
            await _tell_hidden_flags(conversation)
    finally:
        conversation.watch_by(wishes)
    if command.status:
        for box in await wishes.covered():
            _tell_status(conversation, wishes, box)
            await conversation.pause()
    conversation.done(command, b"done")


async def _begin(conversation: Conversation, command: events.Notify) -> Watch:
    wishes = Watch(command.groups, conversation.connection.notify)
    if wishes.items:
        wishes.items = _as_told(wishes.items)
        if Attribute.MODSEQ in wishes.items:
            enable_condstore(conversation)
    if wishes.wants_others:
        door = conversation.door
        try:
            wishes.watching = await watch(conversation.account, door.listeners, door.clock, wishes)
        except TooMuchWatchedError:
            raise _TOO_MUCH from None
        await _bound(wishes, wishes.watching)
    return wishes


async def _bound(wishes: Watch, watching: Watching) -> None:
    """Refuse to watch the messages of too many mailboxes (RFC 5465 §3.1)."""
    covered = NOTIFY_WATCHED + 1
    try:
        covered = len(await wishes.covered())
    finally:
        if covered > NOTIFY_WATCHED:
            watching.remove(wishes)
    if covered > NOTIFY_WATCHED:
        raise _TOO_MUCH


def _as_told(items: tuple[FetchItem, ...]) -> tuple[FetchItem, ...]:
    r"""Let nothing set ``\Seen``: nobody has read what was only told (RFC 5465 §5.2)."""
    return tuple([item if isinstance(item, Attribute) else replace(item, peek=True) for item in items])


async def _tell_hidden_flags(conversation: Conversation) -> None:
    """Tell the flags that changed while only new and expunged messages were told."""
    selected, account = conversation.selected, conversation.account
    if selected is None or not selected.flags_hidden_since:
        return
    since, selected.flags_hidden_since = selected.flags_hidden_since, 0
    changes = await fetch_changes(account.store, Since(account.id, selected.mailbox, since, selected.uidnext))
    if changes is not None:
        await tell_flags(conversation, selected, [row for row in changes.rows if row.modseq <= selected.modseq], uid=True)


# ---------------------------------------------------------------- telling


async def look(conversation: Conversation) -> None:
    """Tell what is due: of the selected mailbox and of all others; called between commands and while the client idles."""
    wishes = conversation.watch
    # RFC 5465 §6.1.2: SELECTED-DELAYED, and who never sent NOTIFY, is told of expunges while a command is at work that allows it: IDLE does.
    await sync(conversation, expunge=conversation.idle is not None or (wishes is not None and wishes.immediate))
    if wishes is not None and not conversation.engine.closing:
        await _tell_due(conversation, wishes)


async def _tell_due(conversation: Conversation, wishes: Watch) -> None:
    conversation.begin_slice()
    if wishes.overflowed:
        # RFC 5465 §5.8: as if NOTIFY NONE had come.
        conversation.watch_by(Watch((), conversation.connection.notify))
        conversation.untagged(responses.ok(OVERFLOW, b"too much happens to tell all of it"))
        return
    await _tell_fresh(conversation, wishes)
    while wishes.names:
        name = next(iter(wishes.names))
        _tell_name(conversation, wishes, name, wishes.names.pop(name))
        await conversation.pause()
    while wishes.boxes:
        number = next(iter(wishes.boxes))
        del wishes.boxes[number]
        box = wishes.watching.boxes.get(number) if wishes.watching is not None else None
        if box is not None:
            _tell_status(conversation, wishes, box)
            await conversation.pause()


async def _tell_fresh(conversation: Conversation, wishes: Watch) -> None:
    """Tell of new messages what the client wants to know, after EXISTS (RFC 5465 §5.2)."""
    spans, wishes.fresh = wishes.fresh, []
    selected = conversation.selected
    if selected is None or not spans:
        return
    items = wishes.items if conversation.uid_only else fetch_grammar.with_uid(wishes.items)
    plan = Plan.of(events.Fetch(b"*", True, SequenceSet(()), items), utf8=conversation.utf8)
    try:
        await Fetch(conversation, selected, plan, None).run(selected.numbering.spans_of_uids(spans))
    except TemporaryError:
        wishes.fresh = spans + wishes.fresh  # the store is away for a moment: told at the next look, some of it twice
        raise


def _tell_status(conversation: Conversation, wishes: Watch, box: Box) -> None:
    """Write STATUS of a mailbox that is not the selected one: of that tell EXISTS and its like (RFC 5465 §5.1-§5.3)."""
    if conversation.selected is not None and conversation.selected.mailbox == box.number:
        return
    flags = NotifyEvent.FLAG_CHANGE in wishes.events_of(box)
    values = [(b"MESSAGES", box.messages), (b"UIDNEXT", box.uidnext), (b"UIDVALIDITY", box.uidvalidity)]
    if flags:
        values.append((b"UNSEEN", box.unseen))
    if flags or conversation.condstore:
        values.append((b"HIGHESTMODSEQ", max(box.modseq, 1)))
    conversation.untagged(responses.status(box.name, values, utf8=conversation.utf8))


def _tell_name(conversation: Conversation, wishes: Watch, name: str, old: str | None) -> None:
    """Write LIST of a name with all its attributes as they are now (RFC 5465 §5.4, §5.5)."""
    watching = wishes.watching
    if watching is None:
        return
    box = watching.find(name)
    attributes = [] if box is not None else [b"\\NonExistent"]
    attributes.append(b"\\HasChildren" if watching.has_children(name) else b"\\HasNoChildren")
    if name in watching.subscriptions:
        attributes.append(b"\\Subscribed")
    if box is not None and (use := USES.get(box.special_use or "")) is not None:
        attributes.append(use)
    conversation.untagged(responses.changed_name(attributes, name, old, utf8=conversation.utf8))
