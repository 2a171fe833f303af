# SPDX-License-Identifier: Apache-2.0
"""The server's side of a POP3 session as a machine of octets: `receive`, `next_event`, an answer, `take_output`.

Obeys RFC 1939, RFC 2449 (CAPA, PIPELINING, response codes), RFC 2595 §4 (STLS), RFC 5034 (AUTH), RFC 8314 §4.1 (no password in clear).
Must never know sockets, clocks, accounts or messages.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from enum import Enum, auto
from typing import ClassVar, Final, NamedTuple

from moatmail.core.errors import LocalProtocolError
from moatmail.core.limits import pop3 as limits
from moatmail.core.limits.sasl import IDENTITY_MAX, PASSWORD_MAX, RESPONSE_MAX
from moatmail.wire import sasl
from moatmail.wire.buffer import BareLineEndError, Buffer, LineTooLongError
from moatmail.wire.pop3 import replies
from moatmail.wire.pop3.events import Dele, Event, Flush, List, Login, Offence, Quit, Retr, Rset, StartTLS, Stat, Top, Uidl, Violation
from moatmail.wire.pop3.profile import Profile
from moatmail.wire.smtp.transparency import DotWriter


class State(Enum):
    """Where the session stands (RFC 1939 §3); in UPDATE nothing is read any more."""

    AUTHORIZATION = auto()
    TRANSACTION = auto()
    UPDATE = auto()


class Mode(Enum):
    """What the next octets are."""

    OPENING = auto()  # the greeting is not sent
    COMMAND = auto()
    RESPONSE = auto()  # a line of a SASL exchange
    HANDSHAKE = auto()  # of TLS: no octet is ours
    CLOSED = auto()


class Command(NamedTuple):
    """When a command is in order, and what runs it."""

    states: frozenset[State]
    run: Callable[[POP3Server, bytes], None]


class SyntaxFaultError(Exception):
    """The arguments do not fit the command."""


_BEFORE: Final = frozenset({State.AUTHORIZATION})
_AFTER: Final = frozenset({State.TRANSACTION})
_TLS_RECORD: Final = b"\x16\x03"
# RFC 1939 §7: PASS belongs to the USER right before it; asking what we can do between them changes nothing.
_KEEPS_NAME: Final = frozenset({b"PASS", b"CAPA"})
_CLEAR: Final = b"USER"


class POP3Server:
    """One session. Larger than usual because a state machine is one thought; each step is short.

    Feed octets by `receive`, then call `next_event` until it gives None, answering each event whose `awaits` is true before the next call: by `ok`
    or `err`, or by `begin`, `write`, `end` for an answer of several lines; then write `take_output()`, and close the connection if `closing`.
    """

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.state = State.AUTHORIZATION
        self.tls = False
        self._end_points: tuple[bytes, ...] = ()
        self._mode = Mode.OPENING
        self._input = Buffer()
        self._output: list[bytes] = []
        self._pending = 0
        self._events: deque[Event] = deque()
        self._waiting: Event | None = None
        self._lines: DotWriter | None = None
        self._ended = False
        self._errors = self._failures = 0
        self._name: str | None = None
        self._mechanism = b""
        self._exchange: sasl.Exchange | None = None

    # ------------------------------------------------------------------ the face

    @property
    def closing(self) -> bool:
        """Tell whether the connection ends once the output is written."""
        return self._mode is Mode.CLOSED

    @property
    def waiting(self) -> Event | None:
        """Give the event that awaits its answer."""
        return self._waiting

    @property
    def answering(self) -> bool:
        """Tell whether an answer of several lines is under way."""
        return self._lines is not None

    def greeting(self) -> None:
        """Open the session; without a time stamp, for APOP is not offered (RFC 1939 §4, §7)."""
        if self._mode is not Mode.OPENING:
            raise LocalProtocolError("greeted twice")
        self._mode = Mode.COMMAND
        self._put(replies.positive(self.profile.hostname + b" POP3 ready"))

    def receive(self, data: bytes | bytearray | memoryview) -> None:
        """Take octets from the client; LocalProtocolError when the caller goes on though events were not asked for."""
        if self._ended or self._mode in {Mode.CLOSED, Mode.HANDSHAKE}:
            # RFC 2595 §4: what came in clear behind STLS is nobody's.
            return
        if len(self._input) + len(data) > limits.INPUT_MAX:
            raise LocalProtocolError("input was not paused")
        self._input.feed(data)

    def receive_eof(self) -> None:
        """Learn that the client will send no more: what is whole is still served; a session without QUIT removes nothing (RFC 1939 §6)."""
        self._ended = True

    def next_event(self) -> Event | None:
        """Give the next event, None when octets or an answer are missing."""
        while not self._events:
            if self._waiting is not None or self._mode in {Mode.CLOSED, Mode.OPENING}:
                break
            if self._pending >= limits.OUTPUT_PAUSE:
                return Flush()
            if not self._READERS[self._mode](self):
                if self._ended:
                    self.close()
                break
        if self._waiting is not None or not self._events:
            return None
        event = self._events.popleft()
        if event.awaits:
            self._waiting = event
        return event

    def ok(self, text: bytes) -> None:
        """Answer the waiting event with +OK; LocalProtocolError where it may not succeed."""
        event = self._answered()
        if isinstance(event, Login) and isinstance(event.step, sasl.Failure | sasl.NeedsVerifier):
            raise LocalProtocolError("this step of a login cannot succeed")
        self._errors = 0
        self._put(replies.positive(text))
        after = self._AFTER_OK.get(type(event))
        if after is not None:
            after(self)

    def err(self, text: bytes, code: bytes = b"") -> None:
        """Answer the waiting event with -ERR; the code AUTH counts as a failed login, all others do not (RFC 3206 §3)."""
        event = self._answered()
        if isinstance(event, Login):
            self._fail_login(text, code)
            return
        self._put(replies.negative(text, code))
        if isinstance(event, StartTLS):
            # RFC 2595 §4: refused or not, what stands behind STLS was said by nobody we know.
            self._input.clear()
        elif isinstance(event, Quit):
            self.close()

    def begin(self, text: bytes) -> None:
        """Begin an answer of several lines to the waiting event (RFC 1939 §3); `write` and `end` follow."""
        if self._waiting is None or self._lines is not None:
            raise LocalProtocolError("no event waits for lines")
        self._put(replies.positive(text))
        self._lines = DotWriter()

    def write(self, octets: bytes) -> None:
        """Add octets in any cut: line ends and dots are seen to."""
        if self._lines is None:
            raise LocalProtocolError("no answer of several lines was begun")
        # RFC 1939 §3: a line that begins with the termination octet is byte-stuffed.
        self._put(self._lines.feed(octets))

    def end(self) -> None:
        """End the lines; a last one without its end gets one."""
        if self._lines is None:
            raise LocalProtocolError("no answer of several lines was begun")
        self._put(self._lines.finish())
        self._lines = None
        self._errors = 0
        self._answered()

    def answer_verifier(self, verifier: sasl.ScramVerifier | None) -> None:
        """Answer a Login event whose step is NeedsVerifier; None when the name has no verifier."""
        event, exchange = self._waiting, self._exchange
        if not isinstance(event, Login) or not isinstance(event.step, sasl.NeedsVerifier) or exchange is None:
            raise LocalProtocolError("no verifier was asked for")
        self._waiting = None
        self._go_on(exchange.supply(verifier))

    def tls_started(self, end_points: tuple[bytes, ...] = ()) -> None:
        """Learn that the handshake is done (or was, before the greeting); `end_points` as in `sasl.Context`."""
        if self._mode not in {Mode.HANDSHAKE, Mode.OPENING}:
            raise LocalProtocolError("no handshake was due")
        self.tls = True
        self._end_points = end_points
        if self._mode is Mode.HANDSHAKE:
            self._mode = Mode.COMMAND

    def close(self) -> None:
        """End the session without a word (RFC 1939 §3 and §6: a client that fell silent is told nothing, and nothing is removed)."""
        self._mode = Mode.CLOSED
        self._waiting = self._exchange = self._lines = None
        self._input.clear()

    def take_output(self) -> bytes:
        """Give the octets to write: answers to pipelined commands leave together (RFC 2449 §6.6)."""
        output = b"".join(self._output)
        self._output.clear()
        self._pending = 0
        return output

    # ------------------------------------------------------------------ inner habits

    def _put(self, octets: bytes) -> None:
        self._output.append(octets)
        self._pending += len(octets)

    def _answered(self) -> Event:
        event = self._waiting
        if event is None or self._lines is not None:
            raise LocalProtocolError("no event waits for this answer")
        self._waiting = None
        return event

    def _offend(self, offence: Offence, last_word: bytes, code: bytes = b"") -> None:
        """Send the last reply, tell the offence, end the session."""
        self._put(replies.negative(last_word, code))
        self._events.append(Violation(offence))
        self.close()

    def _refuse(self, text: bytes) -> None:
        """Answer a wrong command, and count it."""
        self._errors += 1
        if self._errors >= self.profile.errors:
            self._offend(Offence.TOO_MANY_ERRORS, replies.TOO_MANY_ERRORS)
        else:
            self._put(replies.negative(text))

    # ------------------------------------------------------------------ readers: one step each, False when octets are missing

    def _read_line(self, limit: int) -> bytes | None:
        try:
            return self._input.line(limit)
        except LineTooLongError:
            self._offend(Offence.LONG_LINE, replies.LONG_LINE)
        except BareLineEndError:
            # RFC 1939 §3: a pair of CR LF ends a command; who takes less sees other commands than whoever stands between.
            self._offend(Offence.BARE_LINE_END, replies.BARE_LINE)
        return None

    def _read_command(self) -> bool:
        if not self.tls and self._input.startswith(_TLS_RECORD):
            # RFC 8446 §5.1: a handshake record, on a port that speaks first in clear.
            self._offend(Offence.FOREIGN_PROTOCOL, replies.FOREIGN)
            return True
        line = self._read_line(limits.LINE)
        if line is None:
            return self._mode is Mode.CLOSED
        verb, _, arguments = line.partition(b" ")
        self._dispatch(verb.upper(), arguments)
        return True

    def _read_response(self) -> bool:
        line = self._read_line(RESPONSE_MAX)
        if line is None:
            return self._mode is Mode.CLOSED
        if line == b"*":
            # RFC 5034 §4: the client gives up; that is no failed login.
            self._end_exchange()
            self._put(replies.negative(replies.CANCELLED))
            return True
        self._respond(sasl.decode_base64(line))
        return True

    def _read_nothing(self) -> bool:
        return False

    def _dispatch(self, verb: bytes, arguments: bytes) -> None:
        command = self._COMMANDS.get(verb)
        if verb not in _KEEPS_NAME:
            self._name = None
        if command is None:
            self._refuse(replies.UNKNOWN)
        elif self.state not in command.states:
            self._refuse(replies.NOT_NOW)
        else:
            try:
                command.run(self, arguments)
            except SyntaxFaultError:
                self._refuse(replies.SYNTAX)

    # ------------------------------------------------------------------ commands of any state

    def _capa(self, arguments: bytes) -> None:
        _nothing(arguments)
        self._put(replies.positive(b"capabilities"))
        names = self.profile.capabilities(self._mechanisms(), tls=self.tls)
        self._put(b"".join(name + b"\r\n" for name in names) + b".\r\n")

    def _quit(self, arguments: bytes) -> None:
        _nothing(arguments)
        if self.state is State.AUTHORIZATION:
            self._put(replies.positive(b"bye"))
            self.close()
        else:
            self.state = State.UPDATE
            self._events.append(Quit())

    # ------------------------------------------------------------------ before login

    def _stls(self, arguments: bytes) -> None:
        _nothing(arguments)
        if self.tls or not self.profile.tls_available:
            self._refuse(replies.TLS_ACTIVE if self.tls else replies.NO_TLS)
            return
        if len(self._input):
            self._events.append(Violation(Offence.STLS_INJECTION))
        self._events.append(StartTLS())

    def _user(self, arguments: bytes) -> None:
        if not self.tls:
            self._refuse(replies.NEEDS_TLS)
            return
        self._name = _text(arguments, IDENTITY_MAX)
        if not self._name:
            raise SyntaxFaultError
        # RFC 1939 §7 lets us say whether a mailbox of that name exists; to say it would help only who tries names.
        self._put(replies.positive(b"send PASS"))

    def _pass(self, arguments: bytes) -> None:
        name, self._name = self._name, None
        if name is None:
            self._refuse(replies.NO_USER)
            return
        # RFC 1939 §7: blanks belong to the password. What is no text is judged as an empty one, and takes as long.
        self._mechanism = _CLEAR
        self._events.append(Login(_CLEAR, sasl.NeedsPassword(name, "", _text(arguments, PASSWORD_MAX))))

    def _auth(self, arguments: bytes) -> None:
        name, _, initial = arguments.partition(b" ")
        mechanism = name.upper()
        if not self.tls:
            self._refuse(replies.NEEDS_TLS)
        elif mechanism not in self._mechanisms():
            self._refuse(replies.NO_MECHANISM)
        else:
            self._mechanism = mechanism
            self._exchange = sasl.start(mechanism, self._context())
            if not initial:
                self._go_on(self._exchange.respond(None))
            else:
                # RFC 5034 §4: a single equals sign is the empty initial response.
                self._respond(b"" if initial == b"=" else sasl.decode_base64(initial))

    def _respond(self, data: bytes | None) -> None:
        exchange = self._exchange
        if data is None or exchange is None:
            self._end_exchange()
            self._refuse(replies.NOT_BASE64)
        else:
            self._go_on(exchange.respond(data))

    def _go_on(self, step: sasl.Step) -> None:
        """Turn a step of the mechanism into a challenge, an event or the end."""
        if isinstance(step, sasl.Challenge):
            self._mode = Mode.RESPONSE
            self._put(replies.challenge(sasl.encode_base64(step.data)))
        elif isinstance(step, sasl.Failure) and not step.reason.counts:
            # What no mechanism would read was no try of a password.
            self._end_exchange()
            self._refuse(replies.MISFIT)
        else:
            self._events.append(Login(self._mechanism, step))

    def _end_exchange(self) -> None:
        self._exchange = None
        self._mode = Mode.COMMAND

    def _fail_login(self, text: bytes, code: bytes) -> None:
        self._end_exchange()
        self._failures += code == replies.AUTH
        if self._failures >= self.profile.failed_logins:
            self._offend(Offence.TOO_MANY_LOGINS, text + b"; " + replies.TOO_MANY_LOGINS, code)
        else:
            self._put(replies.negative(text, code))

    def _mechanisms(self) -> tuple[bytes, ...]:
        return sasl.announced(self.profile.mechanisms, self._context()) if self.tls else ()

    def _context(self) -> sasl.Context:
        return sasl.Context(
            self._end_points,
            # RFC 5802 §6: only what the client could have seen makes its `y` a sign of tampering.
            offers_plus=bool(self._end_points) and sasl.SCRAM_PLUS in self.profile.mechanisms,
            decoy_key=self.profile.decoy_key or os.urandom(32),
        )

    # ------------------------------------------------------------------ after login

    def _noop(self, arguments: bytes) -> None:
        _nothing(arguments)
        self._put(replies.positive(b""))

    def _stat(self, arguments: bytes) -> None:
        _nothing(arguments)
        self._events.append(Stat())

    def _list(self, arguments: bytes) -> None:
        self._events.append(List(_optional(arguments)))

    def _uidl(self, arguments: bytes) -> None:
        self._events.append(Uidl(_optional(arguments)))

    def _retr(self, arguments: bytes) -> None:
        self._events.append(Retr(_number(arguments)))

    def _top(self, arguments: bytes) -> None:
        number, _, lines = arguments.strip(b" ").partition(b" ")
        self._events.append(Top(_number(number), _number(lines)))

    def _dele(self, arguments: bytes) -> None:
        self._events.append(Dele(_number(arguments)))

    def _rset(self, arguments: bytes) -> None:
        _nothing(arguments)
        self._events.append(Rset())

    # ------------------------------------------------------------------ what follows from +OK

    def _after_login(self) -> None:
        self._end_exchange()
        self.state = State.TRANSACTION

    def _after_starttls(self) -> None:
        # RFC 2595 §4: commands that came with it in clear would be run as if TLS had brought them.
        self._input.clear()
        self._mode = Mode.HANDSHAKE

    # ------------------------------------------------------------------ the tables

    _COMMANDS: ClassVar[dict[bytes, Command]] = {
        b"CAPA": Command(_BEFORE | _AFTER, _capa),
        b"QUIT": Command(_BEFORE | _AFTER, _quit),
        b"STLS": Command(_BEFORE, _stls),
        b"USER": Command(_BEFORE, _user),
        b"PASS": Command(_BEFORE, _pass),
        b"AUTH": Command(_BEFORE, _auth),
        b"NOOP": Command(_AFTER, _noop),
        b"STAT": Command(_AFTER, _stat),
        b"LIST": Command(_AFTER, _list),
        b"UIDL": Command(_AFTER, _uidl),
        b"RETR": Command(_AFTER, _retr),
        b"TOP": Command(_AFTER, _top),
        b"DELE": Command(_AFTER, _dele),
        b"RSET": Command(_AFTER, _rset),
    }

    _READERS: ClassVar[dict[Mode, Callable[[POP3Server], bool]]] = {
        Mode.COMMAND: _read_command,
        Mode.RESPONSE: _read_response,
        Mode.HANDSHAKE: _read_nothing,
    }

    _AFTER_OK: ClassVar[dict[type[Event], Callable[[POP3Server], None]]] = {
        Login: _after_login,
        StartTLS: _after_starttls,
        Quit: close,
    }


def _nothing(arguments: bytes) -> None:
    if arguments.strip(b" "):
        raise SyntaxFaultError


def _number(arguments: bytes) -> int:
    digits = arguments.strip(b" ")
    if not digits.isdigit():
        raise SyntaxFaultError
    # RFC 1939 §7: who asks TOP for more lines than there are is given all; clients write 2147483647 for it.
    return int(digits) if len(digits) <= limits.NUMBER_DIGITS else limits.NUMBER_MAX


def _optional(arguments: bytes) -> int | None:
    return _number(arguments) if arguments.strip(b" ") else None


def _text(octets: bytes, limit: int) -> str:
    """Decode a name or a password; empty if it is too long, not UTF-8 or holds NUL."""
    if len(octets) > limit or b"\0" in octets:
        return ""
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        return ""
