# SPDX-License-Identifier: Apache-2.0
"""The server's side of an SMTP session as a machine of octets: `receive`, `next_event`, `answer`, `take_output`.

Obeys RFC 5321, RFC 6409 §4.3, RFC 2920, RFC 3030, RFC 3207, RFC 4954, RFC 6531; which command is in order when stands in tables.
Must never know sockets, clocks, accounts, or whether a message is wanted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import ClassVar

from moatmail.core.errors import LocalProtocolError
from moatmail.core.limits import smtp as limits
from moatmail.core.limits.sasl import RESPONSE_MAX
from moatmail.core.status import Reply
from moatmail.wire import sasl
from moatmail.wire.buffer import BareLineEndError, Buffer, LineTooLongError
from moatmail.wire.smtp import replies
from moatmail.wire.smtp.content import Reception
from moatmail.wire.smtp.events import (
    Auth,
    Content,
    Data,
    End,
    Event,
    Fault,
    Helo,
    Mail,
    Offence,
    Quit,
    Rcpt,
    Reset,
    StartTLS,
    Violation,
)
from moatmail.wire.smtp.grammar import CommandError, is_host, parse_bdat, parse_mail, parse_rcpt, split_command
from moatmail.wire.smtp.login import Login
from moatmail.wire.smtp.profile import Profile
from moatmail.wire.smtp.states import ANY, FOREIGN, OPEN, QUIET, TRANSACTION, Command, Mode, State


class SMTPServer:
    """One session. Larger than usual because a state machine is one thought; each step is short.

    Feed octets by `receive`, then call `next_event` until it gives None, answering each event whose `awaits` is true before the next
    call; then write `take_output()`, and close the connection if `closing`. Reading may pause while `wants_input` is false.
    """

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.state = State.OPENING
        self.tls = False
        self.extended = False
        self.authenticated = False
        self._mode = Mode.COMMAND
        self._input = Buffer()
        self._output: list[bytes] = []
        self._events: deque[Event] = deque()
        self._waiting: Event | None = None
        self._ended = False
        self._errors = self._refusals = self._idle = self._smuggled = self._transactions = self._recipients = 0
        self._utf8 = False
        self._login = Login(profile)
        self._reception = Reception(profile.content)
        self._chunk = 0
        self._last = False
        self._chunk_reply = replies.SEQUENCE

    # ------------------------------------------------------------------ the face

    @property
    def closing(self) -> bool:
        """Tell whether the connection ends once the output is written."""
        return self._mode is Mode.CLOSED

    @property
    def wants_input(self) -> bool:
        """Tell whether to go on reading: not while the application thinks and much is waiting already."""
        return self._waiting is None or len(self._input) < limits.INPUT_PAUSE

    @property
    def waiting(self) -> Event | None:
        """Give the event that awaits its answer."""
        return self._waiting

    def greeting(self, reply: Reply | None = None) -> None:
        """Open the session with 220, or refuse it with a 554 or 421 reply (RFC 5321 §3.1)."""
        if self.state is not State.OPENING:
            raise LocalProtocolError("greeted twice")
        if len(self._input):
            # RFC 5321 §4.3.1: the client waits for the greeting; who does not is a machine that reads no answers.
            self._events.append(Violation(Offence.EARLY_TALK))
        if reply is None or reply.positive:
            self._output.append(replies.render_greeting(self.profile.hostname, reply.text.encode("ascii", "replace") if reply else b"ESMTP"))
            self.state = State.GREETED
            return
        self.state = State.REFUSED
        self._output.append(replies.render(reply, enhanced=False))
        if reply.code == 421:
            self._close()

    def receive(self, data: bytes | bytearray | memoryview) -> None:
        """Take octets from the client; LocalProtocolError when the caller went on reading against `wants_input` for 4 MiB."""
        if self._ended or self._mode in {Mode.CLOSED, Mode.HANDSHAKE}:
            # RFC 3207 §4.2: what came in clear behind STARTTLS is nobody's.
            return
        if len(self._input) + len(data) > limits.INPUT_MAX:
            raise LocalProtocolError("input was not paused")
        self._input.feed(data)

    def receive_eof(self) -> None:
        """Learn that the client will send no more: what is whole is still served, what is not is gone, and no End tells of it."""
        self._ended = True

    def next_event(self) -> Event | None:
        """Give the next event, None when octets or an answer are missing."""
        while not self._events:
            if self._waiting is not None or self._mode is Mode.CLOSED or self.state is State.OPENING:
                break
            if not self._READERS[self._mode](self):
                if self._ended:
                    self._close()
                break
        if self._waiting is not None or not self._events:
            return None
        event = self._events.popleft()
        if event.awaits:
            self._waiting = event
        return event

    def answer(self, reply: Reply) -> None:
        """Answer the event that waits; LocalProtocolError if none does, or if content with a fault would be accepted.

        After `shut` it is heard and means nothing: a verdict may come later than the deadline.
        """
        event = self._waiting
        if self._mode is Mode.CLOSED:
            return
        if event is None or type(event) not in self._ANSWERS:
            raise LocalProtocolError("no event waits for this answer")
        self._waiting = None
        self._ANSWERS[type(event)](self, event, reply)

    def answer_verifier(self, verifier: sasl.ScramVerifier | None) -> None:
        """Answer an Auth event whose step is NeedsVerifier; None when the name has no verifier; after `shut` it means nothing."""
        if self._mode is Mode.CLOSED:
            return
        event = self._waiting
        if not isinstance(event, Auth) or not isinstance(event.step, sasl.NeedsVerifier):
            raise LocalProtocolError("no verifier was asked for")
        self._waiting = None
        self._go_on(self._login.supply(verifier))

    def tls_started(self, end_points: tuple[bytes, ...] = ()) -> None:
        """Learn that the handshake is done (or was, before the greeting); `end_points` as in `sasl.Context`."""
        if self._mode is not Mode.HANDSHAKE and self.state is not State.OPENING:
            raise LocalProtocolError("no handshake was due")
        self.tls = True
        self._login.end_points = end_points
        self._mode = Mode.COMMAND
        if self.state is State.OPENING:
            return
        # RFC 3207 §4.2: nothing that was said in clear counts any more.
        self.state = State.GREETED
        self.extended = self.authenticated = False
        self._forget_transaction()

    def tls_refused(self) -> None:
        """Learn that the handshake failed: the session is over."""
        self._close()

    def shut(self, reply: Reply) -> None:
        """Say a last reply (421 for a deadline or a shutdown) and end the session, wherever it stands (RFC 5321 §3.8)."""
        if self._mode is not Mode.CLOSED:
            if self._mode is not Mode.HANDSHAKE:
                self._send(reply)
            self._close()

    def take_output(self) -> bytes:
        """Give the octets to write: the replies to pipelined commands leave together (RFC 2920 §3.2)."""
        output = b"".join(self._output)
        self._output.clear()
        return output

    # ------------------------------------------------------------------ inner habits

    def _send(self, reply: Reply) -> None:
        self._output.append(replies.render(reply))

    def _close(self) -> None:
        self._mode = Mode.CLOSED
        self._waiting = None
        self._login.end()
        self._input.clear()

    def _offend(self, offence: Offence, last_word: Reply) -> None:
        """Send the last reply, tell the offence, end the session."""
        self._send(last_word)
        self._events.append(Violation(offence))
        self._close()

    def _refuse(self, reply: Reply) -> None:
        """Send a reply to a wrong command, and count it."""
        self._send(reply)
        self._errors += 1
        if self._errors >= self.profile.session.errors:
            # RFC 5321 §3.8 lets 421 end a session at any command.
            self._offend(Offence.TOO_MANY_ERRORS, replies.CLOSE_ERRORS)

    def _forget_transaction(self) -> None:
        if self.state in TRANSACTION:
            self.state = State.IDENTIFIED
        self._recipients = 0
        self._utf8 = False

    # ------------------------------------------------------------------ readers: one step each, False when octets are missing

    def _read_line(self, limit: int) -> bytes | None:
        try:
            return self._input.line(limit)
        except LineTooLongError:
            # RFC 5321 §4.5.3.1.9: 500; where the next command begins nobody knows, so it is the last.
            self._offend(Offence.LONG_LINE, replies.LONG_LINE)
        except BareLineEndError:
            # RFC 5321 §2.3.8: whoever reads a bare LF as an end sees other commands than whoever does not.
            self._offend(Offence.BARE_LINE_END, replies.BARE_LINE)
        return None

    def _read_command(self) -> bool:
        if self.state is State.GREETED and self._input.startswith(b"\x16\x03"):
            # RFC 8446 §5.1: a handshake record, on a port that speaks first in clear.
            self._offend(Offence.FOREIGN_PROTOCOL, replies.FOREIGN)
            return True
        line = self._read_line(limits.AUTH_LINE_MAX if self._input.peek(5).upper() == b"AUTH " else limits.COMMAND_LINE_MAX)
        if line is None:
            return self._mode is Mode.CLOSED
        self._dispatch(*split_command(line))
        return True

    def _dispatch(self, verb: bytes, arguments: bytes) -> None:
        command = self._COMMANDS.get(verb)
        if command is None:
            if verb in FOREIGN:
                self._offend(Offence.FOREIGN_PROTOCOL, replies.FOREIGN)
            else:
                self._refuse(replies.UNKNOWN)
            return
        if command.idle:
            self._idle += 1
            if self._idle > self.profile.session.idle_commands:
                self._offend(Offence.TOO_MANY_IDLE_COMMANDS, replies.CLOSE_IDLE)
                return
        try:
            if verb == b"BDAT":
                self._bdat(*parse_bdat(arguments))
            elif self.state in command.states:
                command.run(self, arguments)
            else:
                self._refuse(replies.NO_RECIPIENTS if verb == b"DATA" and self.state is State.MAIL else replies.SEQUENCE)
        except CommandError as error:
            if verb == b"BDAT":
                # RFC 3030 §2: octets follow, and nobody knows how many; read as commands they would be somebody's mail.
                self._offend(Offence.LOST_FRAMING, error.reply)
            else:
                self._refuse(error.reply)

    def _read_response(self) -> bool:
        line = self._read_line(RESPONSE_MAX)
        if line is None:
            return self._mode is Mode.CLOSED
        self._go_on(self._login.respond(line))
        return True

    def _read_content(self) -> bool:
        if not len(self._input) and not (self._mode is Mode.CHUNK and self._reception.chunk_is_whole):
            return False
        piece, whole = self._reception.read(self._input)
        if self._reception.size > self.profile.content.size + self.profile.session.overrun:
            # RFC 5321 §3.8: a client that lies about SIZE and never stops is left; what it sent is nobody's message.
            self._offend(Offence.OVERRUN, replies.OVERRUN)
            return True
        if piece and self._reception.sound:
            self._events.append(Content(piece))
        if not whole:
            return True
        if self._mode is Mode.DATA or self._reception.last or not self._reception.sound:
            # RFC 3030 §2: the verdict answers the last chunk; a failed chunk fails the transaction, later ones get 503.
            self._events.append(End(self._reception.size, self._reception.finish()))
            return True
        self._mode = Mode.COMMAND
        self._send(Reply.of(250, "2.0.0", "chunk received"))
        return True

    def _read_swallowed(self) -> bool:
        if self._chunk:
            if not len(self._input):
                return False
            self._chunk -= len(self._input.take(self._chunk))
        if not self._chunk:
            self._mode = Mode.COMMAND
            self._refuse(self._chunk_reply)
        return True

    def _read_nothing(self) -> bool:
        return False

    # ------------------------------------------------------------------ commands

    def _helo(self, arguments: bytes) -> None:
        self._identify(arguments, extended=False)

    def _ehlo(self, arguments: bytes) -> None:
        self._identify(arguments, extended=True)

    def _identify(self, name: bytes, *, extended: bool) -> None:
        try:
            text = name.decode("utf-8")
        except UnicodeDecodeError:
            text = ""
        if not text or len(name) > limits.DOMAIN_MAX or not text.isprintable() or " " in text:
            self._refuse(replies.SYNTAX)
            return
        # RFC 5321 §4.1.4: like RSET, whatever is answered; a name outside the grammar is for the policy, many machines send one.
        self._forget_transaction()
        self._events.append(Helo(text, extended, valid=is_host(name)))

    def _mail(self, arguments: bytes) -> None:
        if self.profile.needs_auth and not self.authenticated:
            self._refuse(replies.NEEDS_AUTH if self.tls else replies.NEEDS_TLS)
            return
        if self._transactions >= self.profile.session.transactions:
            self._offend(Offence.TOO_MANY_TRANSACTIONS, replies.CLOSE_TRANSACTIONS)
            return
        envelope = parse_mail(arguments, extended=self.extended)
        # RFC 1870 §6.1: said at once, before a single octet travels in vain.
        if (envelope.declared_size or 0) > self.profile.content.size:
            self._send(replies.TOO_BIG)
            return
        self._events.append(Mail(envelope))

    def _rcpt(self, arguments: bytes) -> None:
        recipient = parse_rcpt(arguments, extended=self.extended, utf8=self._utf8)
        if self._recipients >= self.profile.session.recipients:
            self._send(replies.TOO_MANY_RECIPIENTS)
            return
        self._events.append(Rcpt(recipient))

    def _data(self, arguments: bytes) -> None:
        self._demand_nothing(arguments)
        self._events.append(Data(chunked=False))

    def _bdat(self, size: int, last: bool) -> None:  # noqa: FBT001 - as parsed
        if size > self.profile.content.size + self.profile.session.overrun:
            self._offend(Offence.OVERRUN, replies.OVERRUN)
            return
        self._chunk, self._last = size, last
        if self.state is State.RCPT:
            self._events.append(Data(chunked=True))
        elif self.state is State.CHUNKS:
            self._reception.expect_chunk(size, last=last)
            self._mode = Mode.CHUNK
        else:
            self._swallow(replies.NO_RECIPIENTS if self.state is State.MAIL else replies.SEQUENCE)

    def _swallow(self, reply: Reply) -> None:
        # RFC 3030 §2: the octets of a refused chunk are on their way already and are dropped before the reply.
        self._chunk_reply = reply
        self._mode = Mode.SWALLOW

    def _rset(self, arguments: bytes) -> None:
        self._demand_nothing(arguments)
        self._forget_transaction()
        self._events.append(Reset())
        self._send(replies.OK)

    def _noop(self, arguments: bytes) -> None:
        del arguments  # RFC 5321 §4.1.1.9: whatever stands there is ignored
        self._send(replies.OK)

    def _vrfy(self, arguments: bytes) -> None:
        self._demand_something(arguments)
        self._send(replies.NOT_VERIFIED)

    def _expn(self, arguments: bytes) -> None:
        self._demand_something(arguments)
        self._refuse(replies.NO_LISTS)

    def _help(self, arguments: bytes) -> None:
        del arguments
        self._send(replies.HELP)

    def _quit(self, arguments: bytes) -> None:
        self._demand_nothing(arguments)
        self._send(replies.BYE)
        self._events.append(Quit())
        self._close()

    def _starttls(self, arguments: bytes) -> None:
        self._demand_nothing(arguments)
        if self.tls or not self.profile.tls_available:
            self._refuse(replies.TLS_ACTIVE if self.tls else replies.NO_TLS)
            return
        if len(self._input):
            self._events.append(Violation(Offence.STARTTLS_INJECTION))
        self._events.append(StartTLS())

    def _auth(self, arguments: bytes) -> None:
        problem = self._auth_problem()
        if problem is not None:
            self._refuse(problem)
            return
        self._go_on(self._login.begin(arguments, tls=self.tls))

    def _auth_problem(self) -> Reply | None:
        if not self.profile.needs_auth:
            return replies.AUTH_NOT_HERE
        if not self.tls:
            return replies.AUTH_NEEDS_TLS
        if self.authenticated:
            return replies.AUTH_DONE
        return None if self.extended else replies.SEQUENCE

    def _demand_nothing(self, arguments: bytes) -> None:
        if arguments:
            raise CommandError(replies.SYNTAX)

    def _demand_something(self, arguments: bytes) -> None:
        if not arguments:
            raise CommandError(replies.SYNTAX)

    # ------------------------------------------------------------------ login

    def _go_on(self, step: sasl.Step | Reply) -> None:
        """Turn a step of the mechanism into a challenge, an event or the end."""
        if isinstance(step, sasl.Challenge):
            self._mode = Mode.RESPONSE
            self._output.append(replies.render_challenge(sasl.encode_base64(step.data)))
        elif isinstance(step, sasl.NeedsPassword | sasl.NeedsVerifier | sasl.Success) or (isinstance(step, sasl.Failure) and step.reason.counts):
            self._events.append(Auth(self._login.mechanism, step))
        else:
            # What no mechanism would read was no try of a password; the star is no error at all.
            self._end_exchange()
            reply = step if isinstance(step, Reply) else replies.AUTH_SYNTAX
            if reply is replies.AUTH_CANCELLED:
                self._send(reply)
            else:
                self._refuse(reply)

    def _end_exchange(self) -> None:
        self._login.end()
        self._mode = Mode.COMMAND

    def _answer_auth(self, event: Event, reply: Reply) -> None:
        step = event.step if isinstance(event, Auth) else None
        # RFC 4954 §6: 454 ends an exchange for which the directory has no answer; any other reply to a name would tell whether it exists.
        if (isinstance(step, sasl.NeedsVerifier) and not reply.temporary) or (isinstance(step, sasl.Failure) and reply.positive):
            self._waiting = event
            raise LocalProtocolError("this step of a login has another answer")
        self._end_exchange()
        self._send(reply)
        if reply.positive:
            self.authenticated = True
        elif reply.permanent:
            self._login.failures += 1
            if self._login.failures >= self.profile.session.auth_failures:
                self._offend(Offence.TOO_MANY_LOGINS, replies.CLOSE_LOGINS)

    # ------------------------------------------------------------------ answers

    def _answer_helo(self, event: Event, reply: Reply) -> None:
        if not reply.positive:
            self._send(reply)
            return
        self.state = State.IDENTIFIED
        self.extended = isinstance(event, Helo) and event.extended
        greeting = self.profile.hostname + (b" " + reply.text.encode("ascii", "replace") if reply.text else b"")
        keywords = self.profile.keywords(tls=self.tls, mechanisms=self._login.mechanisms(tls=self.tls)) if self.extended else ()
        self._output.append(replies.render_ehlo(greeting, keywords))

    def _answer_mail(self, event: Event, reply: Reply) -> None:
        self._send(reply)
        if reply.positive and isinstance(event, Mail):
            self.state = State.MAIL
            self._utf8 = event.envelope.smtputf8
            self._recipients = 0
            self._transactions += 1
        self._count_refusal(reply)

    def _answer_rcpt(self, event: Event, reply: Reply) -> None:
        del event
        self._send(reply)
        if reply.positive:
            self.state = State.RCPT
            self._recipients += 1
        self._count_refusal(reply)

    def _count_refusal(self, reply: Reply) -> None:
        """Count what the application refused for good: who asks for name after name is harvesting."""
        self._refusals += reply.permanent
        if self._refusals > self.profile.session.refusals:
            self._offend(Offence.TOO_MANY_REFUSALS, replies.CLOSE_ERRORS)

    def _answer_data(self, event: Event, reply: Reply) -> None:
        chunked = isinstance(event, Data) and event.chunked
        if not chunked and len(self._input):
            # RFC 2920 §3.1: DATA ends a group, for nobody can say whether what follows is content or commands.
            self._offend(Offence.EARLY_DATA, replies.EARLY_DATA)
        elif not reply.positive:
            self._forget_transaction()
            if chunked:
                self._swallow(reply)
            else:
                self._send(reply)
        elif chunked:
            self._reception = Reception(self.profile.content)
            self._reception.expect_chunk(self._chunk, last=self._last)
            self.state = State.CHUNKS
            self._mode = Mode.CHUNK
        else:
            self._reception = Reception(self.profile.content)
            self._reception.expect_dots()
            self._mode = Mode.DATA
            self._send(replies.START_INPUT)

    def _answer_end(self, event: Event, reply: Reply) -> None:
        fault = event.fault if isinstance(event, End) else None
        if fault is not None and reply.positive:
            self._waiting = event
            raise LocalProtocolError("content with a fault cannot be accepted")
        self._mode = Mode.COMMAND
        self._forget_transaction()
        self._send(reply)
        if reply.positive:
            self._idle = 0
        if fault is Fault.BARE:
            self._smuggled += 1
            if self._smuggled >= self.profile.session.smuggled:
                self._offend(Offence.SMUGGLING, replies.CLOSE_SMUGGLED)
            else:
                self._events.append(Violation(Offence.SMUGGLING))

    def _answer_starttls(self, event: Event, reply: Reply) -> None:
        del event
        self._send(reply)
        # RFC 3207 §4.2: commands that came with it in clear would be run as if TLS had brought them; refused or not, nobody may say them here.
        self._input.clear()
        if reply.positive:
            self._mode = Mode.HANDSHAKE

    # ------------------------------------------------------------------ the tables

    _COMMANDS: ClassVar[dict[bytes, Command]] = {
        b"HELO": Command(OPEN, _helo, idle=True),
        b"EHLO": Command(OPEN, _ehlo, idle=True),
        b"MAIL": Command(frozenset({State.IDENTIFIED}), _mail),
        b"RCPT": Command(frozenset({State.MAIL, State.RCPT}), _rcpt),
        b"DATA": Command(frozenset({State.RCPT}), _data),
        b"BDAT": Command(ANY, _noop),  # parsed before its state is asked: its octets come in any state
        b"RSET": Command(OPEN, _rset, idle=True),
        b"NOOP": Command(OPEN, _noop, idle=True),
        b"VRFY": Command(OPEN, _vrfy, idle=True),
        b"EXPN": Command(OPEN, _expn, idle=True),
        b"HELP": Command(OPEN, _help, idle=True),
        b"QUIT": Command(ANY, _quit),
        b"STARTTLS": Command(QUIET, _starttls, idle=True),
        b"AUTH": Command(frozenset({State.IDENTIFIED}), _auth, idle=True),
    }

    _READERS: ClassVar[dict[Mode, Callable[[SMTPServer], bool]]] = {
        Mode.COMMAND: _read_command,
        Mode.RESPONSE: _read_response,
        Mode.DATA: _read_content,
        Mode.CHUNK: _read_content,
        Mode.SWALLOW: _read_swallowed,
        Mode.HANDSHAKE: _read_nothing,
        Mode.CLOSED: _read_nothing,
    }

    _ANSWERS: ClassVar[dict[type[Event], Callable[[SMTPServer, Event, Reply], None]]] = {
        Helo: _answer_helo,
        Mail: _answer_mail,
        Rcpt: _answer_rcpt,
        Data: _answer_data,
        End: _answer_end,
        Auth: _answer_auth,
        StartTLS: _answer_starttls,
    }
