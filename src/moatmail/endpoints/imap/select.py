# SPDX-License-Identifier: Apache-2.0
"""SELECT, EXAMINE, CLOSE, UNSELECT, STATUS, and waiting for changes: NOOP, CHECK, IDLE.

Obeys RFC 3501 §6.1.2, §6.3.1, §6.3.2, §6.3.10, §6.4.1, §6.4.2, RFC 2177 (IDLE), RFC 3691 (UNSELECT), RFC 7162 §3.1.2 (HIGHESTMODSEQ), §3.1.7, §3.2.5 (QRESYNC),
RFC 7889 (APPENDLIMIT), RFC 8438 (STATUS=SIZE), RFC 8474 §4 (MAILBOXID), RFC 9208 §4.1.4 (DELETED-STORAGE).
Must never know how rows are kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from moatmail.core.errors import NotFoundError
from moatmail.endpoints.imap.conversation import Conversation
from moatmail.endpoints.imap.resync import resync
from moatmail.endpoints.imap.selected import Selected
from moatmail.endpoints.imap.sync import enable_condstore, sync, tell_recent
from moatmail.mailbox import mailboxes, placements
from moatmail.mailbox.numbering import Numbering
from moatmail.mailbox.view import View
from moatmail.store.queries import DeletedOctets, MailboxRow
from moatmail.wire.imap import events, responses
from moatmail.wire.imap.object_id import mailbox_id


async def on_select(conversation: Conversation, command: events.Select | events.Examine) -> None:
    """Open a mailbox; one that was open before is closed first, whatever comes (RFC 3501 §6.3.1)."""
    if conversation.selected is not None:
        # RFC 7162 §3.2.11, RFC 9051 §7.1: what follows is of the new mailbox; told to everybody, whatever was enabled.
        conversation.untagged(responses.ok(b"CLOSED", b"the other mailbox is closed"))
    conversation.deselect()
    if command.known is not None:
        await conversation.flush()  # to read what a client knows may have been a slice of work already
    read_only = isinstance(command, events.Examine)
    account = conversation.account
    row = await mailboxes.find(account, command.mailbox)
    view = await account.views.current(row.id)
    if view is None:
        raise NotFoundError(public="no such mailbox")
    if command.condstore or command.known is not None:
        enable_condstore(conversation)
    selected = _open(view, read_only=read_only)
    conversation.selected = selected
    _describe(conversation, selected, view, row)
    if conversation.rev2:
        # RFC 9051 §6.3.2: the name as it is, whatever the client wrote.
        name = mailboxes.name_of(account, row, command.mailbox)
        old = command.mailbox if command.mailbox != name else None
        conversation.untagged(responses.changed_name((), name, old, utf8=True))
    if command.known is not None:
        try:
            await resync(conversation, selected, command.known, row.uidvalidity)
        except BaseException:
            conversation.deselect()  # RFC 3501 §6.3.1: a SELECT that fails leaves no mailbox selected
            raise
    conversation.attend()
    code, text = (b"READ-ONLY", b"examined") if read_only else (b"READ-WRITE", b"selected")
    conversation.done(command, text, code)


def _open(view: View, *, read_only: bool) -> Selected:
    return Selected(view.mailbox, read_only, Numbering(view.uids), view.modseq, view.uidnext, dict(view.spellings))


def _describe(conversation: Conversation, selected: Selected, view: View, row: MailboxRow) -> None:
    keywords = sorted(view.spellings.values())
    conversation.untagged(responses.flags(keywords))
    conversation.untagged(responses.exists(selected.numbering.count))
    tell_recent(conversation, selected)
    # RFC 9051 appendix E: IMAP4rev2 tells no first unseen message either. RFC 9586 §3: who gave up message numbers is told none.
    if (number := view.first_unseen()) and not (conversation.uid_only or conversation.rev2):
        conversation.untagged(responses.ok(responses.unseen(number), b"first unseen"))
    # RFC 3501 §7.1: with EXAMINE nothing can be changed for good.
    permanent = b"PERMANENTFLAGS ()" if selected.read_only else responses.permanent_flags(keywords, may_create=True)
    conversation.untagged(responses.ok(permanent, b"flags kept"))
    conversation.untagged(responses.ok(responses.uid_next(selected.uidnext), b"next"))
    conversation.untagged(responses.ok(responses.uid_validity(row.uidvalidity), b"valid"))
    conversation.untagged(responses.ok(responses.highest_modseq(selected.modseq), b"highest"))
    conversation.untagged(responses.ok(responses.mailbox_id(mailbox_id(row.object_id)), b"kept when it is renamed"))


async def on_close(conversation: Conversation, command: events.Close) -> None:
    r"""Remove what bears ``\Deleted`` without a word, then leave the mailbox; nothing is removed after EXAMINE (RFC 3501 §6.4.2)."""
    selected = conversation.box
    account = conversation.account
    if not selected.read_only:
        view = await account.views.current(selected.mailbox)
        if view is not None:
            await placements.expunge(account, selected.mailbox, view.deleted(), conversation.now())
    conversation.deselect()
    conversation.done(command, b"closed")


async def on_unselect(conversation: Conversation, command: events.Unselect) -> None:
    """Leave the mailbox as it is (RFC 3691 §2)."""
    conversation.deselect()
    conversation.done(command, b"unselected")


async def on_noop(conversation: Conversation, command: events.Noop | events.Check) -> None:
    """Tell what changed."""
    await sync(conversation)
    conversation.done(command, b"done")


# ---------------------------------------------------------------- IDLE


async def on_idle(conversation: Conversation, command: events.Idle) -> None:
    """Begin to push; who listens first and looks then misses nothing."""
    conversation.idle = command
    conversation.attend()
    try:
        await sync(conversation)
    except BaseException:
        conversation.stop_idle()  # a client that was refused does not idle: no message may go behind its back (RFC 3501 §7.4.1)
        raise
    conversation.engine.continue_(b"idling")


async def on_done(conversation: Conversation, command: events.Done) -> None:
    """Stop pushing, with a last look."""
    conversation.stop_idle()
    await sync(conversation)
    conversation.done(command, b"idle ended")


async def on_idle_broken(conversation: Conversation, notice: events.IdleBroken) -> None:
    """Stop pushing."""
    del notice
    conversation.stop_idle()


# ---------------------------------------------------------------- STATUS

_STATUS: Final[dict[bytes, Callable[[MailboxRow, Conversation], int | bytes]]] = {
    b"MESSAGES": lambda row, _: row.messages,
    b"RECENT": lambda row, conversation: min(row.messages, max(0, row.uidnext - conversation.account.recents.first(row.id))),
    b"UIDNEXT": lambda row, _: row.uidnext,
    b"UIDVALIDITY": lambda row, _: row.uidvalidity,
    b"UNSEEN": lambda row, _: row.unseen,
    b"HIGHESTMODSEQ": lambda row, _: max(row.highestmodseq, 1),
    b"DELETED": lambda row, _: row.deleted,  # RFC 9051 §6.3.11
    # RFC 8438 §2: the sum of the sizes, whatever the disk holds of them.
    b"SIZE": lambda row, _: row.octets,
    # RFC 7889 §4: no mailbox has a limit of its own.
    b"APPENDLIMIT": lambda _, conversation: conversation.engine.profile.append_limit,
    b"MAILBOXID": lambda row, _: b"(%b)" % mailbox_id(row.object_id),  # RFC 8474 §4.3
}


async def on_status(conversation: Conversation, command: events.Status) -> None:
    """Tell counts of a mailbox without opening it."""
    row = await mailboxes.find(conversation.account, command.mailbox)
    await tell_status(conversation, command.mailbox, row, command.items)
    conversation.done(command, b"done")


async def _deleted_storage(conversation: Conversation, row: MailboxRow) -> int:
    """RFC 9208 §4.1.4: what EXPUNGE would give back, as the sum of the sizes."""
    account = conversation.account
    return await account.store.read(DeletedOctets(account.id, row.id)) if row.deleted else 0


async def tell_status(conversation: Conversation, name: str, row: MailboxRow, items: tuple[bytes, ...]) -> None:
    """Write STATUS of one mailbox."""
    if b"HIGHESTMODSEQ" in items:
        enable_condstore(conversation)  # RFC 7162 §3.1.7: asking for it enables CONDSTORE
    storage = await _deleted_storage(conversation, row) if b"DELETED-STORAGE" in items else 0
    values = [(item, storage if item == b"DELETED-STORAGE" else _STATUS[item](row, conversation)) for item in items]
    conversation.untagged(responses.status(name, values, utf8=conversation.utf8))
