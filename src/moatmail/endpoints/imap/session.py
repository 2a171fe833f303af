# SPDX-License-Identifier: Apache-2.0
"""Runs one IMAP session: each event of the engine to its handler, the unexpected caught in one place.

Obeys RFC 3501 §5.4 (autologout), §7.1.5 (BYE), RFC 2177 (what changed is told while a client idles).
Must never know IMAP's syntax (`wire/imap`) or what a command does (the files beside this one).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Final

from moatmail.core.errors import SealBrokenError
from moatmail.core.limits.endpoints import IDLE_WORD_SECONDS
from moatmail.endpoints.imap import alter, append, fetch, folders, identify, login, notify, quota, search, select, sort
from moatmail.endpoints.imap.conversation import Conversation, Door, RefusedError, refusal_of
from moatmail.endpoints.imap.sync import enable_condstore
from moatmail.net.drive import Connection, DeadlinePassedError, HandshakeFailedError, PeerGoneError
from moatmail.wire.imap import events, responses

__all__ = ["Door", "IMAPSession"]

_FAULT_OF_OURS: Final = RefusedError(b"internal error, the administrator was told; please try again later", b"SERVERBUG")
# RFC 5161 §3.1: what changes how we answer, and is told back as it is written.
_ENABLED: Final = {b"CONDSTORE": b"CONDSTORE", b"UIDONLY": b"UIDONLY", b"IMAP4REV2": b"IMAP4rev2", b"UTF8=ACCEPT": b"UTF8=ACCEPT", b"QRESYNC": b"QRESYNC"}
_APPEND_GRACE: Final = 60.0
# The ends of a connection: nobody is left to be answered.
_ENDS: Final = (PeerGoneError, DeadlinePassedError, HandshakeFailedError, ConnectionError)


class IMAPSession:
    """One connection, from the greeting to its end."""

    def __init__(self, door: Door, connection: Connection[Any], number: str) -> None:
        self._conversation = Conversation(door, connection, number)
        self._login_until = door.clock.monotonic() + door.settings().imap.login_seconds

    async def run(self) -> None:
        """Serve until the client or the server ends the session."""
        conversation = self._conversation
        engine, connection = conversation.engine, conversation.connection
        connection.attach(engine)
        login.announce(conversation)
        engine.greeting(conversation.door.hostname.encode())
        try:
            while not engine.closing:
                event = await self._next()
                if event is None or self._is_ended:
                    await self._look_around()
                else:
                    await self._handle(event)
        except DeadlinePassedError:
            # RFC 3501 §5.4: the client is told why the connection ends.
            engine.bye(b"idle for too long")
        finally:
            conversation.leave()
            connection.flush()

    @property
    def _is_ended(self) -> bool:
        opened = self._conversation.opened
        return opened is not None and opened.ended

    async def _next(self) -> events.Event | None:
        """Wait for the client; one that idles is not sent away for its silence, but told a word now and then."""
        conversation = self._conversation
        while True:
            try:
                return await conversation.connection.next_event(self._patience())
            except DeadlinePassedError:
                if conversation.idle is None or conversation.connection.congested:
                    raise
                # RFC 2177 §3 lets us log it out after half an hour. Telephones idle for ever, though, and their networks forget who is silent:
                # the word keeps the way open, and finds those who are gone.
                conversation.untagged(b"OK still here")

    def _patience(self) -> float:
        """Give the seconds to wait for the client: little before login, and what its rate earned while a message comes."""
        conversation = self._conversation
        door = conversation.door
        settings = door.settings()
        if conversation.opened is None:
            return max(0.0, self._login_until - door.clock.monotonic())
        if conversation.idle is not None:
            return IDLE_WORD_SECONDS
        if conversation.appending is None:
            return settings.imap.idle_seconds
        spent = door.clock.monotonic() - conversation.appending.since
        rate = settings.smtp.min_rate_octets
        earned = _APPEND_GRACE + conversation.appending.incoming.size / rate if rate else settings.smtp.transaction_seconds
        return max(0.0, min(settings.imap.idle_seconds, settings.smtp.transaction_seconds - spent, earned - spent))

    async def _look_around(self) -> None:
        """Do what somebody in this process woke us for: the server goes down, or the mailbox changed."""
        conversation = self._conversation
        if conversation.engine.closing:
            return  # it said BYE by itself
        if self._is_ended:
            # RFC 3501 §7.1.5: whoever may not come in any more does not stay in.
            conversation.engine.bye(b"this account or its password was changed, please log in again")
        elif conversation.connection.finishing:
            if conversation.appending is None:
                conversation.engine.bye(b"the server is going down, please connect again", b"UNAVAILABLE")
        elif conversation.idle is not None or (conversation.watch is not None and conversation.appending is None):
            try:
                await notify.look(conversation)
            except _ENDS:
                raise
            except Exception as error:  # noqa: BLE001 - the store may be away for a moment; the next look tells what was missed
                if refusal_of(error) is None:
                    conversation.alert(error)

    async def _handle(self, event: events.Event) -> None:
        """Carry out a command; the one place of this door where the unexpected is caught: NO, never half done and called OK."""
        conversation = self._conversation
        try:
            await _HANDLERS[type(event)](conversation, event)
        except _ENDS:
            raise
        except Exception as error:
            if not isinstance(event, events.Command):
                raise
            refusal = refusal_of(error)
            if refusal is None or isinstance(error, SealBrokenError):
                conversation.alert(error)
            conversation.refuse(event, refusal or _FAULT_OF_OURS)
        finally:
            if conversation.watch is not None and conversation.watch.due:
                conversation.connection.notify()  # RFC 5465 §3: told as soon as no command is at work


# ---------------------------------------------------------------- commands that need no file of their own


async def _on_capability(conversation: Conversation, command: events.Capability) -> None:
    conversation.untagged(responses.capability(conversation.engine.capabilities()))
    conversation.done(command, b"done")


async def _on_logout(conversation: Conversation, command: events.Logout) -> None:
    conversation.done(command, b"logged out")


async def _on_enable(conversation: Conversation, command: events.Enable) -> None:
    names = [name for name in command.names if name in _ENABLED]
    conversation.untagged(responses.enabled([_ENABLED[name] for name in names]))
    if b"CONDSTORE" in names or b"QRESYNC" in names:
        enable_condstore(conversation)  # RFC 7162 §3.2.3: QRESYNC contains it
    if b"QRESYNC" in names:
        conversation.engine.profile = replace(conversation.engine.profile, qresync=True)
    if b"UIDONLY" in names:
        conversation.engine.profile = replace(conversation.engine.profile, uid_only=True)
    if b"IMAP4REV2" in names:
        conversation.engine.profile = replace(conversation.engine.profile, rev2=True)
        if conversation.selected is not None:
            conversation.selected.recent = []
    if b"UTF8=ACCEPT" in names:
        conversation.engine.profile = replace(conversation.engine.profile, utf8_accept=True)
    conversation.done(command, b"enabled")


async def _on_namespace(conversation: Conversation, command: events.Namespace) -> None:
    conversation.untagged(responses.namespace())
    conversation.done(command, b"done")


async def _on_disconnected(conversation: Conversation, notice: events.Disconnected) -> None:
    del conversation, notice


_Handler = Callable[[Conversation, Any], Awaitable[None]]
_HANDLERS: Final[dict[type[events.Event], _Handler]] = {
    events.Capability: _on_capability,
    events.Noop: select.on_noop,
    events.Logout: _on_logout,
    events.Id: identify.on_id,
    events.Starttls: login.on_starttls,
    events.Authenticate: login.on_authenticate,
    events.AuthenticateResponse: login.on_response,
    events.AuthenticateCancelled: login.on_cancelled,
    events.Login: login.on_login,
    events.Enable: _on_enable,
    events.Select: select.on_select,
    events.Examine: select.on_select,
    events.Create: folders.on_create,
    events.Delete: folders.on_delete,
    events.Rename: folders.on_rename,
    events.Subscribe: folders.on_subscribe,
    events.Unsubscribe: folders.on_subscribe,
    events.List: folders.on_list,
    events.Lsub: folders.on_lsub,
    events.Namespace: _on_namespace,
    events.Notify: notify.on_notify,
    events.Status: select.on_status,
    events.GetQuota: quota.on_get_quota,
    events.GetQuotaRoot: quota.on_get_quota_root,
    events.SetQuota: quota.on_set_quota,
    events.Append: append.on_append,
    events.AppendData: append.on_append_data,
    events.AppendEnd: append.on_append_end,
    events.AppendAborted: append.on_append_aborted,
    events.Idle: select.on_idle,
    events.Done: select.on_done,
    events.IdleBroken: select.on_idle_broken,
    events.Check: select.on_noop,
    events.Close: select.on_close,
    events.Unselect: select.on_unselect,
    events.Expunge: alter.on_expunge,
    events.UidExpunge: alter.on_uid_expunge,
    events.Search: search.run,
    events.Sort: sort.on_sort,
    events.Thread: sort.on_thread,
    events.SearchRefused: search.on_refused,
    events.Fetch: fetch.on_fetch,
    events.Store: alter.on_store,
    events.Copy: alter.on_copy,
    events.Move: alter.on_move,
    events.Disconnected: _on_disconnected,
}
