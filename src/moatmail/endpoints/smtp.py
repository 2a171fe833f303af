# SPDX-License-Identifier: Apache-2.0
"""The SMTP doors: hands each event of the engine to intake and its answer back.

Obeys RFC 5321 §4.5.3.2 (time limits), RFC 3207 §4 (STARTTLS), RFC 4954 §4 (AUTH), RFC 6409 (submission).
Must never know SMTP's syntax (`wire/smtp`), what decides (`intake`), or how a password is judged (`directory/login`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

from moatmail.core.address import Address
from moatmail.core.envelope import Envelope, Recipient
from moatmail.core.errors import MoatmailError, StorageFullError, TemporaryError
from moatmail.core.events import Event
from moatmail.core.ports.clock import Clock
from moatmail.core.ports.event_sink import EventSink
from moatmail.core.settings.mail import Mail
from moatmail.core.status import Reply
from moatmail.core.transaction import Identity, Session, Transaction
from moatmail.directory.login import FrozenAccountError, Login, Verifier
from moatmail.directory.recipients import Resolution
from moatmail.endpoints import fault
from moatmail.endpoints.verifier import for_exchange
from moatmail.intake.receive import Answer
from moatmail.mailbox.incoming import HeaderTooLargeError, Incoming
from moatmail.mailbox.newlines import Newlines
from moatmail.net.drive import Connection, DeadlinePassedError
from moatmail.net.listener import ServerTLS
from moatmail.net.stream import StreamError
from moatmail.wire.sasl import Failure, NeedsPassword, NeedsVerifier, Success
from moatmail.wire.smtp import events as happened
from moatmail.wire.smtp.content import ContentLimits
from moatmail.wire.smtp.profile import Door as Kind
from moatmail.wire.smtp.profile import Profile, SessionLimits
from moatmail.wire.smtp.server import SMTPServer

_FAULT_OF_OURS: Final = Reply.of(451, "4.3.0", "internal error, the administrator was told; please try again later")
_GO_ON: Final = Reply.of(354, "", "go on")
_HELLO: Final = Reply.of(250, "", "")
_LOGGED_IN: Final = Reply.of(235, "2.7.0", "authentication succeeded")
_NO_DIRECTORY: Final = Reply.of(454, "4.7.0", "temporary authentication failure, please try again later")
_TIMEOUT: Final = Reply.of(421, "4.4.2", "timeout, closing the connection")
_CLOSING: Final = Reply.of(421, "4.3.2", "the server is going down, please try again later")
_DISK_FULL: Final = Reply.of(452, "4.3.1", "insufficient system storage, please try again later")


class Intake(Protocol):
    """What a door needs of `intake`: Receiver for strangers, Submitter for our users."""

    async def mail(self, session: Session, envelope: Envelope) -> Reply:
        """Answer MAIL."""

    async def rcpt(self, session: Session, envelope: Envelope, recipient: Recipient) -> Answer:
        """Answer RCPT."""

    async def end(self, transaction: Transaction, resolutions: dict[Address, Resolution], incoming: Incoming) -> Reply:
        """Answer the end of the content."""


@dataclass(frozen=True, slots=True)
class Door:
    """All that the sessions of one door share."""

    name: str
    hostname: str
    intake: Intake
    new_content: Callable[[], Incoming]
    clock: Clock
    events: EventSink
    settings: Callable[[], Mail]
    tls: ServerTLS | None = None
    login: Login | None = None
    mechanisms: tuple[bytes, ...] = ()
    decoy_key: bytes = field(default=b"", repr=False)


class SMTPSession:
    """One connection: its facts, its transaction under way, its engine."""

    def __init__(self, door: Door, connection: Connection[Any], number: str) -> None:
        self._door = door
        self._connection = connection
        limits = door.settings().smtp
        self._seconds = limits.command_seconds
        self._engine = SMTPServer(_profile(door))
        self._session = Session(number, door.name, connection.peer_ip, connection.peer_port, tls=connection.tls)
        self._incoming: Incoming | None = None
        self._broken: Reply | None = None
        self._newlines: Newlines | None = None
        self._verifier: Verifier | None = None
        self._begin(Envelope(None))

    async def run(self) -> None:
        """Serve until the peer or the server ends the session."""
        self._connection.attach(self._engine)
        if self._session.tls is not None:
            self._engine.tls_started(self._session.tls.end_points)
        self._engine.greeting()
        try:
            while not self._engine.closing:
                event = await self._connection.next_event(self._patience())
                if event is not None:
                    await self._handle(event)
                # Between transactions only: what is being received may still be finished while the server drains.
                if self._connection.finishing and self._incoming is None and self._engine.waiting is None:
                    self._engine.shut(_CLOSING)
        except DeadlinePassedError:
            # RFC 5321 §4.5.3.2: a server that gives up waiting says 421 and closes.
            self._engine.shut(_TIMEOUT)
        finally:
            self._drop_content()
            self._connection.flush()

    def _patience(self) -> float:
        """Give the seconds to wait: the command's, or what is left of the transaction's (a second per octet must not last for ever)."""
        if self._transaction_since is None:
            return self._seconds
        limits = self._door.settings().smtp
        now = self._door.clock.monotonic()
        left = limits.transaction_seconds - (now - self._transaction_since)
        if self._incoming is not None and limits.min_rate_octets:
            left = min(left, 60.0 + self._incoming.size / limits.min_rate_octets - (now - self._content_since))
        return max(0.0, min(self._seconds, left))

    async def _handle(self, event: happened.Event) -> None:
        """Answer one event; the one place of this door where the unexpected is caught: 451, never "accepted anyway"."""
        try:
            await _HANDLERS[type(event)](self, event)
        except StreamError:
            raise
        except Exception as error:
            if not event.awaits:
                raise
            self._alert(error)
            self._answer(Reply.of(451, error.status, error.public) if isinstance(error, TemporaryError) else _FAULT_OF_OURS)

    def _alert(self, error: Exception) -> None:
        self._door.events.emit(fault.event_of(error, "smtp", peer=self._session.peer_ip, door=self._door.name))

    def _tell(self, name: str, text: str, *, alert: bool = False) -> None:
        self._door.events.emit(Event.of(name, text, alert=alert, peer=self._session.peer_ip, door=self._door.name))

    def _answer(self, reply: Reply) -> None:
        self._engine.answer(reply)

    # ------------------------------------------------------------ the transaction

    def _begin(self, envelope: Envelope) -> None:
        self._envelope = envelope
        self._resolutions: dict[Address, Resolution] = {}
        self._transaction_since: float | None = None
        self._drop_content()

    def _drop_content(self) -> None:
        if self._incoming is not None:
            self._incoming.abandon()
        self._incoming = None
        self._broken = None
        self._content_since = 0.0

    async def on_helo(self, event: happened.Helo) -> None:
        """Take the name; names are judged with *Who may come in*."""
        self._begin(Envelope(None))
        self._session = replace(self._session, helo_name=event.name, extended=event.extended)
        self._answer(_HELLO)

    async def on_mail(self, event: happened.Mail) -> None:
        """Begin a transaction."""
        self._begin(event.envelope)
        reply = await self._door.intake.mail(self._session, event.envelope)
        if reply.positive:
            self._transaction_since = self._door.clock.monotonic()
        self._answer(reply)

    async def on_rcpt(self, event: happened.Rcpt) -> None:
        """Take or refuse one recipient."""
        answer = await self._door.intake.rcpt(self._session, self._envelope, event.recipient)
        if answer.resolution is not None and event.recipient.address not in self._resolutions:
            self._resolutions[event.recipient.address] = answer.resolution
            self._envelope = self._envelope.with_recipient(event.recipient)
        self._answer(answer.reply)

    async def on_data(self, event: happened.Data) -> None:
        """Let the content come."""
        del event
        self._drop_content()
        self._incoming = self._door.new_content()
        self._newlines = Newlines() if _normalises(self._door) else None
        self._content_since = self._door.clock.monotonic()
        self._answer(_GO_ON)

    async def on_content(self, event: happened.Content) -> None:
        """Take octets; what cannot be taken is read to its end and refused there."""
        if self._incoming is None or self._broken is not None:
            return
        try:
            self._incoming.feed(event.data if self._newlines is None else self._newlines.take(event.data))
        except HeaderTooLargeError:
            self._break(happened.Fault.LONG_HEADER.reply)
        except (TemporaryError, OSError) as error:
            self._alert(error)
            full = isinstance(error, (StorageFullError, OSError))
            self._break(_DISK_FULL if full else Reply.of(451, "4.3.0", TemporaryError.public))

    def _break(self, reply: Reply) -> None:
        if self._incoming is not None:
            self._incoming.abandon()
        self._broken = reply

    async def on_end(self, event: happened.End) -> None:
        """Decide over the whole message; the reply leaves after the commit, never before."""
        incoming = self._incoming
        try:
            if event.fault is not None:
                self._tell_fault(event.fault)
                self._answer(event.fault.reply)
            elif self._broken is not None or incoming is None:
                self._answer(self._broken or _FAULT_OF_OURS)
            else:
                self._answer(await self._decide(incoming))
        finally:
            self._begin(Envelope(None))

    async def _decide(self, incoming: Incoming) -> Reply:
        try:
            if self._newlines is not None:
                incoming.feed(self._newlines.finish())
            incoming.finish()
        except HeaderTooLargeError:
            return happened.Fault.LONG_HEADER.reply
        transaction = Transaction(self._session, self._envelope, self._door.clock.now())
        return await self._door.intake.end(transaction, self._resolutions, incoming)

    def _tell_fault(self, fault: happened.Fault) -> None:
        sender = str(self._envelope.reverse_path or "<>")
        self._door.events.emit(
            Event.of("message.refused", f"refused from {sender} because {fault.reply.text}", peer=self._session.peer_ip, door=self._door.name)
        )

    async def on_reset(self, event: happened.Reset) -> None:
        """Forget the transaction."""
        del event
        self._begin(Envelope(None))

    async def on_quit(self, event: happened.Quit) -> None:
        """Nothing is left to do: the engine is closing."""
        del event

    async def on_violation(self, event: happened.Violation) -> None:
        """Take note of an offence; the ledger of *Who may come in* counts them."""
        text = f"offence by {self._session.peer_ip}: {event.offence.value}"
        self._tell("smtp.offence", text)

    # ------------------------------------------------------------ TLS and login

    async def on_starttls(self, event: happened.StartTLS) -> None:
        """Shake hands; all that was known of the peer is forgotten (RFC 3207 §4.2)."""
        del event
        if self._door.tls is None:
            self._answer(Reply.of(454, "4.7.0", "TLS not available"))
            return
        self._answer(Reply.of(220, "2.0.0", "ready to start TLS"))
        facts = await self._connection.start_tls(self._door.tls.context)
        self._begin(Envelope(None))
        self._session = Session(self._session.id, self._door.name, self._session.peer_ip, self._session.peer_port, tls=facts)
        self._engine.tls_started(facts.end_points)

    async def on_auth(self, event: happened.Auth) -> None:
        """Judge one step of a login."""
        login = self._door.login
        if login is None:
            self._answer(Reply.of(503, "5.5.1", "no login at this door"))
            return
        step = event.step
        if isinstance(step, NeedsVerifier):
            try:
                self._verifier = await login.verifier(step.authcid)
            except TemporaryError as error:
                self._told_login(step.authcid, error)
                self._answer(_NO_DIRECTORY)
                return
            self._engine.answer_verifier(for_exchange(self._verifier))
            return
        self._answer(await self._judge(login, step))

    async def _judge(self, login: Login, step: NeedsPassword | Success | Failure) -> Reply:
        try:
            identity = await self._identity(login, step)
        except FrozenAccountError as error:
            self._told_login(step.authcid, error)
            return Reply.of(525, error.status, error.public)
        except TemporaryError as error:
            # The directory did not answer: nothing was judged, nothing is counted (RFC 4954 §6: 454).
            self._told_login(step.authcid, error)
            return _NO_DIRECTORY
        except MoatmailError as error:
            self._told_login(step.authcid, error)
            return Reply.of(535, "5.7.8", error.public)
        self._session = replace(self._session, identity=identity)
        self._tell("login.succeeded", f"{identity.address} logged in from {self._session.peer_ip}")
        return _LOGGED_IN

    async def _identity(self, login: Login, step: NeedsPassword | Success | Failure) -> Identity:
        if isinstance(step, NeedsPassword):
            return await login.with_password(step.authcid, step.password, step.authzid)
        if isinstance(step, Success) and self._verifier is not None:
            return login.after_scram(self._verifier, step.authzid)
        raise login.wrong()

    def _told_login(self, name: str, error: MoatmailError) -> None:
        text = f"login as {name or 'nobody'} from {self._session.peer_ip} failed: {error.public}"
        self._tell("login.failed", text)


def _normalises(door: Door) -> bool:
    """Tell whether bare CR and LF become CR LF at this door: never for strangers, whose next server may read another end than we do."""
    return door.login is not None and door.settings().submission.normalise_bare_newlines


def _profile(door: Door) -> Profile:
    smtp = door.settings().smtp
    return Profile(
        hostname=door.hostname.encode(),
        door=Kind(door.name),
        tls_available=door.tls is not None,
        mechanisms=door.mechanisms,
        content=ContentLimits(size=smtp.max_message_octets, bare_newlines=_normalises(door)),
        session=SessionLimits(recipients=smtp.max_recipients, errors=smtp.max_errors, transactions=smtp.max_transactions),
        decoy_key=door.decoy_key,
    )


_Handler = Callable[[SMTPSession, Any], Awaitable[None]]
_HANDLERS: Final[dict[type[happened.Event], _Handler]] = {
    happened.Helo: SMTPSession.on_helo,
    happened.Mail: SMTPSession.on_mail,
    happened.Rcpt: SMTPSession.on_rcpt,
    happened.Data: SMTPSession.on_data,
    happened.Content: SMTPSession.on_content,
    happened.End: SMTPSession.on_end,
    happened.Reset: SMTPSession.on_reset,
    happened.Quit: SMTPSession.on_quit,
    happened.Violation: SMTPSession.on_violation,
    happened.StartTLS: SMTPSession.on_starttls,
    happened.Auth: SMTPSession.on_auth,
}
