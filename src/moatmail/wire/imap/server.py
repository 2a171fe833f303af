# SPDX-License-Identifier: Apache-2.0
"""The IMAP server engine: octets in, frozen events out, answers in, octets out. No sockets, no clock.

Obeys RFC 3501 §3-§6, RFC 7888 (literals), RFC 4959 (SASL-IR), RFC 2177 (IDLE), RFC 3502 (several messages in one APPEND), RFC 8508 §4 (REPLACE),
RFC 6855 §4 (a message in the parentheses of UTF8).
Must never know an account, a mailbox or the transport.

The engine gives one command at a time, in order; the next one is read only after `finish`. See `events` for what each event asks for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum, auto

from moatmail.core.errors import LocalProtocolError
from moatmail.core.limits import imap as limits
from moatmail.wire.imap import events
from moatmail.wire.imap.commands import HEADS, AppendHead, append_head, open_command, parse_arguments, tag_of
from moatmail.wire.imap.discard import Discard, Progress
from moatmail.wire.imap.grammar import BadSyntaxError, CommandRefusedError, Cursor, LiteralPendingError, SearchRefusedError
from moatmail.wire.imap.profile import Profile, State
from moatmail.wire.imap.reader import LiteralMarker, Reader, read_marker


class Result(Enum):
    """How a command ended (RFC 3501 §7.1)."""

    OK = b"OK"
    NO = b"NO"
    BAD = b"BAD"


class Mode(Enum):
    """What the engine is waiting for."""

    COMMAND = auto()  # a line: a new command, or its next piece after a literal
    LITERAL = auto()  # the octets of a literal
    BUSY = auto()  # the application's answer
    SASL = auto()  # the client's answer to a challenge
    IDLE = auto()  # DONE
    APPEND_OFFERED = auto()  # the application's `admit` or refusal
    APPEND_DATA = auto()  # the octets of a message
    APPEND_TAIL = auto()  # what follows a message
    DROPPING = auto()  # the rest of a command nobody wants
    TLS = auto()  # the handshake, which is not ours
    CLOSED = auto()  # nothing


_STATE_AFTER_OK: dict[type[events.Command], State] = {
    events.Login: State.AUTHENTICATED,
    events.Authenticate: State.AUTHENTICATED,
    events.AuthenticateResponse: State.AUTHENTICATED,
    events.Select: State.SELECTED,
    events.Examine: State.SELECTED,
    events.Close: State.AUTHENTICATED,
    events.Unselect: State.AUTHENTICATED,
    events.Logout: State.LOGOUT,
}
_CONTINUED = {events.Authenticate: Mode.SASL, events.AuthenticateResponse: Mode.SASL, events.Idle: Mode.IDLE}
_AWAITING = frozenset((Mode.BUSY, Mode.APPEND_OFFERED))  # the application's turn
_AUTHENTICATING = events.Login | events.Authenticate | events.AuthenticateResponse
# Two commands may be longer than a stranger's other lines: RFC 2971 §3.3 (ID) and RFC 4959 §3 (an initial response).
_LONG_LINES = {b"ID": limits.ID_LINE, b"AUTHENTICATE": limits.SASL_RESPONSE}


class IMAPServer:
    """One session's protocol. Feed `receive`, drain `next_event` until None, answer, write `take_output`, close when `closing`.

    Larger than usual because every step moves the same few fields of one conversation; grammar, dropping and rendering live elsewhere.
    """

    def __init__(self, profile: Profile) -> None:
        """Begin in the not authenticated state."""
        self.profile = profile
        self.state = State.NOT_AUTHENTICATED
        self._reader = Reader()
        self._output: list[bytes] = []
        self._events: deque[events.Event] = deque()
        self._mode = Mode.COMMAND
        self._ended = False  # the client closed its side
        self._told_end = False
        self._bad = 0  # BAD answers in a row
        self._parts: list[bytes] = []  # of the command that is being read
        self._held = 0  # octets of its literals
        self._text = 0  # octets of its lines
        self._literal: LiteralMarker | None = None
        self._remaining = 0  # octets still to come of a literal
        self._discard = Discard(self._reader)
        self._deferred = b""  # the tagged line that waits until the rest of its command was dropped
        self._current: events.Command | None = None
        self._append: events.Append | None = None
        self._append_waits = False
        self._append_wrapped = False
        self._steps: dict[Mode, Callable[[], bool]] = {
            Mode.COMMAND: self._step_command,
            Mode.LITERAL: self._step_literal,
            Mode.SASL: self._step_sasl,
            Mode.IDLE: self._step_idle,
            Mode.APPEND_DATA: self._step_append_data,
            Mode.APPEND_TAIL: self._step_append_tail,
            Mode.DROPPING: self._step_dropping,
        }

    # ---- the driver's face ----

    def greeting(self, text: bytes = b"ready") -> None:
        """Write the greeting with the capabilities (RFC 3501 §7.1)."""
        self.untagged(b"OK [CAPABILITY %b] %b" % (b" ".join(self.capabilities()), text))

    def receive(self, data: bytes) -> None:
        """Take octets from the client; a stranger who makes us hold too much is sent away."""
        if self._mode in (Mode.TLS, Mode.CLOSED):
            return
        self._reader.feed(data)
        # Only while a command is at work can input pile up: in all other modes `next_event` eats or drops it.
        if self._mode is Mode.BUSY and self.state is State.NOT_AUTHENTICATED and len(self._reader) > limits.STATE_BEFORE_LOGIN:
            self.bye(b"too much input before login")

    def receive_eof(self) -> None:
        """Take note that the client closed its side; what it sent before is still served."""
        self._ended = True

    @property
    def wants_input(self) -> bool:
        """Tell whether to read on from the connection: not while an answer is awaited and more than enough waits behind it."""
        if self._mode not in _AWAITING:
            return True  # the engine needs more to go on, whatever it holds
        return len(self._reader) < (limits.INPUT if self.state is not State.NOT_AUTHENTICATED else limits.LINE_BEFORE_LOGIN)

    @property
    def closing(self) -> bool:
        """Tell whether the connection is to be closed once the output is written."""
        return self._mode is Mode.CLOSED

    def next_event(self) -> events.Event | None:
        """Give the next event, or None until there is more input or an answer."""
        while not self._events:
            step = self._steps.get(self._mode)
            if step is None or not step():
                break
        if self._events:
            return self._events.popleft()
        return self._end_of_input() if self._ended else None

    def take_output(self) -> bytes:
        """Take the octets to be written."""
        output = b"".join(self._output)
        self._output.clear()
        return output

    def tls_started(self) -> None:
        """Go on after the handshake of STARTTLS."""
        self._demand(Mode.TLS)
        self.profile = self.profile.with_tls()
        self._mode = Mode.COMMAND

    # ---- the application's face ----

    def capabilities(self) -> tuple[bytes, ...]:
        """List what is offered in the present state."""
        return self.profile.capabilities(self.state)

    def untagged(self, response: bytes) -> None:
        """Write ``* response``; allowed at any time between commands and within them, also during IDLE."""
        self._output.append(b"* %b\r\n" % response)

    def write(self, lines: bytes) -> None:
        """Write whole response lines as `responses` renders them in bulk."""
        self._output.append(lines)

    def continue_(self, text: bytes = b"") -> None:
        """Ask the client to go on: the base64 challenge of AUTHENTICATE, or the start of IDLE; LocalProtocolError elsewhere."""
        if self._mode is Mode.CLOSED:
            return
        mode = _CONTINUED.get(type(self._current)) if self._mode is Mode.BUSY else None
        if mode is None:
            raise LocalProtocolError("nothing to continue")
        self._output.append(b"+ %b\r\n" % text)
        self._mode = mode

    def admit(self) -> None:
        """Let the announced message of APPEND come."""
        if self._mode is Mode.CLOSED:
            return
        self._demand(Mode.APPEND_OFFERED)
        if self._append_waits:
            self._output.append(b"+ OK\r\n")
        self._mode = Mode.APPEND_DATA

    def finish(self, command: events.Command, result: Result, text: bytes, code: bytes = b"") -> None:
        """End `command` with its tagged line; `code` is a response code without brackets. A message still coming is read and dropped.

        Raises LocalProtocolError if the command is not at work; after a BYE it does nothing.
        """
        if self._mode is Mode.CLOSED:
            return
        current = self._current
        if current is None or current.tag != command.tag or self._mode is Mode.COMMAND:
            raise LocalProtocolError("this command is not at work")
        if result is Result.OK:
            self.state = _STATE_AFTER_OK.get(type(current), self.state)
            if not code and isinstance(current, _AUTHENTICATING):
                code = b"CAPABILITY " + b" ".join(self.capabilities())  # RFC 3501 §6.2.3: spares the client a question
        elif result is Result.NO and isinstance(current, events.Select | events.Examine):
            self.state = State.AUTHENTICATED  # RFC 3501 §6.3.1: a failed SELECT leaves no mailbox selected
        line = _tagged(current.tag, result, text, code)
        self._current = self._append = None
        self._count_bad(result)
        mode, self._mode = self._mode, Mode.COMMAND
        if mode in (Mode.APPEND_DATA, Mode.APPEND_TAIL) or (mode is Mode.APPEND_OFFERED and not self._append_waits):
            self._drop(line, self._remaining)
        elif result is Result.OK and isinstance(current, events.Logout):
            self.untagged(b"BYE logging out")  # RFC 3501 §6.1.3: before the tagged line
            self._output.append(line)
            self._close()
        else:
            self._conclude(line)
            if result is Result.OK and isinstance(current, events.Starttls):
                # RFC 3501 §6.2.1: what came in clear behind STARTTLS may be another's; it never counts as said inside TLS.
                self._reader.clear()
                self._mode = Mode.TLS

    def deselect(self) -> None:
        """Leave the selected state because the mailbox is gone."""
        if self.state is State.SELECTED:
            self.state = State.AUTHENTICATED

    def bye(self, text: bytes, code: bytes = b"") -> None:
        """Close the session with an untagged BYE (RFC 3501 §7.1.5)."""
        if self._mode is not Mode.CLOSED:
            self.untagged(b"BYE " + _with_code(text, code))
            self._close()

    # ---- endings ----

    def _close(self) -> None:
        self._reader.clear()
        self._forget_command()
        self._abort_append()
        self._current = None
        self._mode = Mode.CLOSED
        self.state = State.LOGOUT

    def _end_of_input(self) -> events.Event | None:
        """Tell the end once, when everything before it was served: a command at work is finished first."""
        if self._told_end or self._mode in _AWAITING:
            return None
        if self._append is not None:
            self._close()
            return self._events.popleft()
        self._told_end = True
        self._close()
        return events.Disconnected()

    def _demand(self, mode: Mode) -> None:
        if self._mode is not mode:
            raise LocalProtocolError(f"not now: the engine waits for {self._mode.name}")

    def _count_bad(self, result: Result) -> None:
        self._bad = self._bad + 1 if result is Result.BAD else 0

    def _answer(self, tag: bytes, result: Result, text: bytes, code: bytes = b"", *, unfinished: bool = False) -> None:
        """Answer what no event was given for, and drop what still belongs to it: a literal, or the rest of an `unfinished` line."""
        self._count_bad(result)
        line = _tagged(tag, result, text, code)
        marker, self._literal = self._literal, None
        self._current = None
        self._forget_command()
        if unfinished:
            self._drop(line, 0)
        elif marker is not None and not marker.waits:
            self._drop(line, marker.size)
        else:
            self._conclude(line)

    def _conclude(self, line: bytes) -> None:
        self._output.append(line)
        if self._bad >= limits.BAD_COMMANDS:
            self.bye(b"too many bad commands")

    def _forget_command(self) -> None:
        self._parts.clear()
        self._held = self._text = 0
        self._mode = Mode.COMMAND

    # ---- dropping: a refused literal is never run as commands (RFC 7888 §4) ----

    def _drop(self, line: bytes, size: int) -> None:
        """Read and drop a literal of `size` octets and the rest of the command, then send `line`."""
        if self.state is State.NOT_AUTHENTICATED:
            limit = limits.DISCARD_BEFORE_LOGIN
        else:
            limit = max(limits.DISCARD, limits.APPEND_DISCARD_FACTOR * self.profile.append_limit)
        self._deferred = line
        self._discard.begin(size, limit)
        self._mode = Mode.DROPPING

    def _step_dropping(self) -> bool:
        progress = self._discard.step()
        if progress is Progress.WAITING:
            return False
        line, self._deferred = self._deferred, b""
        self._mode = Mode.COMMAND
        self._conclude(line)
        if progress is Progress.TOO_LARGE:
            self.bye(b"the literal is too large", b"TOOBIG")
        return True

    # ---- reading commands ----

    def _line_limit(self) -> int:
        if self.state is not State.NOT_AUTHENTICATED:
            return limits.LINE
        size = limits.TAG + 16  # a tag and the longest name
        words = (self._parts[0][:size] if self._parts else self._reader.peek(size)).upper().split(b" ", 2)
        return _LONG_LINES.get(words[1], limits.LINE_BEFORE_LOGIN) if len(words) > 1 else limits.LINE_BEFORE_LOGIN

    def _next_line(self, limit: int) -> bytes | None:
        """Take a line; one that is too long is refused and dropped."""
        head = self._parts[0] if self._parts else self._reader.peek(limits.TAG + 1)
        tag = self._append.tag if self._append is not None else tag_of(head)  # behind a message no line begins with a tag
        line = self._reader.line()
        if line is not None and len(line) <= limit:
            return line
        if line is not None or self._reader.overlong(limit):
            self._abort_append()
            self._literal = read_marker(line) if line is not None else None
            self._answer(tag, Result.BAD, b"the line is too long", unfinished=line is None)
        return None

    def _step_command(self) -> bool:
        before = self._mode, len(self._reader)
        line = self._next_line(self._line_limit() - self._text)
        if line is None:
            return (self._mode, len(self._reader)) != before
        self._parts.append(line)
        self._text += len(line)
        self._literal = read_marker(line)
        try:
            if self._literal is not None:
                self._judge_literal(self._literal)
            else:
                self._give_command()
        except BadSyntaxError as error:
            self._answer(tag_of(self._parts[0]), Result.BAD, error.text, error.code)
        except CommandRefusedError as error:
            tag = tag_of(self._parts[0])
            if isinstance(error, SearchRefusedError):
                self._events.append(events.SearchRefused(tag))
            self._answer(tag, Result.NO, error.text, error.code)
        return True

    def _judge_literal(self, marker: LiteralMarker) -> None:
        """Decide about a literal before an octet of it is read."""
        opening = open_command(self._parts, self.state, self.profile)
        head = HEADS.get(opening.name)
        if head is not None:
            opening.cursor.space(b"arguments")
            try:
                self._offer_message(opening.tag, head(opening.cursor), marker, 0)
                return
            except LiteralPendingError:
                pass  # the mailbox name is a literal
        if marker.binary:
            raise BadSyntaxError(b"only a message may be a binary literal")  # RFC 3516 §4.4
        limit = self.profile.literals_before_login if self.state is State.NOT_AUTHENTICATED else self.profile.literals
        if self._held + marker.size > limit:
            raise BadSyntaxError(b"the literal is too large")
        self._held += marker.size
        self._remaining = marker.size
        if marker.waits:
            self._output.append(b"+ OK\r\n")
        self._mode = Mode.LITERAL

    def _step_literal(self) -> bool:
        if len(self._reader) < self._remaining:
            return False
        self._parts.append(self._reader.take(self._remaining))
        self._literal = None
        self._mode = Mode.COMMAND
        return True

    def _give_command(self) -> None:
        self._start(parse_arguments(open_command(self._parts, self.state, self.profile), self.profile))

    def _start(self, command: events.Command) -> None:
        self._forget_command()
        self._current = command
        self._mode = Mode.BUSY
        self._events.append(command)

    # ---- AUTHENTICATE and IDLE: lines that are no commands ----

    def _step_sasl(self) -> bool:
        current = self._current
        line = self._reader.line()
        if current is None or (line is None and not self._reader.overlong(limits.SASL_RESPONSE)):
            return False
        if line is None or len(line) > limits.SASL_RESPONSE:
            self._events.append(events.AuthenticateCancelled(current.tag))
            self._answer(current.tag, Result.BAD, b"the response is too long", unfinished=line is None)
        elif line == b"*":
            # RFC 3501 §6.2.2: the client gives up; that is no failed login.
            self._events.append(events.AuthenticateCancelled(current.tag))
            self._answer(current.tag, Result.BAD, b"cancelled")
        else:
            self._start(events.AuthenticateResponse(current.tag, line))
        return True

    def _step_idle(self) -> bool:
        current = self._current
        line = self._reader.line()
        if current is None or (line is None and not self._reader.overlong(limits.LINE_BEFORE_LOGIN)):
            return False
        if line is not None and line.upper() == b"DONE":  # RFC 2177 §3; in any case of letters, as all keywords
            self._start(events.Done(current.tag))
            return True
        self._events.append(events.IdleBroken(current.tag))
        self._literal = read_marker(line) if line is not None else None
        self._answer(current.tag, Result.BAD, b"expected DONE", unfinished=line is None)
        return True

    # ---- APPEND ----

    def _offer_message(self, tag: bytes, head: AppendHead, marker: LiteralMarker, index: int) -> None:
        if marker.size > self.profile.append_limit:
            raise CommandRefusedError(b"the message is too large", b"TOOBIG")
        if marker.size == 0:
            raise CommandRefusedError(b"an empty message cannot be stored")  # RFC 3502 §6.3.11 uses it to call an APPEND off
        # RFC 6855 §4: the literal of `UTF8 (...)` is one of eight bits by its form only.
        append = events.Append(tag, head.mailbox, head.flags, head.date, marker.size, index, marker.binary and not head.wrapped, head.replaces)
        self._forget_command()
        self._literal = None
        self._append = append
        self._append_waits = marker.waits
        self._append_wrapped = head.wrapped
        self._remaining = marker.size
        if self._current is None:
            self._current = append
        self._mode = Mode.APPEND_OFFERED
        self._events.append(append)

    def _step_append_data(self) -> bool:
        append = self._append
        if append is None or not len(self._reader):
            return False
        data = self._reader.take(self._remaining)
        self._remaining -= len(data)
        if not self._remaining:
            self._mode = Mode.APPEND_TAIL
        self._events.append(events.AppendData(append.tag, data))
        return True

    def _step_append_tail(self) -> bool:
        append = self._append
        before = self._mode, len(self._reader)
        line = self._next_line(limits.LINE)
        if line is None or append is None:
            return (self._mode, len(self._reader)) != before
        self._literal = read_marker(line)
        try:
            if self._append_wrapped:
                line = _unwrapped(line)
            if line:
                self._next_message(append, line)
            else:
                self._append = None
                self._mode = Mode.BUSY
                self._events.append(events.AppendEnd(append.tag))
        except (BadSyntaxError, CommandRefusedError) as error:
            refused = isinstance(error, CommandRefusedError)
            self._abort_append()
            self._answer(append.tag, Result.NO if refused else Result.BAD, error.text, error.code)
        return True

    def _next_message(self, append: events.Append, line: bytes) -> None:
        """Read the announcement of one more message (RFC 3502 §6)."""
        if self._literal is None:
            raise BadSyntaxError(b"unexpected text after the message")
        if append.replaces is not None:
            raise BadSyntaxError(b"one message is replaced by one")  # RFC 8508 §4
        if append.index + 1 >= limits.APPEND_MESSAGES:
            raise CommandRefusedError(b"too many messages", b"LIMIT")
        cursor = Cursor([line])
        cursor.utf8 = self.profile.utf8
        cursor.space(b"a message")
        self._offer_message(append.tag, append_head(cursor, append.mailbox), self._literal, append.index + 1)

    def _abort_append(self) -> None:
        if self._append is not None:
            self._events.append(events.AppendAborted(self._append.tag))
            self._append = None


def _unwrapped(line: bytes) -> bytes:
    """Give what follows a message in parentheses."""
    if not line.startswith(b")"):
        raise BadSyntaxError(b"expected ')' behind the message")
    return line[1:]


def _with_code(text: bytes, code: bytes) -> bytes:
    return b"[%b] %b" % (code, text) if code else text


def _tagged(tag: bytes, result: Result, text: bytes, code: bytes) -> bytes:
    return b"%b %b %b\r\n" % (tag, result.value, _with_code(text, code))
