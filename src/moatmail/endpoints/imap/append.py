# SPDX-License-Identifier: Apache-2.0
"""APPEND and REPLACE: messages their owner puts into a mailbox, scanned and sealed while they come.

Obeys RFC 3501 §6.3.11, RFC 3502 (several, all or none), RFC 3516 §4.4 (binary parts),
RFC 4315 §3 (APPENDUID), RFC 8508 (REPLACE), RFC 9208 §4.3 (OVERQUOTA), RFC 9755 §4 (headers in UTF-8), RFC 5321 §6.1 by analogy: OK means durable.
Must never know how content is kept.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Final

from moatmail.core.errors import NotFoundError, OverQuotaError
from moatmail.core.limits.endpoints import BINARY_APPEND, PIECE
from moatmail.crypto.seal import new_id
from moatmail.endpoints.imap.appending import Appending, Sealed
from moatmail.endpoints.imap.conversation import Conversation, RefusedError
from moatmail.endpoints.imap.sync import sync
from moatmail.mailbox import mailboxes, messages
from moatmail.mailbox.incoming import HeaderTooLargeError
from moatmail.mailbox.reading import fetch_rows
from moatmail.message.binary import without_binary
from moatmail.store.operations import Append, Replace
from moatmail.wire.imap import events, responses
from moatmail.wire.imap.moment import ZonedMoment
from moatmail.wire.imap.sequence import STAR
from moatmail.wire.imap.server import Result

_FIRST_SECOND: Final = int(datetime.min.replace(tzinfo=UTC).timestamp())
_LAST_SECOND: Final = int(datetime.max.replace(microsecond=0, tzinfo=UTC).timestamp())
_GONE = RefusedError(b"the message, or the mailbox, is gone: nothing was replaced", b"EXPUNGEISSUED")
_NUL = b"\0"
# RFC 3501 §9, RFC 9051 §9: no literal but one of eight bits (RFC 3516 §4.4) has a NUL in it.
_HAS_NUL = RefusedError(b"a message with NUL in it has to come as a binary literal", b"CANNOT")
# RFC 9755 §4: who did not say that he knows UTF-8 cannot mean it.
_RAW_HEADER = RefusedError(b"octets beyond ASCII in the header need ENABLE UTF8=ACCEPT", b"CANNOT")
_HEADER_TOO_LARGE = RefusedError(b"the header of the message is too large", b"TOOBIG")


async def on_append(conversation: Conversation, command: events.Append) -> None:
    """Judge the announced message before an octet of it comes."""
    sealed: list[Sealed] = []
    try:
        if command.index:
            sealed = await _seal_last(conversation)
        conversation.appending = await _begin(conversation, command, sealed)
    except BaseException:
        conversation.drop_append()  # RFC 3502 §3: one that cannot be kept spoils all
        raise
    conversation.engine.admit()


async def _seal_last(conversation: Conversation) -> list[Sealed]:
    """Seal the message that just came, so that at most one is open at a time, and give all that wait."""
    appending = conversation.appending
    if appending is None:
        raise RefusedError(b"the message was dropped")
    appending.sealed.append(await _seal(conversation, appending))
    return appending.sealed


async def _begin(conversation: Conversation, command: events.Append, sealed: list[Sealed]) -> Appending:
    account = conversation.account
    replaces, given_back = await _replaced(conversation, command.replaces) if command.replaces is not None else (0, 0)
    try:
        row = await mailboxes.find(account, command.mailbox)
    except NotFoundError as error:
        raise RefusedError(error.public.encode(), b"TRYCREATE") from None
    owner = await account.row()
    waiting = sum(one.content.size for one in sealed) - given_back
    if owner.quota_octets and owner.used_octets + waiting + command.size > owner.quota_octets:
        raise OverQuotaError
    if command.binary and command.size > BINARY_APPEND:
        raise RefusedError(b"a message with binary parts must be smaller", b"TOOBIG")
    keywords = tuple(word.decode() for word in command.flags.keywords)
    received_at = conversation.now() if command.date is None else _internal_date(command.date)
    now = conversation.door.clock.monotonic()
    earlier = conversation.appending if command.index else None
    room = conversation.door.accounts.uncommitted.begin(account.id) if earlier is None else earlier.room
    # Last: of a first message that is refused behind this, nobody would give the room back.
    room.take(command.size, conversation.engine.profile.append_limit)
    return Appending(
        row.id,
        command.flags.bits,
        keywords,
        received_at,
        conversation.door.new_content(),
        now,
        room,
        binary=[] if command.binary else None,
        sealed=sealed,
        replaces=replaces,
    )


def _internal_date(date: ZonedMoment) -> float:
    """Give the epoch seconds; raises RefusedError for what has no year in UTC, in which dates are kept: it could never be told again."""
    if not _FIRST_SECOND <= date.seconds <= _LAST_SECOND:
        raise RefusedError(b"this date cannot be kept", b"CANNOT")
    return float(date.seconds)


async def _replaced(conversation: Conversation, replacing: events.Replacing) -> tuple[int, int]:
    """Give UID and size of the message that goes; raises RefusedError where there is none, before an octet of the new one comes."""
    selected = conversation.changeable
    numbering = selected.numbering
    if replacing.uid:
        uid = replacing.number
    else:
        number = numbering.count if replacing.number == STAR else replacing.number
        if not 1 <= number <= numbering.count:
            raise RefusedError(b"no such message number", result=Result.BAD)
        uid = numbering.uid(number)
    rows = await fetch_rows(conversation.account, selected.mailbox, (uid,))
    if uid not in rows:
        raise _GONE
    return uid, rows[uid].size


async def on_append_data(conversation: Conversation, command: events.AppendData) -> None:
    """Take octets; what cannot be kept is refused, and the rest of it dropped by the engine."""
    appending = conversation.appending
    if appending is None:
        return
    if appending.binary is not None:
        appending.binary.append(command.data)
        return
    try:
        _feed(appending, appending.lines.take(command.data))
    except BaseException:
        conversation.drop_append()
        raise


def _feed(appending: Appending, data: bytes) -> None:
    if not data:
        return
    if _NUL in data:
        raise _HAS_NUL
    try:
        appending.incoming.feed(data)
    except HeaderTooLargeError:
        raise _HEADER_TOO_LARGE from None


async def on_append_end(conversation: Conversation, command: events.AppendEnd) -> None:
    """Keep the messages; OK leaves after the commit."""
    room = None if conversation.appending is None else conversation.appending.room
    try:
        sealed = await _seal_last(conversation)
        appending, conversation.appending = conversation.appending, None
        replaces = appending.replaces if appending is not None else 0
        code = await (_put_in_place(conversation, replaces, sealed[0]) if replaces else _keep(conversation, sealed))
    finally:
        conversation.drop_append()
        if room is not None:
            room.release()
    if not replaces:
        await sync(conversation)
        conversation.done(command, b"appended", code)
        return
    # RFC 8508 §3.3: where the new one is comes before the word that the old one went.
    conversation.untagged(responses.ok(code, b"replaced"))
    await sync(conversation, uid=conversation.uid_only, own=True)
    selected = conversation.selected
    # RFC 7162 §3.2.7: what went is told by no message's MODSEQ.
    conversation.done(command, b"replaced", responses.highest_modseq(selected.complete) if selected is not None and conversation.qresync else b"")


async def _seal(conversation: Conversation, appending: Appending) -> Sealed:
    account = conversation.account
    incoming = appending.incoming
    if appending.binary is not None:
        await _feed_binary(appending, appending.binary)
    _feed(appending, appending.lines.finish())
    try:
        incoming.finish()
    except HeaderTooLargeError:
        raise _HEADER_TOO_LARGE from None
    if not conversation.utf8 and conversation.door.settings().imap.raw_headers == "refuse" and not incoming.header.isascii():
        raise _RAW_HEADER
    header = incoming.header if conversation.utf8 and _is_internationalized(incoming.header) else b""
    words = await incoming.words(b"")
    content, key = await incoming.seal(b"")
    prepared = messages.Prepared(content, key, incoming.structure, incoming.moved, appending.received_at, header, words)
    return Sealed(content, messages.append(prepared, account.id, account.keys, appending.mailbox, appending.flags, appending.keywords))


def _is_internationalized(header: bytes) -> bool:
    """Tell whether a header is one of RFC 6532, which its other readers get a surrogate for.

    Raw octets in another charset, or (where the setting allows it) of a client that does not know UTF8=ACCEPT, are old mail that somebody brings
    along: it is kept and given back as it is.
    """
    if header.isascii():
        return False
    try:
        header.decode()
    except UnicodeDecodeError:
        return False
    return True


async def _feed_binary(appending: Appending, pieces: list[bytes]) -> None:
    # RFC 3516 §4.4: binary parts are kept in base64, so that every reader and every way out can carry them.
    made = await asyncio.to_thread(without_binary, b"".join(pieces))
    if made is None:
        raise RefusedError(b"NUL outside of a part cannot be kept", b"UNKNOWN-CTE")
    for start in range(0, len(made), PIECE):
        _feed(appending, appending.lines.take(made[start : start + PIECE]))
        await asyncio.sleep(0)


async def _put_in_place(conversation: Conversation, uid: int, sealed: Sealed) -> bytes:
    """Take the old message away and keep the new one, both or neither."""
    selected = conversation.changeable
    operation_id = new_id(int(conversation.now() * 1000))
    try:
        done = await conversation.account.store.write(Replace(operation_id, conversation.account.id, selected.mailbox, uid, (sealed.content,), sealed.delivery))
    except NotFoundError:
        raise _GONE from None
    conversation.did(done.placed.mailbox, done.placed.modseq, done.placed.modseq)
    return responses.append_uid(done.placed.uidvalidity, [done.placed.uid])


async def _keep(conversation: Conversation, sealed: list[Sealed]) -> bytes:
    contents = tuple([one.content for one in sealed])
    deliveries = tuple([one.delivery for one in sealed])
    try:
        # From here on the files are the store's: an answer that was lost does not tell that nothing was kept.
        placed = await conversation.account.store.write(Append(new_id(int(conversation.now() * 1000)), contents, deliveries))
    except NotFoundError:
        raise RefusedError(b"the mailbox was deleted meanwhile", b"TRYCREATE") from None
    conversation.did(placed[0].mailbox, placed[0].modseq, placed[-1].modseq)
    # RFC 3502 §3, RFC 4315 §3: the UIDs in the order of the messages.
    return responses.append_uid(placed[0].uidvalidity, [one.uid for one in placed])


async def on_append_aborted(conversation: Conversation, notice: events.AppendAborted) -> None:
    """Forget what came of it."""
    del notice
    conversation.drop_append()
