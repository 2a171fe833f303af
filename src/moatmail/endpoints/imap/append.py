# SPDX-License-Identifier: Apache-2.0
"""APPEND: a message its owner puts into a mailbox, scanned and sealed while it comes.

Obeys RFC 3501 §6.3.11, RFC 4315 §3 (APPENDUID), RFC 9208 §4.3 (OVERQUOTA), RFC 5321 §6.1 by analogy: OK means durable.
Must never know how content is kept.
"""

from __future__ import annotations

from moatmail.core.errors import NotFoundError, OverQuotaError
from moatmail.crypto.seal import new_id
from moatmail.endpoints.imap.appending import Appending
from moatmail.endpoints.imap.conversation import Conversation, RefusedError
from moatmail.endpoints.imap.sync import sync
from moatmail.mailbox import mailboxes, messages
from moatmail.mailbox.incoming import HeaderTooLargeError
from moatmail.store.operations import Append
from moatmail.wire.imap import events, responses

_HEADER_TOO_LARGE = RefusedError(b"the header of the message is too large", b"TOOBIG")


async def on_append(conversation: Conversation, command: events.Append) -> None:
    """Judge the announced message before an octet of it comes."""
    account = conversation.account
    conversation.drop_append()
    try:
        row = await mailboxes.find(account, command.mailbox)
    except NotFoundError as error:
        raise RefusedError(error.public.encode(), b"TRYCREATE") from None
    owner = await account.row()
    if owner.quota_octets and owner.used_octets + command.size > owner.quota_octets:
        raise OverQuotaError
    keywords = tuple(word.decode() for word in command.flags.keywords)
    received_at = conversation.now() if command.date is None else float(command.date.seconds)
    conversation.appending = Appending(row.id, command.flags.bits, keywords, received_at, conversation.door.new_content(), conversation.door.clock.monotonic())
    conversation.engine.admit()


async def on_append_data(conversation: Conversation, command: events.AppendData) -> None:
    """Take octets; what cannot be kept is refused, and the rest of it dropped by the engine."""
    appending = conversation.appending
    if appending is None:
        return
    try:
        _feed(appending, appending.lines.take(command.data))
    except BaseException:
        conversation.drop_append()
        raise


def _feed(appending: Appending, data: bytes) -> None:
    if not data:
        return
    try:
        appending.incoming.feed(data)
    except HeaderTooLargeError:
        raise _HEADER_TOO_LARGE from None


async def on_append_end(conversation: Conversation, command: events.AppendEnd) -> None:
    """Keep the message; OK leaves after the commit."""
    appending = conversation.appending
    if appending is None:
        raise RefusedError(b"the message was dropped")
    try:
        code = await _keep(conversation, appending)
    finally:
        conversation.drop_append()
    await sync(conversation)
    conversation.done(command, b"appended", code)


async def _keep(conversation: Conversation, appending: Appending) -> bytes:
    account = conversation.account
    incoming = appending.incoming
    _feed(appending, appending.lines.finish())
    try:
        incoming.finish()
    except HeaderTooLargeError:
        raise _HEADER_TOO_LARGE from None
    content, key = await incoming.seal(b"")
    prepared = messages.Prepared(content, key, incoming.structure, incoming.moved, appending.received_at)
    delivery = messages.append(prepared, account.id, account.keys, appending.mailbox, appending.flags, appending.keywords)
    try:
        placed = await account.store.write(Append(new_id(int(conversation.now() * 1000)), (content,), (delivery,)))
    except NotFoundError:
        raise RefusedError(b"the mailbox was deleted meanwhile", b"TRYCREATE") from None
    return responses.append_uid(placed[0].uidvalidity, [one.uid for one in placed])


async def on_append_aborted(conversation: Conversation, notice: events.AppendAborted) -> None:
    """Forget what came of it."""
    del notice
    conversation.drop_append()
