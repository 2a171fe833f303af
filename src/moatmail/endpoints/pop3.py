# SPDX-License-Identifier: Apache-2.0
"""The POP3 doors: login, the maildrop's session, messages streamed, removal at QUIT.

Obeys RFC 1939, RFC 2449 §8 (IN-USE), RFC 2595 §4 (STLS), RFC 3206 (AUTH, SYS/TEMP, SYS/PERM).
Must never know POP3's syntax (`wire/pop3`), how a password is judged (`directory/login`), or how mail is kept (`mailbox/maildrop`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final

from moatmail.core.errors import MoatmailError, SealBrokenError, StoreUnavailableError, TemporaryError
from moatmail.core.events import Event
from moatmail.core.limits.endpoints import MAILDROP_GRACE, MAILDROP_ROWS
from moatmail.core.limits.mailbox import WHOLE_MAX
from moatmail.core.ports.clock import Clock
from moatmail.core.ports.event_sink import EventSink
from moatmail.core.settings.mail import Mail
from moatmail.core.transaction import Identity
from moatmail.directory.login import FrozenAccountError, Login, Verifier, WrongCredentialsError
from moatmail.endpoints import fault
from moatmail.endpoints.verifier import for_exchange
from moatmail.mailbox.maildrop import Maildrop
from moatmail.mailbox.opened import OpenAccounts, Opened
from moatmail.net.drive import Connection, DeadlinePassedError, PeerGoneError, StreamError
from moatmail.net.listener import ServerTLS
from moatmail.store.maildrop_lock import MaildropLock
from moatmail.wire import sasl
from moatmail.wire.pop3 import events, replies
from moatmail.wire.pop3.profile import Profile
from moatmail.wire.pop3.server import POP3Server


@dataclass(frozen=True, slots=True)
class Door:
    """All that the sessions of one POP3 door share; `name` is "pop3" or "pop3s", `mechanisms` in the order announced."""

    name: str
    hostname: str
    clock: Clock
    events: EventSink
    settings: Callable[[], Mail]
    login: Login
    accounts: OpenAccounts
    lock: MaildropLock
    tls: ServerTLS | None = None
    mechanisms: tuple[bytes, ...] = ()
    decoy_key: bytes = field(default=b"", repr=False)


class MaildropInUseError(TemporaryError):
    """Another session has the maildrop (RFC 2449 §8.1.1)."""

    public = "another session has this mailbox, please try again later"


# Which response code an error of the rooms below becomes; the first that fits (RFC 2449 §8.1.1, RFC 3206 §4 and §5).
_CODES: Final[tuple[tuple[type[MoatmailError], bytes], ...]] = (
    (MaildropInUseError, replies.IN_USE),
    (WrongCredentialsError, replies.AUTH),
    (FrozenAccountError, replies.AUTH),
    (TemporaryError, replies.TEMPORARY),
    (SealBrokenError, replies.PERMANENT),
)
_FAULT_OF_OURS: Final = b"internal error, the administrator was told; please try again later"


class POP3Session:
    """One connection, from the greeting to its end."""

    def __init__(self, door: Door, connection: Connection[Any]) -> None:
        self._door = door
        self._connection = connection
        profile = Profile(door.hostname.encode(), tls_available=door.tls is not None, mechanisms=door.mechanisms, decoy_key=door.decoy_key)
        self._engine = POP3Server(profile)
        self._login_until = door.clock.monotonic() + door.settings().pop3.login_seconds
        self._verifier: Verifier | None = None
        self._opened: Opened | None = None
        self._maildrop: Maildrop | None = None
        self._locked: int | None = None

    async def run(self) -> None:
        """Serve until the client or the server ends the session."""
        engine, connection = self._engine, self._connection
        connection.attach(engine)
        if connection.tls is not None:
            engine.tls_started(connection.tls.end_points)
        engine.greeting()
        try:
            while not engine.closing:
                event = await connection.next_event(self._patience())
                if event is None or self._is_over:
                    self._look_around()
                else:
                    await self._handle(event)
            while (event := engine.next_event()) is not None:  # the offence that ended it
                await self._handle(event)
        except DeadlinePassedError:
            # RFC 1939 §3: a client that fell silent is told nothing, and nothing is removed.
            engine.close()
        finally:
            self._leave()
            connection.flush()

    def _patience(self) -> float:
        """Give the seconds to wait for the client: little before login, and little where the server goes down."""
        if self._maildrop is None:
            return max(0.0, self._login_until - self._door.clock.monotonic())
        return MAILDROP_GRACE if self._connection.finishing else self._door.settings().pop3.idle_seconds

    @property
    def _is_over(self) -> bool:
        """Tell whether the account was removed or frozen, or has another password."""
        return self._opened is not None and self._opened.ended

    def _look_around(self) -> None:
        """End the session where the account changed or the server goes down: POP3 has no words for it but the end of the connection.

        While the server goes down a client that is at work may still reach its QUIT, or it would fetch everything once more.
        """
        if self._is_over or (self._connection.finishing and self._maildrop is None):
            self._engine.close()

    async def _handle(self, event: events.Event) -> None:
        """Carry out a command; the one place of this door where the unexpected is caught: -ERR, never half done and called +OK."""
        try:
            await _HANDLERS[type(event)](self, event)
        except StreamError:
            raise
        except Exception as error:
            if self._engine.closing:
                raise
            self._refuse(error)

    def _refuse(self, error: Exception) -> None:
        code = next((code for kind, code in _CODES if isinstance(error, kind)), b"")
        if isinstance(error, SealBrokenError) or not isinstance(error, MoatmailError):
            self._alert(error)
        if self._engine.answering or self._engine.waiting is None:
            # In the middle of lines nothing can be said; a client that misses the last dot knows that it has nothing.
            self._connection.abort()
            raise PeerGoneError from None
        if isinstance(error, MoatmailError):
            self._engine.err(error.public.encode(), code)
        else:
            self._engine.err(_FAULT_OF_OURS, replies.TEMPORARY)

    # ------------------------------------------------------------ before login

    async def _on_starttls(self, event: events.StartTLS) -> None:
        del event
        tls = self._door.tls
        if tls is None:
            self._engine.err(replies.NO_TLS)
            return
        self._engine.ok(b"begin TLS")
        facts = await self._connection.start_tls(tls.context)
        self._engine.tls_started(facts.end_points)

    async def _on_login(self, event: events.Login) -> None:
        step = event.step
        if isinstance(step, sasl.NeedsVerifier):
            self._verifier = await self._door.login.verifier(step.authcid)
            self._engine.answer_verifier(for_exchange(self._verifier))
            return
        verifier, self._verifier = self._verifier, None
        peer = self._connection.peer_ip
        try:
            identity = await self._identity(step, verifier)
            drop = await self._enter(identity)
        except MoatmailError as error:
            self._tell("login.failed", f"login as {step.authcid or 'nobody'} from {peer} failed: {error.public}")
            raise
        self._tell("login.succeeded", f"{identity.address} logged in from {peer}")
        self._engine.ok(_count(drop))

    async def _identity(self, step: sasl.NeedsPassword | sasl.Success | sasl.Failure, verifier: Verifier | None) -> Identity:
        login = self._door.login
        if isinstance(step, sasl.NeedsPassword):
            return await login.with_password(step.authcid, step.password, step.authzid)
        if isinstance(step, sasl.Success) and verifier is not None:
            return login.after_scram(verifier, step.authzid)
        raise login.wrong()

    async def _enter(self, identity: Identity) -> Maildrop:
        """Lock the maildrop, open the account, take the snapshot: all or nothing."""
        door = self._door
        if not self._lock(identity.account):
            raise MaildropInUseError
        try:
            # The lock lets one session of this kind in; it shall not fail because mail programs hold all the sessions of IMAP.
            limit = door.settings().imap.max_sessions_per_account + 1
            self._opened = await door.accounts.open(identity, f"POP3 login from {self._connection.peer_ip}", limit)
            self._opened.wakers.add(self._connection.notify)
            self._maildrop = await Maildrop.open(self._opened)
        except BaseException:
            self._leave()
            raise
        return self._maildrop

    def _lock(self, account: int) -> bool:
        try:
            locked = self._door.lock.acquire(account)
        except OSError as error:
            raise StoreUnavailableError(f"the lock of a maildrop: {error}") from None
        if locked:
            self._locked = account
        return locked

    def _leave(self) -> None:
        """Give back what the session holds."""
        self._maildrop = None
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.wakers.discard(self._connection.notify)
            self._door.accounts.close(opened)
        locked, self._locked = self._locked, None
        if locked is not None:
            self._door.lock.release(locked)

    # ------------------------------------------------------------ after login

    @property
    def _drop(self) -> Maildrop:
        """Give the maildrop; the engine admits no command that needs it before login."""
        assert self._maildrop is not None, "a command of the transaction state before login"  # noqa: S101 - a fault of ours
        return self._maildrop

    async def _on_stat(self, event: events.Stat) -> None:
        del event
        self._engine.ok(b"%d %d" % (self._drop.count, self._drop.octets))

    async def _on_list(self, event: events.List) -> None:
        if event.number is not None:
            self._engine.ok(b"%d %d" % (event.number, self._drop.size(event.number)))
        else:
            await self._send(_count(self._drop), self._drop.sizes(MAILDROP_ROWS))

    async def _on_uidl(self, event: events.Uidl) -> None:
        if event.number is not None:
            self._engine.ok(b"%d %b" % (event.number, self._drop.unique_id(event.number)))
        else:
            await self._send(b"unique-ids follow", self._drop.unique_ids(MAILDROP_ROWS))

    async def _on_retr(self, event: events.Retr) -> None:
        message = await self._drop.message(event.number)
        await self._send(b"%d octets" % message.size, message.read(0, message.size), WHOLE_MAX)

    async def _on_top(self, event: events.Top) -> None:
        message = await self._drop.message(event.number)
        await self._send(b"top follows", _first_lines(message.header(), message.read(message.header_size, message.size), event.lines), WHOLE_MAX)

    async def _on_dele(self, event: events.Dele) -> None:
        self._drop.mark(event.number)
        self._engine.ok(b"marked, to be removed at QUIT")

    async def _on_rset(self, event: events.Rset) -> None:
        del event
        self._drop.reset()
        self._engine.ok(_count(self._drop))

    async def _on_quit(self, event: events.Quit) -> None:
        del event
        try:
            removed = await self._drop.remove(self._door.clock.now())
        except MoatmailError as error:
            # RFC 1939 §6: what could not be removed is told, and still there next time.
            self._engine.err(b"some messages were not removed: " + error.public.encode(), replies.TEMPORARY)
            return
        # RFC 1939 §6: whoever comes right after this answer finds the maildrop free.
        self._leave()
        self._engine.ok(b"bye, %d removed" % removed)

    async def _on_flush(self, event: events.Flush) -> None:
        del event
        await self._flush()

    async def _on_violation(self, event: events.Violation) -> None:
        self._tell("pop3.offence", f"offence by {self._connection.peer_ip}: {event.offence.value}")

    # ------------------------------------------------------------ writing and telling

    async def _send(self, text: bytes, pieces: Iterator[bytes], ahead: int = 0) -> None:
        """Answer with lines; `ahead` octets of them are opened before +OK, so that damage is found in time, the rest leaves piece by piece."""
        engine = self._engine
        first = list(_up_to(pieces, ahead))
        engine.begin(text)
        for number, piece in enumerate(chain(first, pieces)):
            if number:
                await self._flush()
            engine.write(piece)
        engine.end()

    async def _flush(self) -> None:
        """Send what there is, wait for a slow reader, let others have their turn: a session holds a bounded buffer."""
        self._connection.flush()
        await self._connection.drain(self._door.settings().pop3.write_seconds)
        await asyncio.sleep(0)

    def _tell(self, name: str, text: str, *, alert: bool = False, **facts: object) -> None:
        self._door.events.emit(Event.of(name, text, alert=alert, peer=self._connection.peer_ip, door=self._door.name, **facts))

    def _alert(self, error: Exception) -> None:
        self._door.events.emit(fault.event_of(error, "pop3", peer=self._connection.peer_ip, door=self._door.name))


def _count(drop: Maildrop) -> bytes:
    return b"%d messages (%d octets)" % (drop.count, drop.octets)


def _up_to(pieces: Iterator[bytes], octets: int) -> Iterator[bytes]:
    """Give pieces until `octets` or more were given."""
    given = 0
    for piece in pieces:
        yield piece
        given += len(piece)
        if given >= octets:
            return


def _first_lines(header: bytes, body: Iterator[bytes], lines: int) -> Iterator[bytes]:
    """Give a header block and the first lines of the body behind it (RFC 1939 §7)."""
    yield header
    if not lines:
        return
    for piece in body:
        found = piece.count(b"\n")
        if found >= lines:
            yield piece[: len(piece) - len(piece.split(b"\n", lines)[-1])]
            return
        lines -= found
        yield piece


_Handler = Callable[[POP3Session, Any], Awaitable[None]]
_HANDLERS: Final[dict[type[events.Event], _Handler]] = {
    events.StartTLS: POP3Session._on_starttls,  # noqa: SLF001 - the table of the class above
    events.Login: POP3Session._on_login,  # noqa: SLF001
    events.Stat: POP3Session._on_stat,  # noqa: SLF001
    events.List: POP3Session._on_list,  # noqa: SLF001
    events.Uidl: POP3Session._on_uidl,  # noqa: SLF001
    events.Retr: POP3Session._on_retr,  # noqa: SLF001
    events.Top: POP3Session._on_top,  # noqa: SLF001
    events.Dele: POP3Session._on_dele,  # noqa: SLF001
    events.Rset: POP3Session._on_rset,  # noqa: SLF001
    events.Quit: POP3Session._on_quit,  # noqa: SLF001
    events.Flush: POP3Session._on_flush,  # noqa: SLF001
    events.Violation: POP3Session._on_violation,  # noqa: SLF001
}
