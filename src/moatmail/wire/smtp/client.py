# SPDX-License-Identifier: Apache-2.0
"""The client's side of an SMTP session as a machine of octets: greeting to QUIT, one message after the other.

Obeys RFC 5321, RFC 2920, RFC 3030, RFC 3207, RFC 4954, RFC 1870, RFC 6152, RFC 6531, RFC 3461.
Must never know sockets, clocks, DNS, or what a failure means for the queue.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import ClassVar, NamedTuple

from moatmail.core.envelope import Envelope, Recipient
from moatmail.core.errors import LocalProtocolError, RemoteProtocolError
from moatmail.core.limits.smtp import REMOTE_INPUT_MAX
from moatmail.core.status import Reply
from moatmail.wire import sasl
from moatmail.wire.buffer import Buffer
from moatmail.wire.smtp.client_events import (
    Cause,
    ClientEvent,
    Closed,
    ContentWanted,
    Fate,
    HandshakeDue,
    Outcome,
    Ready,
    Result,
    SessionFailed,
    Stage,
)
from moatmail.wire.smtp.parameters import mail_command, rcpt_command, unfit
from moatmail.wire.smtp.reply_reader import Extensions, ReplyReader, parse_extensions
from moatmail.wire.smtp.transparency import ChunkWriter, DotWriter


class TlsUse(Enum):
    """How TLS is used: already there, demanded, taken when offered, or never asked for."""

    IMPLICIT = auto()
    REQUIRED = auto()
    OPPORTUNISTIC = auto()
    NONE = auto()


@dataclass(frozen=True, slots=True)
class ClientProfile:
    """Who we are and how we go: `credentials` (name, prepared password) are only ever sent inside TLS; `eight_bit_anyway` see `unfit`."""

    helo_name: bytes
    tls: TlsUse = TlsUse.OPPORTUNISTIC
    credentials: tuple[str, str] | None = field(default=None, repr=False)
    chunking: bool = True
    eight_bit_anyway: bool = False


class _Command(NamedTuple):
    line: bytes
    stage: Stage
    place: int = 0


class _Transaction:
    """One message under way: results fill up, `accepted` are the places of recipients the server took."""

    __slots__ = ("accepted", "recipients", "results", "writer")

    def __init__(self, recipients: tuple[Recipient, ...]) -> None:
        self.recipients = recipients
        self.results: list[Result | None] = [None] * len(recipients)
        self.accepted: list[int] = []
        self.writer: DotWriter | ChunkWriter | None = None

    @property
    def settled(self) -> bool:
        """Tell whether every recipient has its result."""
        return all(self.results)

    def settle(self, index: int, fate: Fate, stage: Stage, reply: Reply | None) -> None:
        if self.results[index] is None:
            self.results[index] = Result(self.recipients[index], fate, stage, reply)

    def settle_rest(self, stage: Stage, reply: Reply | None) -> None:
        """Give every recipient that has no result yet the one that this reply means."""
        fate = Fate.DEFERRED
        if reply is not None and reply.code != 421 and not reply.temporary:
            fate = Fate.REFUSED if reply.permanent else Fate.DELIVERED
        for index in range(len(self.recipients)):
            self.settle(index, fate, stage, reply)

    def outcome(self) -> Outcome:
        return Outcome(tuple(result for result in self.results if result is not None))


class SMTPClient:
    """One session. Larger than usual because a state machine is one thought; each step is short.

    Feed octets by `receive`, call `next_event` until it gives None, write `take_output()`, close the connection if `closing`.
    """

    def __init__(self, profile: ClientProfile) -> None:
        self.profile = profile
        self.extensions = Extensions()
        self.tls = profile.tls is TlsUse.IMPLICIT
        self.closing = False
        self._input = Buffer()
        self._reader = ReplyReader()
        self._output: list[bytes] = []
        self._events: deque[ClientEvent] = deque()
        self._expected: deque[_Command] = deque([_Command(b"", Stage.GREETING)])
        self._waiting_commands: deque[_Command] = deque()
        self._handshake = self._established = self._ended = self._quitting = False
        self._end_point: bytes | None = None
        self._exchange: sasl.ClientExchange | None = None
        self._transaction: _Transaction | None = None

    # ------------------------------------------------------------------ the face

    @property
    def ready(self) -> bool:
        """Tell whether `send` may be called."""
        return self._established and self._transaction is None and not self._quitting and not self.closing

    @property
    def wants_content(self) -> bool:
        """Tell whether content is still of use; it turns false when the server refused in the middle."""
        return self._transaction is not None and self._transaction.writer is not None and not self.closing

    def receive(self, data: bytes | bytearray | memoryview) -> None:
        """Take octets from the server."""
        if self.closing or self._ended:
            return
        if self._handshake or len(self._input) + len(data) > REMOTE_INPUT_MAX:
            # RFC 3207 §4.2 and the response injections of 2021: what came in clear behind the 220 would speak for the TLS session.
            self._fail(Cause.PROTOCOL)
            return
        self._input.feed(data)

    def receive_eof(self) -> None:
        """Learn that the server closed."""
        self._ended = True

    def tls_started(self, end_point: bytes | None = None) -> None:
        """Learn that the handshake is done (or was, before the greeting); `end_point` is the hash of the server's certificate."""
        self._end_point = end_point
        if not self._handshake:
            if not self.tls:
                raise LocalProtocolError("no handshake was due")
            return
        self._handshake = False
        self.tls = True
        # RFC 3207 §4.2: what the server said in clear is forgotten.
        self.extensions = Extensions()
        self._say(_Command(b"EHLO " + self.profile.helo_name, Stage.EHLO))

    def tls_failed(self) -> None:
        """Learn that the handshake failed: the connection is of no more use."""
        self._fail(Cause.HANDSHAKE, stage=Stage.STARTTLS)

    def next_event(self) -> ClientEvent | None:
        """Give the next event, None when octets are missing."""
        while not self._events and not self.closing and not self._handshake:
            try:
                reply = self._reader.read(self._input)
            except RemoteProtocolError:
                self._fail(Cause.PROTOCOL)
                break
            if reply is None:
                if self._ended:
                    self._lose()
                break
            self._take(reply)
        return self._events.popleft() if self._events else None

    def send(self, envelope: Envelope, *, size: int, eight_bit: bool) -> None:
        """Begin a transaction for content of `size` octets, `eight_bit` if any has its high bit set; ends with an Outcome."""
        if not self.ready or not envelope.recipients:
            raise LocalProtocolError("no transaction can begin now")
        self._transaction = _Transaction(envelope.recipients)
        refusal = unfit(envelope, self.extensions, size=size, eight_bit=eight_bit and not self.profile.eight_bit_anyway)
        if refusal is not None:
            self._transaction.settle_rest(Stage.MAIL, refusal)
            self._finish()
            return
        self._waiting_commands.append(_Command(mail_command(envelope, self.extensions, size=size, eight_bit=eight_bit), Stage.MAIL))
        for index, recipient in enumerate(envelope.recipients):
            self._waiting_commands.append(_Command(rcpt_command(recipient, self.extensions), Stage.RCPT, index))
        self._pump()

    def send_content(self, piece: bytes) -> None:
        """Send some octets of the content; ignored when it is of no more use."""
        writer = self._transaction.writer if self._transaction is not None else None
        if writer is None or self.closing:
            return
        data = writer.feed(piece)
        if data:
            self._output.append(data)
            if isinstance(writer, ChunkWriter):
                self._expected.append(_Command(b"", Stage.CHUNK))

    def end_content(self) -> None:
        """Send the end of the content."""
        if self._transaction is None or self._transaction.writer is None or self.closing:
            return
        self._output.append(self._transaction.writer.finish())
        self._transaction.writer = None
        self._expected.append(_Command(b"", Stage.END))

    def quit(self) -> None:
        """End the session; Closed follows."""
        if self.closing:
            return
        if self._transaction is not None:
            raise LocalProtocolError("a transaction is open")
        self._quitting = True
        self._waiting_commands.append(_Command(b"QUIT", Stage.QUIT))
        self._pump()

    def take_output(self) -> bytes:
        """Give the octets to write."""
        output = b"".join(self._output)
        self._output.clear()
        return output

    # ------------------------------------------------------------------ inner habits

    def _say(self, command: _Command) -> None:
        """Send a command that no other may accompany: an answer that is here already answers nothing we asked."""
        if len(self._input) or self._reader.within:
            self._fail(Cause.PROTOCOL, stage=command.stage)
            return
        self._output.append(command.line + b"\r\n")
        self._expected.append(command)

    def _pump(self) -> None:
        """Send what waits: all at once when the server takes groups (RFC 2920 §3.1), else one at a time."""
        while self._waiting_commands and ("PIPELINING" in self.extensions or not self._expected):
            command = self._waiting_commands.popleft()
            self._output.append(command.line + b"\r\n")
            self._expected.append(command)

    def _take(self, reply: Reply) -> None:
        if not self._expected:
            self._take_unasked(reply)
            return
        command = self._expected.popleft()
        if command.stage is Stage.QUIT:
            # RFC 5321 §4.1.1.10: whatever it says, it was the last word.
            self._close()
            self._events.append(Closed())
        elif reply.code == 421:
            # RFC 5321 §3.8: the server leaves; what has no verdict is tried again.
            self._fail(Cause.REFUSED, reply, stage=command.stage)
        else:
            self._REPLIES[command.stage](self, reply, command.place)
            self._pump()

    def _take_unasked(self, reply: Reply) -> None:
        stage = Stage.CONTENT if self.wants_content else Stage.IDLE
        # A server that has had enough may say so in the middle of the content; a promise that nobody asked for is none.
        self._fail(Cause.PROTOCOL if reply.positive else Cause.REFUSED, None if reply.positive else reply, stage=stage)

    def _close(self) -> None:
        self.closing = True
        self._handshake = False
        self._expected.clear()
        self._waiting_commands.clear()
        self._input.clear()
        self._exchange = None

    def _fail(self, cause: Cause, reply: Reply | None = None, *, stage: Stage | None = None) -> None:
        if self.closing:
            return
        if stage is None:
            stage = Stage.STARTTLS if self._handshake else self._expected[0].stage if self._expected else Stage.IDLE
        polite = cause not in {Cause.LOST, Cause.PROTOCOL, Cause.HANDSHAKE} and (reply is None or reply.code != 421) and not self.wants_content
        self._close()
        if self._transaction is not None:
            self._transaction.settle_rest(stage, None if reply is None or reply.positive else reply)
            self._events.append(self._transaction.outcome())
            self._transaction = None
        self._events.append(SessionFailed(stage, cause, reply))
        if polite:
            # RFC 5321 §3.1: even after 554 the client says QUIT; nobody waits for the answer.
            self._output.append(b"QUIT\r\n")

    def _lose(self) -> None:
        if self._quitting:
            self._close()
            self._events.append(Closed())
        else:
            self._fail(Cause.LOST)

    def _finish(self) -> None:
        """End the transaction with its outcome."""
        if self._transaction is not None:
            self._events.append(self._transaction.outcome())
            self._transaction = None

    def _reset(self) -> None:
        """Take back what the server holds of a settled transaction; the outcome waits, so that no late reply meets the next one."""
        self._waiting_commands.append(_Command(b"RSET", Stage.RSET))
        self._pump()

    # ------------------------------------------------------------------ replies before the first message

    def _on_greeting(self, reply: Reply, _index: int) -> None:
        if reply.code == 220:
            self._say(_Command(b"EHLO " + self.profile.helo_name, Stage.EHLO))
        else:
            self._fail(Cause.PROTOCOL if reply.positive else Cause.REFUSED, reply, stage=Stage.GREETING)

    def _on_ehlo(self, reply: Reply, _index: int) -> None:
        if reply.code == 250:
            self.extensions = parse_extensions(reply)
            self._secure()
        elif reply.permanent and not self._needs_extensions():
            # RFC 5321 §3.2: an old server knows HELO.
            self._say(_Command(b"HELO " + self.profile.helo_name, Stage.HELO))
        else:
            self._fail(Cause.PROTOCOL if reply.positive else Cause.REFUSED, reply, stage=Stage.EHLO)

    def _needs_extensions(self) -> bool:
        return self.profile.credentials is not None or (self.profile.tls is TlsUse.REQUIRED and not self.tls)

    def _on_helo(self, reply: Reply, _index: int) -> None:
        if reply.code == 250:
            self._establish()
        else:
            self._fail(Cause.PROTOCOL if reply.positive else Cause.REFUSED, reply, stage=Stage.HELO)

    def _secure(self) -> None:
        """Ask for TLS if it is missing and wanted, then log in."""
        if self.tls or self.profile.tls is TlsUse.NONE:
            self._log_in()
        elif "STARTTLS" in self.extensions:
            self._say(_Command(b"STARTTLS", Stage.STARTTLS))
        elif self.profile.tls is TlsUse.REQUIRED:
            # RFC 8461 §5, RFC 7672: a keyword that somebody removed on the way must not lower the protection.
            self._fail(Cause.NO_TLS, stage=Stage.STARTTLS)
        else:
            self._log_in()

    def _on_starttls(self, reply: Reply, _index: int) -> None:
        if reply.code == 220:
            if len(self._input):
                self._fail(Cause.PROTOCOL, stage=Stage.STARTTLS)
                return
            self._handshake = True
            self._events.append(HandshakeDue())
        elif self.profile.tls is TlsUse.OPPORTUNISTIC and not reply.positive:
            self._log_in()
        else:
            self._fail(Cause.PROTOCOL if reply.positive else Cause.REFUSED, reply, stage=Stage.STARTTLS)

    def _log_in(self) -> None:
        if self.profile.credentials is None:
            self._establish()
            return
        # No password and no proof of one in clear, whatever the server offers.
        exchange = sasl.choose(self.extensions.mechanisms, *self.profile.credentials, self._end_point) if self.tls else None
        if exchange is None:
            self._fail(Cause.NO_AUTH if self.tls else Cause.NO_TLS, stage=Stage.AUTH)
            return
        self._exchange = exchange
        initial = exchange.initial()
        # RFC 4954 §4: an empty initial response is written as an equals sign.
        word = b"" if initial is None else b" " + (sasl.encode_base64(initial) or b"=")
        self._say(_Command(b"AUTH " + exchange.name + word, Stage.AUTH))

    def _on_auth(self, reply: Reply, _index: int) -> None:
        exchange = self._exchange
        if exchange is None or reply.code not in {235, 334}:
            self._fail(Cause.PROTOCOL if reply.positive else Cause.REFUSED, reply, stage=Stage.AUTH)
            return
        try:
            if reply.code == 334:
                self._say(_Command(sasl.encode_base64(exchange.respond(_decode_challenge(reply))), Stage.AUTH))
                return
            exchange.finish()
        except RemoteProtocolError:
            self._fail(Cause.PROTOCOL, reply, stage=Stage.AUTH)
            return
        self._exchange = None
        self._establish()

    def _establish(self) -> None:
        self._established = True
        self._events.append(Ready(self.extensions, self.tls))

    # ------------------------------------------------------------------ replies of a transaction

    def _on_mail(self, reply: Reply, _index: int) -> None:
        if self._transaction is None or self._odd(reply, Stage.MAIL):
            return
        if not reply.positive:
            # What waits was for this transaction; replies to what was sent already are read and mean nothing.
            self._waiting_commands.clear()
            self._transaction.settle_rest(Stage.MAIL, reply)
            self._go_on()

    def _on_rcpt(self, reply: Reply, index: int) -> None:
        transaction = self._transaction
        if transaction is None or self._odd(reply, Stage.RCPT):
            return
        if not reply.positive:
            transaction.settle(index, self._judge_recipient(reply, transaction), Stage.RCPT, reply)
        elif transaction.results[index] is None:
            transaction.accepted.append(index)
        self._go_on()

    def _judge_recipient(self, reply: Reply, transaction: _Transaction) -> Fate:
        # RFC 5321 §4.5.3.1.10: 452 (and the 552 of old servers) for one too many: the rest goes at once, in the next transaction.
        too_many = (reply.code == 452 and reply.status in {"", "4.5.3"}) or (reply.code == 552 and reply.status in {"", "5.5.3"})
        if too_many and transaction.accepted:
            return Fate.NEXT_TRANSACTION
        return Fate.REFUSED if reply.permanent else Fate.DEFERRED

    def _odd(self, reply: Reply, stage: Stage) -> bool:
        if 200 <= reply.code < 300 or not reply.positive:
            return False
        self._fail(Cause.PROTOCOL, None, stage=stage)
        return True

    def _go_on(self) -> None:
        """Ask for the content once every recipient is answered."""
        transaction = self._transaction
        if transaction is None or self._expected or self._waiting_commands:
            return
        if not transaction.accepted or transaction.settled:
            self._reset()
        elif self._may_chunk():
            transaction.writer = ChunkWriter()
            self._events.append(ContentWanted())
        else:
            self._say(_Command(b"DATA", Stage.DATA))

    def _may_chunk(self) -> bool:
        # RFC 3030 §4.2: chunks pay when they follow each other without a wait.
        return self.profile.chunking and "CHUNKING" in self.extensions and "PIPELINING" in self.extensions

    def _on_data(self, reply: Reply, _index: int) -> None:
        if self._transaction is None:
            return
        if reply.code == 354:
            self._transaction.writer = DotWriter()
            self._events.append(ContentWanted())
        elif reply.positive:
            self._fail(Cause.PROTOCOL, None, stage=Stage.DATA)
        else:
            self._transaction.settle_rest(Stage.DATA, reply)
            self._reset()

    def _on_chunk(self, reply: Reply, _index: int) -> None:
        if self._transaction is None or self._odd(reply, Stage.CHUNK) or reply.positive or self._transaction.settled:
            return
        # RFC 3030 §2: no more chunks; the replies to those on their way are read and mean nothing.
        self._transaction.settle_rest(Stage.CHUNK, reply)
        self._transaction.writer = None
        self._reset()

    def _on_end(self, reply: Reply, _index: int) -> None:
        if self._transaction is None or self._odd(reply, Stage.END) or self._transaction.settled:
            return
        self._transaction.settle_rest(Stage.END, reply)
        self._finish()

    def _on_rset(self, reply: Reply, _index: int) -> None:
        if reply.code == 250:
            self._finish()
        else:
            self._fail(Cause.PROTOCOL if reply.positive else Cause.REFUSED, reply, stage=Stage.RSET)

    _REPLIES: ClassVar[dict[Stage, Callable[[SMTPClient, Reply, int], None]]] = {
        Stage.GREETING: _on_greeting,
        Stage.EHLO: _on_ehlo,
        Stage.HELO: _on_helo,
        Stage.STARTTLS: _on_starttls,
        Stage.AUTH: _on_auth,
        Stage.MAIL: _on_mail,
        Stage.RCPT: _on_rcpt,
        Stage.DATA: _on_data,
        Stage.CHUNK: _on_chunk,
        Stage.END: _on_end,
        Stage.RSET: _on_rset,
    }


def _decode_challenge(reply: Reply) -> bytes:
    data = sasl.decode_base64(reply.lines[0].encode("ascii", "replace"))
    if data is None or len(reply.lines) != 1:
        raise RemoteProtocolError("challenge is not base64")
    return data
