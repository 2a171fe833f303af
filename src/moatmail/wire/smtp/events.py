# SPDX-License-Identifier: Apache-2.0
"""What a client of our SMTP server did: frozen events, in the order of the session.

Obeys RFC 5321 §4.1 (commands), RFC 3030 (BDAT), RFC 3207 (STARTTLS), RFC 4954 (AUTH).
Must never know what is decided about them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

from moatmail.core.envelope import Envelope, Recipient
from moatmail.core.status import Reply
from moatmail.wire.sasl import Failure, NeedsPassword, NeedsVerifier, Success


class Offence(Enum):
    """What a client did that no honest client does; for the guard's ledger."""

    EARLY_TALK = "octets before the greeting"
    EARLY_DATA = "octets behind DATA before 354"
    STARTTLS_INJECTION = "octets behind STARTTLS"
    LONG_LINE = "a command line over the limit"
    LOST_FRAMING = "a BDAT command without a size that can be followed"
    BARE_LINE_END = "a command line that does not end in CR LF"
    FOREIGN_PROTOCOL = "another protocol than SMTP"
    SMUGGLING = "bare CR, LF or NUL in the content"
    TOO_MANY_ERRORS = "too many errors"
    TOO_MANY_REFUSALS = "too many reverse-paths and recipients that were refused"
    TOO_MANY_IDLE_COMMANDS = "too many commands that move no mail"
    TOO_MANY_LOGINS = "too many failed logins"
    TOO_MANY_TRANSACTIONS = "too many transactions"
    OVERRUN = "content far over the limit"


class Fault(Enum):
    """Why content is refused at its end whatever the application thinks; `reply` is the answer due."""

    BARE = Reply.of(550, "5.5.2", "content holds a bare CR, LF or NUL; lines end with CR LF")
    OVERSIZE = Reply.of(552, "5.3.4", "message exceeds the fixed maximum size")
    LONG_LINE = Reply.of(554, "5.6.0", "content holds a line over the limit")
    LONG_HEADER = Reply.of(554, "5.6.0", "header exceeds the limit")

    @property
    def reply(self) -> Reply:
        """Give the reply that ends the transaction."""
        return self.value


@dataclass(frozen=True, slots=True)
class Event:
    """The root of the events; `awaits` tells that the engine stands still until `answer` (or, for some, its sister) is called."""

    awaits: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class Helo(Event):
    """HELO or EHLO: any open transaction is over; `valid` tells whether `name` is a Domain or an address literal (RFC 5321 §4.1.1.1)."""

    awaits: ClassVar[bool] = True
    name: str
    extended: bool
    valid: bool


@dataclass(frozen=True, slots=True)
class Mail(Event):
    """MAIL: a transaction begins; `envelope` has no recipient yet (RFC 5321 §4.1.1.2)."""

    awaits: ClassVar[bool] = True
    envelope: Envelope


@dataclass(frozen=True, slots=True)
class Rcpt(Event):
    """RCPT: one more recipient; the bare postmaster has an address without domain (RFC 5321 §4.1.1.3)."""

    awaits: ClassVar[bool] = True
    recipient: Recipient


@dataclass(frozen=True, slots=True)
class Data(Event):
    """DATA or the first BDAT: a positive answer (its code and text are not sent) lets the content come, another ends the transaction."""

    awaits: ClassVar[bool] = True
    chunked: bool


@dataclass(frozen=True, slots=True)
class Content(Event):
    """Some octets of the content, dots unstuffed, in order."""

    data: bytes


@dataclass(frozen=True, slots=True)
class End(Event):
    """The content is whole: `size` octets; with a `fault` it must be dropped and answered by `fault.reply` (a positive answer raises)."""

    awaits: ClassVar[bool] = True
    size: int
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class Auth(Event):
    """A step of a login: NeedsVerifier waits for `answer_verifier` (or `answer` with 4yz); the others for `answer` with 235 or a refusal (RFC 4954 §4).

    NeedsPassword: judge the password. Success: the mechanism proved it; judge only whether the identity may come in.
    Failure: a failed login to be counted; the answer is never positive.
    """

    awaits: ClassVar[bool] = True
    mechanism: bytes
    step: NeedsPassword | NeedsVerifier | Success | Failure


@dataclass(frozen=True, slots=True)
class StartTLS(Event):
    """STARTTLS: answer 220, flush the output, shake hands, then `tls_started` or `tls_refused`; or answer 454 (RFC 3207 §4)."""

    awaits: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class Reset(Event):
    """RSET: any open transaction is over (RFC 5321 §4.1.1.5)."""


@dataclass(frozen=True, slots=True)
class Quit(Event):
    """QUIT: the session is over; 221 waits in the output (RFC 5321 §4.1.1.10)."""


@dataclass(frozen=True, slots=True)
class Violation(Event):
    """An offence for the guard's ledger; the reply to it, if any, waits in the output, and `closing` tells whether the session ends."""

    offence: Offence
