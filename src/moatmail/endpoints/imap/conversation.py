# SPDX-License-Identifier: Apache-2.0
"""What one IMAP session is: its door, its connection and engine, who logged in, which mailbox is selected; and how it writes.

Obeys RFC 3501 §3 (states), RFC 5530 (response codes of refusals).
Must never know how a command is carried out: each has its handler in a file beside this one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from moatmail.core.errors import (
    AlreadyExistsError,
    ConflictError,
    LimitReachedError,
    MoatmailError,
    NotFoundError,
    NotPermittedError,
    OverQuotaError,
    SealBrokenError,
    StorageFullError,
    TemporaryError,
)
from moatmail.core.events import Event
from moatmail.core.limits.endpoints import WRITE_OCTETS
from moatmail.core.limits.mailbox import SLICE_SECONDS
from moatmail.core.ports.clock import Clock
from moatmail.core.ports.event_sink import EventSink
from moatmail.core.settings.mail import Mail
from moatmail.core.transaction import Identity, TLSFacts
from moatmail.directory.login import Login, Verifier
from moatmail.endpoints import fault
from moatmail.endpoints.imap.appending import Appending
from moatmail.endpoints.imap.selected import Selected
from moatmail.endpoints.imap.watch import Watch
from moatmail.mailbox.changes import Listeners
from moatmail.mailbox.incoming import Incoming
from moatmail.mailbox.mailboxes import HasInferiorsError, NameNotUsableError, TooManyMailboxesError, UseTakenError
from moatmail.mailbox.opened import OpenAccounts, Opened, TooManySessionsError
from moatmail.mailbox.uncommitted import TooMuchUncommittedError
from moatmail.net.drive import Connection
from moatmail.net.listener import ServerTLS
from moatmail.wire.imap import responses
from moatmail.wire.imap.events import Command, Idle
from moatmail.wire.imap.profile import Profile
from moatmail.wire.imap.server import IMAPServer, Result
from moatmail.wire.sasl import Exchange

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Door:
    """All that the sessions of one IMAP door share; `name` is "imap" or "imaps", `mechanisms` in the order announced."""

    name: str
    hostname: str
    clock: Clock
    events: EventSink
    settings: Callable[[], Mail]
    login: Login
    accounts: OpenAccounts
    listeners: Listeners
    new_content: Callable[[], Incoming]
    tls: ServerTLS | None = None
    mechanisms: tuple[bytes, ...] = ()
    version: str = ""
    decoy_key: bytes = field(default=b"", repr=False)


class RefusedError(Exception):
    """A command that is not carried out, with the line that says so."""

    def __init__(self, text: bytes, code: bytes = b"", result: Result = Result.NO) -> None:
        super().__init__(text)
        self.text = text
        self.code = code
        self.result = result


# Which response code an error of the rooms below becomes; the first that fits (RFC 5530 §3, RFC 9208 §4.3).
_CODES: Final[tuple[tuple[type[MoatmailError], bytes], ...]] = (
    (StorageFullError, b"LIMIT"),
    (TooManySessionsError, b"LIMIT"),
    (TooMuchUncommittedError, b"LIMIT"),
    (TooManyMailboxesError, b"LIMIT"),
    (LimitReachedError, b"LIMIT"),
    (TemporaryError, b"UNAVAILABLE"),
    (OverQuotaError, b"OVERQUOTA"),
    (NotFoundError, b"NONEXISTENT"),
    (AlreadyExistsError, b"ALREADYEXISTS"),
    (NameNotUsableError, b"CANNOT"),
    (UseTakenError, b"USEATTR"),
    (HasInferiorsError, b"HASCHILDREN"),
    (NotPermittedError, b"NOPERM"),
    (ConflictError, b"CANNOT"),
    (SealBrokenError, b"CORRUPTION"),
)


def refusal_of(error: Exception) -> RefusedError | None:
    """Give the line for an error that is an answer, None for one that is a fault of ours."""
    if isinstance(error, RefusedError):
        return error
    code = next((code for kind, code in _CODES if isinstance(error, kind)), None)
    return RefusedError(error.public.encode(), code) if code is not None and isinstance(error, MoatmailError) else None


class Conversation:
    """One session's state; handlers change it, `session` runs it."""

    __slots__ = (
        "_listening",
        "_slice_until",
        "appending",
        "client",
        "condstore",
        "connection",
        "door",
        "engine",
        "exchange",
        "failures",
        "idle",
        "number",
        "opened",
        "selected",
        "tls",
        "verifier",
        "watch",
    )

    def __init__(self, door: Door, connection: Connection[Any], number: str) -> None:
        self.door = door
        self.connection = connection
        self.number = number
        self.tls: TLSFacts | None = connection.tls
        self.engine = IMAPServer(
            Profile(
                door.hostname.encode(),
                tls_available=door.tls is not None,
                tls_active=self.tls is not None,
                append_limit=door.settings().smtp.max_message_octets,
            )
        )
        self.opened: Opened | None = None
        self.selected: Selected | None = None
        self.condstore = False
        self.client: str | None = ""
        """What the client called itself before it logged in; None once the log has it."""
        self.failures = 0
        self.exchange: Exchange | None = None
        self.verifier: Verifier | None = None
        self.idle: Idle | None = None
        self.appending: Appending | None = None
        self.watch: Watch | None = None
        """What the last NOTIFY wants (RFC 5465); None before the first one: then all of the selected mailbox is told, with commands."""
        self._listening = 0
        self._slice_until = 0.0

    # ---- who and where ----

    @property
    def account(self) -> Opened:
        """Give the account; the engine admits no command that needs one before login."""
        if self.opened is None:
            raise RefusedError(b"log in first", result=Result.BAD)
        return self.opened

    @property
    def identity(self) -> Identity:
        """Give who logged in."""
        return self.account.identity

    @property
    def box(self) -> Selected:
        """Give the selected mailbox; the engine admits no command that needs one before SELECT."""
        if self.selected is None:
            raise RefusedError(b"no mailbox is selected", result=Result.BAD)
        return self.selected

    @property
    def changeable(self) -> Selected:
        """Give the selected mailbox, refusing when it was opened by EXAMINE (RFC 3501 §6.3.2)."""
        if self.box.read_only:
            raise RefusedError(b"the mailbox was opened read-only", b"NOPERM")
        return self.box

    @property
    def uid_only(self) -> bool:
        """Tell whether the client gave up message numbers (RFC 9586)."""
        return self.engine.profile.uid_only

    @property
    def rev2(self) -> bool:
        """Tell whether the client enabled IMAP4rev2 (RFC 9051 §6.3.1)."""
        return self.engine.profile.rev2

    @property
    def qresync(self) -> bool:
        """Tell whether the client enabled QRESYNC: what went is told by VANISHED (RFC 7162 §3.2.3)."""
        return self.engine.profile.qresync

    @property
    def utf8(self) -> bool:
        """Tell whether the client reads UTF-8: names, strings and headers as they are (RFC 9755 §3, RFC 9051 §5.1)."""
        return self.engine.profile.utf8

    def now(self) -> float:
        """Give the wall clock."""
        return self.door.clock.now()

    # ---- answers ----

    def untagged(self, response: bytes) -> None:
        """Write an untagged response."""
        self.engine.untagged(response)

    def done(self, command: Command, text: bytes, code: bytes = b"") -> None:
        """End a command well."""
        self.engine.finish(command, Result.OK, text, code)

    def refuse(self, command: Command, error: RefusedError) -> None:
        """End a command with NO or BAD."""
        if self.qresync and self.selected is not None:
            # RFC 7162 §3.2: what the client saw before it went wrong is not all there was.
            self.untagged(responses.ok(responses.highest_modseq(self.selected.complete), b"all up to here was told"))
        self.engine.finish(command, error.result, error.text, error.code)

    async def flush(self) -> None:
        """Send what was written, wait while the reader is slow, and let others have their turn."""
        self.connection.flush()
        await self.connection.drain(self.door.settings().imap.write_seconds)
        await asyncio.sleep(0)
        self.begin_slice()

    def begin_slice(self) -> None:
        """Begin to count a slice of work."""
        self._slice_until = self.door.clock.monotonic() + SLICE_SECONDS

    async def pause(self, written: int = 0) -> bool:
        """Flush when the slice is over or enough was written; tells whether it was."""
        if self.slice_is_over(written):
            await self.flush()
            return True
        return False

    def slice_is_over(self, written: int = 0) -> bool:
        """Tell whether it is time to flush."""
        return written >= WRITE_OCTETS or self.door.clock.monotonic() >= self._slice_until

    async def work(self, steps: Generator[None, None, R]) -> R:
        """Run steps to their end, others having their turn between them, and give their result."""
        while True:
            try:
                next(steps)
            except StopIteration as end:
                result: R = end.value
                return result
            await self.pause()

    # ---- events ----

    def tell(self, name: str, text: str, *, alert: bool = False, **facts: object) -> None:
        """Tell what happened in this session."""
        self.door.events.emit(Event.of(name, text, alert=alert, peer=self.connection.peer_ip, door=self.door.name, **facts))

    def alert(self, error: Exception) -> None:
        """Tell of a fault."""
        self.door.events.emit(fault.event_of(error, "imap", peer=self.connection.peer_ip, door=self.door.name))

    # ---- the end of things ----

    def attend(self) -> None:
        """Hear of changes of the selected mailbox at once while they may be told at once: during IDLE, or after a NOTIFY that wants them."""
        wanted = self.idle is not None if self.watch is None else self.watch.messages
        mailbox = self.selected.mailbox if wanted and self.selected is not None else 0
        if mailbox == self._listening:
            return
        if self._listening:
            self.door.listeners.remove(self._listening, self.connection.notify)
        if mailbox:
            self.door.listeners.add(mailbox, self.connection.notify)
        self._listening = mailbox

    def watch_by(self, wishes: Watch | None) -> None:
        """Replace what NOTIFY wants."""
        before, self.watch = self.watch, wishes
        if before is not None and before.watching is not None:
            before.watching.remove(before)
        self.attend()

    def did(self, mailbox: int, first: int, last: int) -> None:
        """Take note that the modseqs `first` to `last` of a mailbox are of messages that this session added: no news to it (RFC 5465 §5)."""
        if self.watch is None:
            return
        if self.selected is not None and self.selected.mailbox == mailbox:
            self.selected.own.update(range(first, last + 1))
        else:
            self.watch.did(mailbox, first, last)

    def stop_idle(self) -> None:
        """Stop waiting for changes."""
        self.idle = None
        self.attend()

    def deselect(self) -> None:
        """Forget the selected mailbox."""
        selected, self.selected = self.selected, None
        self.stop_idle()
        if self.watch is not None and selected is not None:
            self.watch.fresh = []
            if self.watch.messages:
                # What it was told of the mailbox while that was selected is no news behind it.
                self.watch.did(selected.mailbox, 1, selected.modseq)

    def drop_append(self) -> None:
        """Forget a message that was coming."""
        if self.appending is not None:
            self.appending.room.release()
            self.appending.incoming.abandon()
            for one in self.appending.sealed:
                if one.content.blob is None and self.opened is not None:
                    self.opened.files.remove(one.content.id)
        self.appending = None

    def leave(self) -> None:
        """Give back what the session holds."""
        self.deselect()
        self.watch_by(None)
        self.drop_append()
        if self.opened is not None:
            self.opened.wakers.discard(self.connection.notify)
            self.door.accounts.close(self.opened)
            self.opened = None
